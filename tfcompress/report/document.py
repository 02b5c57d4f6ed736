"""The blocks of a report, whatever it is written as: sections of tables, figures and text.

Each kind of block has a template in ``templates/parts`` and a function in ``rendering``.
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
    """One important number, with its unit, and a note on what it is computed from."""

    label: str
    value: str
    note: str = ""


@dataclasses.dataclass(frozen=True)
class Tiles:
    """The most important numbers."""

    tiles: tuple[Tile, ...]


@dataclasses.dataclass(frozen=True)
class Pairs:
    """Names and what they stand for: definitions, versions, hashes."""

    pairs: tuple[tuple[str, str], ...]
    code: bool = False


@dataclasses.dataclass(frozen=True)
class Cell:
    """One cell of a table."""

    text: str
    order: float | None = None  # rows are sorted by it; by the text if it is None
    share: float | None = None  # how far a bar behind the text reaches, 0 to 1; None for no bar
    drawing: Callable[[], str] | None = None  # makes an inline SVG, which the text describes


@dataclasses.dataclass(frozen=True)
class Column:
    """A column of a table; numbers are aligned right."""

    title: str
    number: bool = True
    explanation: str = ""


@dataclasses.dataclass(frozen=True)
class Table:
    """A table; the first column names the row."""

    caption: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    sortable: bool = False


@dataclasses.dataclass(frozen=True)
class Figure:
    """A drawing as inline SVG, and its content in words."""

    title: str
    alternative: str
    draw: Callable[[], str]
    wide: bool = False  # as wide as the page


@dataclasses.dataclass(frozen=True)
class Figures:
    """Drawings that belong together."""

    figures: tuple[Figure, ...]


Block = Text | Items | Code | Tiles | Pairs | Table | Figures


@dataclasses.dataclass(frozen=True)
class Section:
    """A part of a document; a folded one is shown on request."""

    title: str
    blocks: tuple[Block, ...]
    folded: bool = False

    @property
    def name(self) -> str:
        """The name for links to it."""
        return "-".join(self.title.lower().split())


@dataclasses.dataclass(frozen=True)
class Document:
    """A report: its kind, what it is about, a sentence that sums it up, and its parts."""

    kind: str
    title: str
    lead: str
    sections: tuple[Section, ...]
