"""The trials of a search: small against accurate."""

from tfcompress.report.plots.inline import INK, MUTED, SERIES, axes, inline_svg
from tfcompress.report.search_result import SearchResult


def draw_pareto(search: SearchResult) -> str:
    """Draw the accuracy of each trial over its size, with the front and the limits of the budget.

    Args:
        search: the search.

    Returns:
        Inline SVG.
    """
    measured = [trial for trial in search.trials if trial.gzip_size and trial.accuracy is not None]
    front = sorted((trial for trial in measured if trial.on_front), key=lambda t: t.gzip_size)
    others = [trial for trial in measured if not trial.on_front]
    scale = 100 if search.metric == "accuracy" else 1
    with axes(height=3.3, width=5.4) as drawn:
        for trials, colour, marker, label in (
            (others, MUTED, "o", "other trials"),
            (front, SERIES[0], "s", "trials on the front"),
        ):
            drawn.plot(
                [trial.gzip_size / 1000 for trial in trials],
                [scale * trial.accuracy for trial in trials],
                color=colour,
                linestyle="-" if trials is front else "none",
                linewidth=0.8,
                marker=marker,
                markersize=6,
                label=label,
            )
        drawn.plot(
            [search.reference_gzip_size / 1000],
            [scale * search.reference_accuracy],
            color=SERIES[1],
            linestyle="none",
            marker="*",
            markersize=11,
            label="the float model",
        )
        for trial in front:
            drawn.annotate(
                str(trial.number),
                (trial.gzip_size / 1000, scale * trial.accuracy),
                xytext=(5, 5),
                textcoords="offset points",
                color=INK,
                fontsize=8,
            )
        drop = search.budget.get("max_accuracy_drop")
        if drop is not None:
            limit = search.reference_accuracy + (drop if search.lower_is_better else -drop)
            limit *= scale
            drawn.axhline(limit, color=SERIES[1], linestyle="--", linewidth=1, label="budget")
        if (size := search.budget.get("max_size")) is not None:
            drawn.axvline(size / 1000, color=SERIES[1], linestyle=":", linewidth=1)
        drawn.set_xscale("log")
        drawn.xaxis.get_major_locator().set_params(subs=(1, 2, 5))
        drawn.xaxis.set_major_formatter("{x:g}")  # not the powers of ten of mathematical text
        drawn.minorticks_off()
        drawn.set_xlabel("gzipped size, kB")
        drawn.set_ylabel("accuracy, %" if scale > 1 else search.metric)
        drawn.legend(loc="best")
        return inline_svg(drawn)
