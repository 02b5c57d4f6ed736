"""Findings as files: a page, Markdown and JSON."""

import importlib.util
import json
import os
import pathlib

from tfcompress.atomic_files import write_atomically
from tfcompress.extras import missing_extra
from tfcompress.report.contents import findings_document
from tfcompress.report.findings import Findings
from tfcompress.report.markdown import render_markdown


def write_report(findings: Findings, directory: str | os.PathLike) -> pathlib.Path:
    """Write findings as report.html, report.md and report.json.

    Args:
        findings: from ``examine``.
        directory: the folder; made if it does not exist. Each file is written whole or not at all.

    Returns:
        The page's path.

    Raises:
        ImportError: the extra ``report`` is missing.
        OSError: the folder cannot be written to.

    Example:
    ```python
    tfc.write_report(tfc.examine("model_int8.tflite"), "report")
    ```
    """
    require_extra()
    from tfcompress.report.html import render_html

    write_data(findings, directory)
    page = pathlib.Path(directory) / "report.html"
    write_atomically(page, render_html(findings_document(findings)).encode())
    return page


def write_data(findings: Findings, directory: str | os.PathLike) -> None:
    """Write findings as report.md and report.json, which need no extra.

    Args:
        findings: from ``examine``.
        directory: as for ``write_report``.

    Raises:
        OSError: the folder cannot be written to.
    """
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
    """Check that the libraries of the extra ``report`` are there.

    Raises:
        ImportError: one is missing; says how to get it.
    """
    if missing_libraries():
        raise ImportError(missing_extra("A report", "report"))
