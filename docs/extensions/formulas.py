"""Formulas as MathML, which browsers show without scripts and fonts from elsewhere."""

import html
import re

from latex2mathml.converter import convert

_FORMULA = re.compile(r'class="arithmatex">\\([(\[])(.*?)\\[)\]]<', re.DOTALL)


def on_page_content(content: str, **kwargs) -> str:
    """Put MathML in the place of the TeX that a page holds; MkDocs calls this for every page."""

    def as_mathml(match):
        display = "inline" if match[1] == "(" else "block"
        return f'class="arithmatex">{convert(html.unescape(match[2]), display=display)}<'

    return _FORMULA.sub(as_mathml, content)
