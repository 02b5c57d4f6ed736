"""Writes findings as an HTML page that needs no network, as Markdown and as JSON."""

import base64
import hashlib
import importlib.resources
import importlib.util
import json
import os
import pathlib
from collections.abc import Iterable

from tfcompress.atomic_files import write_atomically
from tfcompress.extras import missing_extra
from tfcompress.report.document import (
    Block,
    Code,
    Document,
    Figures,
    Items,
    Pairs,
    Table,
    Text,
    Tiles,
)
from tfcompress.report.findings import Findings
from tfcompress.report.sections import findings_document

_TEMPLATES = "templates"
_SPECIAL = str.maketrans({character: f"\\{character}" for character in "\\`*_[]<>|#$"})


def write_report(findings: Findings, directory: str | os.PathLike) -> pathlib.Path:
    """Write findings as report.html, report.md and report.json.

    Args:
        findings: from ``examine``.
        directory: the folder; created if it does not exist. No file is left incomplete.

    Returns:
        The path of report.html.

    Raises:
        ImportError: the extra ``report`` is missing.
        OSError: the folder cannot be written to.

    Example:
    ```python
    tfc.write_report(tfc.examine("model_int8.tflite"), "report")
    ```
    """
    require_extra()
    write_data(findings, directory)
    page = pathlib.Path(directory) / "report.html"
    write_atomically(page, render_html(findings_document(findings)).encode())
    return page


def write_data(findings: Findings, directory: str | os.PathLike) -> None:
    """Write findings as report.md and report.json, which need no extra."""
    directory = pathlib.Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    content = json.dumps(findings.to_json(), indent=1) + "\n"
    write_atomically(directory / "report.json", content.encode())
    markdown = render_markdown(findings_document(findings))
    write_atomically(directory / "report.md", markdown.encode())


def missing_libraries() -> list[str]:
    """Name the libraries of the extra ``report`` that are not installed."""
    return [name for name in ("jinja2", "matplotlib") if not importlib.util.find_spec(name)]


def require_extra() -> None:
    """Raise ImportError, with the command to install it, if the extra ``report`` is missing."""
    if missing_libraries():
        raise ImportError(missing_extra("A report", "report"))


def render_html(document: Document) -> str:
    """Write a document as a page in one file, readable on a phone and in dark mode.

    Its own security policy forbids it to load anything and to run any script but the one that sorts
    its tables.
    """
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("tfcompress.report", _TEMPLATES),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    folder = importlib.resources.files("tfcompress.report") / _TEMPLATES
    script = (folder / "page.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return environment.get_template("page.html").render(
        document=document,
        part=lambda block: f"parts/{type(block).__name__.lower()}.html",
        style=(folder / "page.css").read_text(encoding="utf-8"),
        script=script,
        script_hash=f"sha256-{digest}",
    )


def render_markdown(document: Document) -> str:
    """Write a document as GitHub Flavored Markdown, with figures described in words."""
    parts = [f"# {_escaped(document.title)}", _escaped(document.lead)]
    for section in document.sections:
        parts += [f"## {_escaped(section.title)}", *(_block(block) for block in section.blocks)]
    return "\n\n".join(parts) + "\n"


def _block(block: Block) -> str:
    if type(block) not in _BLOCKS:
        raise TypeError(f"A document cannot hold such a block. Received: {type(block).__name__}")
    return _BLOCKS[type(block)](block)


def _tiles(block: Tiles) -> str:
    return _list(
        f"**{_escaped(tile.label)}** {_escaped(tile.value)}"
        + (f" ({_escaped(tile.note)})" if tile.note else "")
        for tile in block.tiles
    )


def _table(block: Table) -> str:
    lines = [
        [_escaped(column.title) for column in block.columns],
        ["---:" if column.number else "---" for column in block.columns],
        *([_escaped(cell.text) for cell in row] for row in block.rows),
    ]
    rows = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return f"{_escaped(block.caption)}:\n\n{rows}"


def _list(items: Iterable[str]) -> str:
    return "\n".join(f"- {item}" for item in items)


def _escaped(text: str) -> str:
    return " ".join(text.translate(_SPECIAL).split())


_BLOCKS = {
    Text: lambda block: _escaped(block.text),
    Items: lambda block: _list(map(_escaped, block.items)),
    Code: lambda block: f"```sh\n{block.code}\n```",
    Tiles: _tiles,
    Pairs: lambda block: _list(f"{_escaped(n)}: {_escaped(v)}" for n, v in block.pairs),
    Table: _table,
    Figures: lambda block: _list(_escaped(figure.alternative) for figure in block.figures),
}
