"""Matplotlib's figures as inline SVG that takes its colours and its font from the page.

Matplotlib draws with placeholder colours; each is replaced by a variable of the page's style sheet,
so that one drawing serves both the light and the dark mode. Text stays text: it is small, and
readers can find and copy it.
"""

import contextlib
import io
import re
from collections.abc import Iterator, Mapping
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INK, MUTED, GRID = "#0a0a01", "#0a0a02", "#0a0a03"
SERIES = ("#0a0b01", "#0a0b02", "#0a0b03", "#0a0b04")
MARKERS = ("o", "s", "^", "D")
LINES = ("-", "--", "-.", ":")
_VARIABLES = {
    INK: "var(--ink)",
    MUTED: "var(--muted)",
    GRID: "var(--line)",
    **{colour: f"var(--series-{place})" for place, colour in enumerate(SERIES, 1)},
}
_STYLE = {
    "axes.edgecolor": GRID,
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.labelcolor": MUTED,
    "axes.labelsize": 10,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.axisbelow": True,
    "figure.facecolor": "none",
    "font.size": 10,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "legend.fontsize": 10,
    "legend.labelcolor": INK,
    "savefig.facecolor": "none",
    "svg.fonttype": "none",
    "svg.hashsalt": "tfcompress",
    "text.color": INK,
    "text.parse_math": False,  # names of layers may hold a $
    "xtick.color": GRID,
    "xtick.labelcolor": MUTED,
    "xtick.labelsize": 9.5,
    "ytick.color": GRID,
    "ytick.labelcolor": MUTED,
    "ytick.labelsize": 9.5,
}
_WIDTH = 4.6  # inches; a figure is as wide as a phone, so that its text is as large as the page's


@contextlib.contextmanager
def axes(height: float = 2.6, width: float = _WIDTH) -> Iterator["Axes"]:
    """Give axes to draw on in the style of reports, for a block.

    Args:
        height: of the figure in inches.
        width: likewise.

    Yields:
        Matplotlib's axes; without matplotlib, an ImportError.
    """
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(_STYLE):
        yield Figure(figsize=(width, height), layout="constrained").subplots()


def inline_svg(drawn: "Axes", titles: Mapping[str, str] | None = None) -> str:
    """Turn a drawing into an SVG element for a page.

    Args:
        drawn: axes from ``axes``, inside its block.
        titles: what to show on hovering, by the ``gid`` of the artist.

    Returns:
        The element: no declarations, no fixed size, and no ids but those that it refers to.
    """
    stream = io.StringIO()
    silent = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    drawn.figure.savefig(stream, format="svg", metadata=silent)
    text = stream.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<!--.*?-->\s*", "", text, flags=re.DOTALL)
    # The page's own style sheet says this, once for all drawings.
    text = re.sub(r"<defs>\s*<style[^>]*>.*?</style>\s*</defs>", "", text, flags=re.DOTALL)
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", text, flags=re.DOTALL)
    text = re.sub(r'(<svg [^>]*?) width="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'(<svg [^>]*?) height="[^"]*"', r"\1", text, count=1)
    for gid, title in (titles or {}).items():
        text = text.replace(f'<g id="{gid}">', f"<g><title>{escape(title, quote=False)}</title>", 1)
    text = _without_unused_ids(text)
    text = re.sub(r"font: (\d+)px [^;\"]*", r"font-size: \1px", text)
    text = re.sub(
        r"#[0-9a-f]{6}\b", lambda match: _VARIABLES.get(match.group(), match.group()), text
    )
    return re.sub(r">\s+<", "><", text).strip()


def _without_unused_ids(text: str) -> str:
    """Drop the ids that nothing refers to: several drawings share a page, and its names."""
    used = set(re.findall(r"(?:url\(#|href=\"#)([^)\"]+)", text))
    return re.sub(
        r' id="([^"]*)"', lambda match: match.group() if match.group(1) in used else "", text
    )
