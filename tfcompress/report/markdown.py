"""A document as Markdown, for a repository or a pull request; figures are told in words."""

import functools

from tfcompress.report.document import (
    Code,
    Document,
    Figures,
    Items,
    Pairs,
    Table,
    Text,
    Tiles,
)

_SPECIAL = str.maketrans({character: f"\\{character}" for character in "\\`*_[]<>|#$"})


def render_markdown(document: Document) -> str:
    """Write a document as Markdown.

    Args:
        document: the document.

    Returns:
        GitHub Flavored Markdown.
    """
    parts = [f"# {_escaped(document.title)}", _escaped(document.lead)]
    for section in document.sections:
        parts += [f"## {_escaped(section.title)}", *(_block(block) for block in section.blocks)]
    return "\n\n".join(parts) + "\n"


@functools.singledispatch
def _block(block) -> str:
    raise TypeError(f"A document has no such block. Received: {type(block).__name__}")


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
