"""Plots of a report, drawn by Matplotlib as inline SVG with the colors and the font of the page.

Matplotlib draws with placeholder colors; each is replaced by a variable of the page's style sheet,
so that one drawing serves both the light and the dark mode. Text stays text: it is small, and
readers can find and copy it.
"""

import contextlib
import io
import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING

from tfcompress.report.weights import Histogram
from tfcompress.search.results import SearchResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_INK, _MUTED, _GRID = "#0a0a01", "#0a0a02", "#0a0a03"
_SERIES = ("#0a0b01", "#0a0b02", "#0a0b03", "#0a0b04")
_MARKERS = ("o", "s", "^", "D")
_LINES = ("-", "--", "-.", ":")
_VARIABLES = {
    _INK: "var(--ink)",
    _MUTED: "var(--muted)",
    _GRID: "var(--line)",
    **{color: f"var(--series-{place})" for place, color in enumerate(_SERIES, 1)},
}
_STYLE = {
    "axes.edgecolor": _GRID,
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.labelcolor": _MUTED,
    "axes.labelsize": 10,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.axisbelow": True,
    "figure.facecolor": "none",
    "font.size": 10,
    "grid.color": _GRID,
    "grid.linewidth": 0.6,
    "savefig.facecolor": "none",
    "svg.fonttype": "none",
    "svg.hashsalt": "tfcompress",
    "text.color": _INK,
    "text.parse_math": False,  # names of layers may hold a $
    "xtick.color": _GRID,
    "xtick.labelcolor": _MUTED,
    "xtick.labelsize": 9.5,
    "ytick.color": _GRID,
    "ytick.labelcolor": _MUTED,
    "ytick.labelsize": 9.5,
}
_WIDTH = 4.6  # inches; a figure is as wide as a phone, so that its text is as large as the page's
_MARKED = 40  # points; more would hide the line
_NAME_SIZE, _CHARACTER = 9, 5.2  # of a point's name: the height of a line and a width, in points
_LINE = 0.085  # height of a line of text, of that of the axes
_NAME_WIDTH = 16  # characters
_LONGEST = 14  # characters of a class in a confusion matrix
_DARKEST = 0.45  # of a cell; text is read on it
_SPARK_WIDTH, _SPARK_HEIGHT = 96, 22


