"""A document as one HTML page that needs no network."""

import base64
import hashlib
import importlib.resources

import jinja2

from tfcompress.report.document import Document

_TEMPLATES = "templates"


def render_html(document: Document) -> str:
    """Write a document as a page.

    The page is one file. Its own policy forbids it to load anything and to run any script but the
    one that sorts its tables.

    Args:
        document: the document.

    Returns:
        HTML, readable on a phone, in the light and the dark, and by keyboard.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("tfcompress.report", _TEMPLATES),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    script = _template("page.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return environment.get_template("page.html").render(
        document=document,
        part=lambda block: f"parts/{type(block).__name__.lower()}.html",
        style=_template("page.css"),
        script=script,
        script_hash=f"sha256-{digest}",
    )


def _template(name: str) -> str:
    folder = importlib.resources.files("tfcompress.report") / _TEMPLATES
    return (folder / name).read_text(encoding="utf-8")
