"""How the weights of a layer spread."""

from tfcompress.report.plots.inline import MUTED, SERIES, axes, inline_svg
from tfcompress.report.weights import Histogram

_WIDTH, _HEIGHT = 96, 22


def draw_distribution(histogram: Histogram) -> str:
    """Draw a histogram with its axes.

    Args:
        histogram: of a layer's weights.

    Returns:
        Inline SVG.
    """
    step = (histogram.high - histogram.low) / len(histogram.counts)
    edges = [histogram.low + place * step for place in range(len(histogram.counts) + 1)]
    with axes(height=1.9) as drawn:
        drawn.stairs(histogram.counts, edges, fill=True, color=SERIES[0], linewidth=0)
        drawn.axvline(0, color=MUTED, linewidth=0.8)
        drawn.set_xlabel("weight")
        drawn.set_ylabel("how many")
        return inline_svg(drawn)


def draw_sparkline(histogram: Histogram) -> str:
    """Draw a histogram in the height of a line of text.

    Args:
        histogram: of a layer's weights.

    Returns:
        Inline SVG, a few hundred bytes.
    """
    most = max(histogram.counts)
    step = _WIDTH / len(histogram.counts)
    path = f"M0 {_HEIGHT}" + "".join(
        f"V{_HEIGHT - (_HEIGHT - 1) * count / most:.1f}H{step * place:g}"
        for place, count in enumerate(histogram.counts, 1)
    )
    return (
        f'<svg class="spark" viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" height="{_HEIGHT}">'
        f'<path d="{path}V{_HEIGHT}Z" fill="var(--series-1)"/></svg>'
    )
