"""A line for each training, over its epochs."""

from collections.abc import Mapping, Sequence

from tfcompress.report.plots.inline import LINES, MARKERS, SERIES, axes, inline_svg

_MARKED = 40  # points; more would hide the line


def draw_curves(curves: Mapping[str, Sequence[float]], label: str) -> str:
    """Draw values after each epoch; lines differ in colour, dashes and markers.

    Args:
        curves: the values, by what to call them.
        label: what the values are, with the unit.

    Returns:
        Inline SVG.
    """
    with axes() as drawn:
        for place, (name, values) in enumerate(curves.items()):
            drawn.plot(
                range(1, len(values) + 1),
                values,
                color=SERIES[place % len(SERIES)],
                linestyle=LINES[place % len(LINES)],
                marker=MARKERS[place % len(MARKERS)] if len(values) <= _MARKED else None,
                markersize=3.5,
                linewidth=1.6,
                label=name,
            )
        drawn.set_xlabel("epoch")
        drawn.set_ylabel(label)
        drawn.xaxis.get_major_locator().set_params(integer=True)
        drawn.legend(loc="best")
        return inline_svg(drawn)
