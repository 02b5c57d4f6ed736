"""Writes findings as an HTML page that needs no network, as Markdown and as JSON."""

import base64
import functools
import hashlib
import importlib.resources
import importlib.util
import json
import os
import pathlib

from tfcompress.atomic_files import write_atomically
from tfcompress.extras import missing_extra
from tfcompress.report.document import Code, Document, Figures, Items, Pairs, Table, Text, Tiles
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


@functools.singledispatch
def _block(block) -> str:
    raise TypeError(f"A document cannot hold such a block. Received: {type(block).__name__}")


@_block.register
def _(block: Text) -> str:
    return _escaped(block.text)


@_block.register
def _(block: Items) -> str:
    return "\n".join(f"- {_escaped(item)}" for item in block.items)


@_block.register
def _(block: Code) -> str:
    return f"```sh\n{block.code}\n```"


@_block.register
def _(block: Tiles) -> str:
    return "\n".join(
        f"- **{_escaped(tile.label)}** {_escaped(tile.value)}"
        + (f" ({_escaped(tile.note)})" if tile.note else "")
        for tile in block.tiles
    )


@_block.register
def _(block: Pairs) -> str:
    return "\n".join(f"- {_escaped(name)}: {_escaped(value)}" for name, value in block.pairs)


@_block.register
def _(block: Table) -> str:
    lines = [
        [_escaped(column.title) for column in block.columns],
        ["---:" if column.number else "---" for column in block.columns],
        *([_escaped(cell.text) for cell in row] for row in block.rows),
    ]
    return f"{_escaped(block.caption)}:\n\n" + "\n".join(
        f"| {' | '.join(line)} |" for line in lines
    )


@_block.register
def _(block: Figures) -> str:
    return "\n".join(f"- {_escaped(figure.alternative)}" for figure in block.figures)


def _escaped(text: str) -> str:
    return " ".join(text.translate(_SPECIAL).split())
