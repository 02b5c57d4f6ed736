"""The plots of the page of benchmarks, as SVG that is the same for the same records."""

import matplotlib
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator
from sections import pareto

GROWTH, PARETO = "benchmarks_growth.svg", "benchmarks_pareto.svg"


def write_plots(records, folder):
    """Write the plots whose parts were measured.

    Args:
        records: {part: record}.
        folder: where the files go.
    """
    if growth := records.get("growth"):
        _save(growth_plot(growth["figures"]), folder / GROWTH)
    found = {part: records[part]["figures"] for part in pareto.PARTS if part in records}
    if groups := pareto.files(found):
        _save(pareto_plot(groups), folder / PARETO)


def _save(figure, path):
    with matplotlib.rc_context({"svg.hashsalt": path.stem, "svg.fonttype": "none"}):
        figure.savefig(path, format="svg", metadata={"Date": None})


def growth_plot(figures):
    """Return seconds against weights, and against layers, both logarithmic."""
    figure = Figure(figsize=(8, 5 * len(figures)), layout="constrained")
    for axes, (series, found) in zip(
        figure.subplots(len(figures), squeeze=False)[:, 0], figures.items(), strict=True
    ):
        for what, curve in found["curves"].items():
            sizes, seconds = ([point[key] for point in curve] for key in ("size", "seconds"))
            exponent = found["exponents"][what]
            label = what if exponent is None else f"{what} ({exponent:.2f})"
            axes.loglog(sizes, seconds, marker="o", label=label)
        axes.set(xlabel=series, ylabel="seconds")
        axes.legend(
            fontsize="small", title="with its exponent", loc="center left", bbox_to_anchor=(1, 0.5)
        )
    return figure


def pareto_plot(groups):
    """Return accuracy against gzipped bytes: a panel for each data set, two fronts in it.

    Args:
        groups: {data set: files}, see ``pareto.files``.
    """
    figure = Figure(figsize=(8, 4 * len(groups)), layout="constrained")
    for axes, (title, points) in zip(
        figure.subplots(len(groups), squeeze=False)[:, 0], groups.items(), strict=True
    ):
        for theirs, side, color in ((False, "ours", "tab:blue"), (True, "TFMOT", "tab:orange")):
            found = [point for point in points if point.theirs is theirs]
            line = pareto.front(found)
            axes.semilogx(
                [p.size for p in line], [p.accuracy for p in line], color=color, label=side
            )
            axes.scatter(
                [p.size for p in found], [p.accuracy for p in found], color=color, s=16, alpha=0.6
            )
        axes.legend(loc="lower right")
        axes.set(title=title, xlabel="bytes, gzipped", ylabel="accuracy, %")
        axes.xaxis.set_major_formatter(lambda size, _: f"{size:,.0f}")
        axes.xaxis.set_minor_locator(LogLocator(subs=(2, 3, 5)))
        axes.xaxis.set_minor_formatter(lambda size, _: f"{size:,.0f}")
        axes.tick_params(axis="x", which="both", labelsize=8, rotation=30)
    return figure