@contextlib.contextmanager
def _axes(height: float = 2.6, width: float = _WIDTH) -> Iterator["Axes"]:
    """Yield axes of a size in inches to draw on, in the style of reports."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(_STYLE):
        yield Figure(figsize=(width, height), layout="constrained").subplots()


def _inline_svg(axes: "Axes", titles: Mapping[str, str] | None = None) -> str:
    """Turn a drawing into an SVG element for a page; titles, by ``gid``, are shown on hovering."""
    stream = io.StringIO()
    silent = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    axes.figure.savefig(stream, format="svg", metadata=silent)
    text = stream.getvalue()
    text = text[text.index("<svg") :]
    # Comments, metadata, and a style that the page's own style sheet has, once for all drawings.
    style = r"<defs>\s*<style[^>]*>.*?</style>\s*</defs>"
    text = re.sub(rf"(<!--.*?-->|<metadata>.*?</metadata>)\s*|{style}", "", text, flags=re.DOTALL)
    for size in ("width", "height"):
        text = re.sub(rf'(<svg [^>]*?) {size}="[^"]*"', r"\1", text, count=1)
    for gid, title in (titles or {}).items():
        text = text.replace(f'<g id="{gid}">', f"<g><title>{escape(title, quote=False)}</title>", 1)
    # Several drawings share a page: only ids that a drawing refers to stay.
    used = set(re.findall(r"(?:url\(#|href=\"#)([^)\"]+)", text))
    text = re.sub(r' id="([^"]*)"', lambda match: match[0] if match[1] in used else "", text)
    text = re.sub(r"font: (\d+)px [^;\"]*", r"font-size: \1px", text)
    text = re.sub(r"#[0-9a-f]{6}\b", lambda match: _VARIABLES.get(match[0], match[0]), text)
    return re.sub(r">\s+<", "><", text).strip()


def draw_bars(
    places: Sequence[int],
    values: Sequence[float],
    titles: Sequence[str],
    label: str,
    top: float | None = None,
    series: int = 0,
) -> str:
    """Draw a bar at the place of each operation in the graph; titles are shown on hovering."""
    with _axes() as axes:
        bars = axes.bar(places, values, width=0.8, color=_SERIES[series], linewidth=0)
        for place, bar in enumerate(bars):
            bar.set_gid(f"bar{place}")
        axes.set_xlabel("operation")
        axes.set_ylabel(label)
        axes.grid(visible=False, axis="x")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.set_ylim(min(0.0, *values), top)
        return _inline_svg(axes, {f"bar{place}": title for place, title in enumerate(titles)})


def draw_curves(curves: Mapping[str, Sequence[float]], label: str) -> str:
    """Draw values by epoch; lines differ in color, dashes and markers, and are named at the end."""
    with _axes() as axes:
        for place, values in enumerate(curves.values()):
            axes.plot(
                range(1, len(values) + 1),
                values,
                color=_SERIES[place % len(_SERIES)],
                linestyle=_LINES[place % len(_LINES)],
                marker=_MARKERS[place % len(_MARKERS)] if len(values) <= _MARKED else None,
                markersize=3.5,
                linewidth=1.6,
            )
        axes.set_xlabel("epoch")
        axes.set_ylabel(label)
        axes.xaxis.get_major_locator().set_params(integer=True)
        _name_lines(axes, {name: values[-1] for name, values in curves.items()})
        return _inline_svg(axes)


def _name_lines(axes: "Axes", ends: Mapping[str, float]) -> None:
    """Write the names of lines beside their ends, one above the other where these are close."""
    low, high = axes.get_ylim()
    line, place = _LINE * (high - low), low
    names = {name: textwrap.wrap(name, _NAME_WIDTH)[:3] for name in ends}
    order = sorted(ends, key=ends.get)
    left = line * sum(len(names[name]) for name in order)
    for name in order:
        size = line * len(names[name])
        left -= size
        middle = max(place + size / 2, min(ends[name], high - left - size / 2))
        place = middle + size / 2
        axes.annotate(
            "\n".join(names[name]),
            (1, middle),
            xycoords=("axes fraction", "data"),
            xytext=(5, 0),
            textcoords="offset points",
            verticalalignment="center",
            color=_SERIES[list(ends).index(name) % len(_SERIES)],
            fontsize=9,
        )


def draw_histogram(histogram: Histogram) -> str:
    """Draw a histogram with its axes."""
    step = (histogram.high - histogram.low) / len(histogram.counts)
    edges = [histogram.low + place * step for place in range(len(histogram.counts) + 1)]
    with _axes(height=1.9) as axes:
        axes.stairs(histogram.counts, edges, fill=True, color=_SERIES[0], linewidth=0)
        axes.axvline(0, color=_MUTED, linewidth=0.8)
        axes.set_xlabel("weight")
        axes.set_ylabel("how many")
        return _inline_svg(axes)


def draw_sparkline(histogram: Histogram) -> str:
    """Draw a histogram in the height of a line of text, in a few hundred bytes."""
    highest = max(histogram.counts)
    step = _SPARK_WIDTH / len(histogram.counts)
    path = f"M0 {_SPARK_HEIGHT}" + "".join(
        f"V{_SPARK_HEIGHT - (_SPARK_HEIGHT - 1) * count / highest:.1f}H{step * place:g}"
        for place, count in enumerate(histogram.counts, 1)
    )
    size = f'width="{_SPARK_WIDTH}" height="{_SPARK_HEIGHT}"'
    return (
        f'<svg class="spark" viewBox="0 0 {_SPARK_WIDTH} {_SPARK_HEIGHT}" {size}>'
        f'<path d="{path}V{_SPARK_HEIGHT}Z" fill="var(--series-1)"/></svg>'
    )


def draw_confusions(names: Sequence[str], counts: Sequence[Sequence[int]], rows: str) -> str:
    """Draw a confusion matrix: a row for each right class, a column for each answer of the file.

    Right answers are blue and on the diagonal, wrong ones orange, each as dark as its share of the
    row.
    """
    cell, left, font = 44 if len(names) < 5 else 28, 100, 11
    shown = [name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…" for name in names]
    top = 34 + 6 * max(map(len, shown))
    width, height = left + max(cell * len(names), 110) + 4, top + cell * len(names) + 4
    parts = [
        f'<text x="{left - 8}" y="{top - 8}" text-anchor="end" class="muted">{rows}</text>',
        f'<text x="{left}" y="12" class="muted">answer of the file</text>',
    ]
    for place, (name, title) in enumerate(zip(shown, names, strict=True)):
        middle = cell * place + cell / 2
        hint = f"<title>{escape(title)}</title>{escape(name)}"
        parts += [
            f'<text x="{left - 8}" y="{top + middle + 4}" text-anchor="end">{hint}</text>',
            f'<text transform="translate({left + middle + 4} {top - 8}) rotate(-90)">{hint}</text>',
        ]
    for row, line in enumerate(counts):
        for column, count in enumerate(line):
            x, y = left + cell * column, top + cell * row
            color = f"var(--series-{1 if row == column else 2})"
            shade = _DARKEST * (count / sum(line)) ** 0.5 if count else 0
            hint = f"{names[row]}, taken for {names[column]}: {count:,}"
            parts.append(
                f'<rect x="{x}" y="{y}" width="{cell - 1}" height="{cell - 1}" fill="{color}" '
                f'fill-opacity="{shade:.2f}"><title>{escape(hint)}</title></rect>'
            )
            if count:
                text = f"{count:,}" if count < 10_000 else f"{count / 1000:.0f}k"
                parts.append(
                    f'<text x="{x + cell / 2 - 0.5}" y="{y + cell / 2 + 4}" text-anchor="middle" '
                    f'font-size="{font if len(text) < cell // 6 else 8}">{text}</text>'
                )
    return (
        f'<svg class="matrix" viewBox="0 0 {width} {height}" font-size="{font}" '
        f'style="max-width:{width}px">{"".join(parts)}</svg>'
    )


def draw_pareto(search: SearchResult) -> str:
    """Draw each trial's accuracy over its size, with the front and the limits of the budget."""
    front = sorted(search.front, key=lambda trial: trial.gzip_size)
    others = [t for t in search.trials if t.error is None and t not in search.front]
    reference = search.reference
    scale = 100 if reference.metric == "accuracy" else 1
    with _axes(height=3.3, width=5.4) as axes:
        for trials, color, marker in ((others, _MUTED, "o"), (front, _SERIES[0], "s")):
            axes.plot(
                [trial.gzip_size / 1000 for trial in trials],
                [scale * trial.accuracy for trial in trials],
                color=color,
                linestyle="-" if trials is front else "none",
                linewidth=0.8,
                marker=marker,
                markersize=6,
            )
        axes.plot(
            [reference.gzip_size / 1000],
            [scale * reference.accuracy],
            color=_SERIES[1],
            linestyle="none",
            marker="*",
            markersize=11,
        )
        budget = search.budget
        worse = 1 if reference.lower_is_better else -1
        limit = scale * (reference.accuracy + worse * budget.max_accuracy_drop)
        axes.axhline(limit, color=_SERIES[1], linestyle="--", linewidth=1)
        if budget.max_size is not None:
            axes.axvline(budget.max_size / 1000, color=_SERIES[1], linestyle=":", linewidth=1)
        axes.set_xscale("log")
        axes.xaxis.get_major_locator().set_params(subs=(1, 2, 5))
        axes.xaxis.set_major_formatter("{x:g}")  # not the powers of ten of mathematical text
        axes.minorticks_off()
        axes.set_xlabel("gzipped size, kB")
        axes.set_ylabel("accuracy, %" if scale > 1 else reference.metric)
        axes.margins(x=0.12)
        named = [(reference, "float model", _SERIES[1])]
        named += [(t, f"trial {t.number}", _SERIES[0]) for t in front]
        named += [(t, f"trial {t.number}", _MUTED) for t in others]
        names = [(t.gzip_size / 1000, scale * t.accuracy, text, c) for t, text, c in named]
        names.insert(1, (axes.get_xlim()[0], limit, "budget", _SERIES[1]))
        _name_points(axes, names, limit)
        return _inline_svg(axes)


