"""What a report is made of, whatever it is written as: sections of tables, figures and text.

Each kind of block has one part in ``templates/parts`` and one function in ``markdown``.
"""

import dataclasses
from collections.abc import Callable


@dataclasses.dataclass(frozen=True)
class Text:
    """A paragraph."""

    text: str


@dataclasses.dataclass(frozen=True)
class Items:
    """A list of sentences."""

    items: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Code:
    """Lines to type."""

    code: str


@dataclasses.dataclass(frozen=True)
class Tile:
    """One number that matters.

    Attributes:
        label: what it is.
        value: the number with its unit.
        note: what it is made of.
    """

    label: str
    value: str
    note: str = ""


@dataclasses.dataclass(frozen=True)
class Tiles:
    """The numbers that matter most."""

    tiles: tuple[Tile, ...]


@dataclasses.dataclass(frozen=True)
class Pairs:
    """Names and what they stand for: definitions, versions, hashes."""

    pairs: tuple[tuple[str, str], ...]
    code: bool = False


@dataclasses.dataclass(frozen=True)
class Cell:
    """One cell of a table.

    Attributes:
        text: what it shows.
        order: the number that rows are sorted by; by the text if there is none.
        share: how far a bar behind the text reaches, 0 to 1; None for no bar.
        drawing: a function that draws an inline SVG in the text's place; the text describes it.
    """

    text: str
    order: float | None = None
    share: float | None = None
    drawing: Callable[[], str] | None = None


@dataclasses.dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        title: its heading.
        number: whether it holds numbers, which stand to the right.
        explanation: what the heading means, for those who do not know.
    """

    title: str
    number: bool = True
    explanation: str = ""


@dataclasses.dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        caption: what it shows.
        columns: its columns; the first one names the row.
        rows: a cell for each column.
        sortable: whether readers may want other orders.
    """

    caption: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    sortable: bool = False


@dataclasses.dataclass(frozen=True)
class Figure:
    """A drawing.

    Attributes:
        title: what it shows.
        alternative: the same in words, for those who do not see it.
        draw: draws it as inline SVG.
        wide: whether it needs the whole width of a page.
    """

    title: str
    alternative: str
    draw: Callable[[], str]
    wide: bool = False


@dataclasses.dataclass(frozen=True)
class Figures:
    """Drawings that belong together."""

    figures: tuple[Figure, ...]


Block = Text | Items | Code | Tiles | Pairs | Table | Figures


@dataclasses.dataclass(frozen=True)
class Section:
    """A part of a document.

    Attributes:
        title: its heading.
        blocks: what it says.
        folded: whether a page shows it only when asked.
    """

    title: str
    blocks: tuple[Block, ...]
    folded: bool = False

    @property
    def name(self) -> str:
        """The name to link to it by."""
        return "-".join(self.title.lower().split())


@dataclasses.dataclass(frozen=True)
class Document:
    """A report.

    Attributes:
        kind: what kind of report it is.
        title: what it is about.
        lead: what it says, in a sentence.
        sections: its parts.
    """

    kind: str
    title: str
    lead: str
    sections: tuple[Section, ...]
