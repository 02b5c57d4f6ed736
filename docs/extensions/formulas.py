"""Formulas as MathML, which browsers show without scripts and fonts from elsewhere."""

import html
import logging
import re

from latex2mathml.converter import convert

_FORMULA = re.compile(r'class="arithmatex">\\([(\[])(.*?)\\[)\]]<', re.DOTALL)
_LOG = logging.getLogger("mkdocs.hooks.formulas")  # a warning there fails a strict build


def on_page_content(content: str, page, **kwargs) -> str:
    """Put MathML in the place of the TeX that a page holds; MkDocs calls this for every page."""

    def as_mathml(match):
        formula = html.unescape(match[2])
        mathml = convert(formula, display="inline" if match[1] == "(" else "block")
        if "\\" in mathml:
            _LOG.warning("%s: a command that MathML lacks in %s", page.file.src_uri, formula)
        return f'class="arithmatex">{mathml}<'

    return _FORMULA.sub(as_mathml, content)
