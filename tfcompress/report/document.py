"""The blocks of a report, whatever it is written as: sections of tables, figures and text.

Each kind of block has a template in ``templates/parts`` and a function in ``rendering``.
"""

from collections.abc import Callable
from typing import NamedTuple


class Text(NamedTuple):
    """A paragraph."""

    text: str


class Items(NamedTuple):
    """A list of sentences."""

    items: tuple[str, ...]


class Code(NamedTuple):
    """Lines to type."""

    code: str


class Tile(NamedTuple):
    """One important number, with its unit, and a note on what it is computed from."""

    label: str
    value: str
    note: str = ""


class Tiles(NamedTuple):
    """The most important numbers."""

    tiles: tuple[Tile, ...]


class Pairs(NamedTuple):
    """Names and what they stand for: definitions, versions, hashes."""

    pairs: tuple[tuple[str, str], ...]
    code: bool = False


class Cell(NamedTuple):
    """One cell of a table."""

    text: str
    order: float | None = None  # rows are sorted by it; by the text if it is None
    share: float | None = None  # how far a bar behind the text reaches, 0 to 1; None for no bar
    drawing: Callable[[], str] | None = None  # makes an inline SVG, which the text describes


class Column(NamedTuple):
    """A column of a table; numbers are aligned right."""

    title: str
    number: bool = True
    explanation: str = ""


class Table(NamedTuple):
    """A table; the first column names the row."""

    caption: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    sortable: bool = False


class Figure(NamedTuple):
    """A drawing as inline SVG or an image, and its content in words."""

    title: str
    alternative: str
    draw: Callable[[], str]
    wide: bool = False  # as wide as the page
    note: str = ""  # below the drawing


class Figures(NamedTuple):
    """Drawings that belong together."""

    figures: tuple[Figure, ...]
    small: bool = False  # several beside each other on a phone


Block = Text | Items | Code | Tiles | Pairs | Table | Figures


class Section(NamedTuple):
    """A part of a document; a folded one is shown on request."""

    title: str
    blocks: tuple[Block, ...]
    folded: bool = False

    @property
    def name(self) -> str:
        """The name for links to it."""
        return "-".join(self.title.lower().split())


class Document(NamedTuple):
    """A report: its kind, what it is about, a sentence that sums it up, and its parts."""

    kind: str
    title: str
    lead: str
    sections: tuple[Section, ...]
