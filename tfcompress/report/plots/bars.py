"""A bar for each operation of a file."""

from collections.abc import Sequence

from tfcompress.report.plots.inline import SERIES, axes, inline_svg


def draw_bars(
    places: Sequence[int],
    values: Sequence[float],
    titles: Sequence[str],
    label: str,
    top: float | None = None,
    series: int = 0,
) -> str:
    """Draw a bar for each operation.

    Args:
        places: the operations' places in the graph.
        values: how high the bars are.
        titles: what to show on hovering.
        label: what the values are, with the unit.
        top: the upper end of the axis; by default as high as is needed.
        series: which of the page's colours the bars have.

    Returns:
        Inline SVG.
    """
    with axes() as drawn:
        bars = drawn.bar(places, values, width=0.8, color=SERIES[series], linewidth=0)
        for place, bar in enumerate(bars):
            bar.set_gid(f"bar{place}")
        drawn.set_xlabel("operation")
        drawn.set_ylabel(label)
        drawn.grid(visible=False, axis="x")
        drawn.xaxis.get_major_locator().set_params(integer=True)
        drawn.set_ylim(min(0.0, *values), top)
        return inline_svg(drawn, {f"bar{place}": title for place, title in enumerate(titles)})
