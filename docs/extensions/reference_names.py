"""Docstrings as Griffe reads them: ours give an example under `Example:` without indentation."""

import re

import griffe

_DOCTEST = re.compile(r"^Example:\n((?:>>> .*\n?)(?:.+\n?)*)", re.MULTILINE)
_FENCE = re.compile(r"^Example:\n(?=```)", re.MULTILINE)
_LEAD = re.compile(r"^(Example|Sources?|Method): ", re.MULTILINE)
_LITERAL = re.compile(r"::$", re.MULTILINE)  # a drawing follows, indented: code in Markdown too


def readable(docstring: str) -> str:
    """Return a docstring whose example is a block of code and whose source stands out."""
    docstring = _DOCTEST.sub(r"**Example**\n\n```pycon\n\1```\n", docstring.rstrip() + "\n")
    docstring = _FENCE.sub("**Example**\n\n", _LITERAL.sub(":", docstring))
    return _LEAD.sub(r"**\1:** ", docstring)


class ReadableDocstrings(griffe.Extension):
    """Makes docstrings readable on a page."""

    def on_instance(self, *, obj, **kwargs):
        """Rewrite the docstring of anything that has one."""
        if obj.docstring is not None:
            obj.docstring.value = readable(obj.docstring.value)