def _name_points(axes: "Axes", names: Sequence[tuple[float, float, str, str]], line: float) -> None:
    """Write names beside points where they cover no point, no name and no line, or not at all.

    Each is (x, y, name, color); the first come first. The line is level.
    """
    axes.figure.draw_without_rendering()  # which places the axes
    scale = 72 / axes.figure.dpi
    inside = axes.bbox.extents * scale
    points = [axes.transData.transform((x, y)) * scale for x, y, _, _ in names]
    taken = [(x - 4, y - 4, x + 4, y + 4) for x, y in points]
    level = axes.transData.transform((1, line))[1] * scale
    taken.append((inside[0], level - 1, inside[2], level + 1))
    for (x, y), (*point, name, color) in zip(points, names, strict=True):
        width, height = _CHARACTER * len(name), _NAME_SIZE + 2
        for dx, dy in ((5, -13), (5, 4), (-5, -13), (-5, 4)):
            left = x + dx if dx > 0 else x + dx - width
            box = left, y + dy, left + width, y + dy + height
            if _is_within(box, inside) and not any(_overlap(box, other) for other in taken):
                taken.append(box)
                axes.annotate(
                    name,
                    point,
                    xytext=(dx, dy + 2),
                    textcoords="offset points",
                    horizontalalignment="left" if dx > 0 else "right",
                    color=color,
                    fontsize=_NAME_SIZE,
                )
                break


def _is_within(box: Sequence[float], outer: Sequence[float]) -> bool:
    return all(box[i] >= outer[i] for i in (0, 1)) and all(box[i] <= outer[i] for i in (2, 3))


def _overlap(a: Sequence[float], b: Sequence[float]) -> bool:
    return all(a[i] < b[i + 2] and b[i] < a[i + 2] for i in (0, 1))
