"""The plots of the page of benchmarks, as SVG that is the same for the same records."""

import statistics

import matplotlib
from matplotlib.figure import Figure
from sections.goals import measured

GROWTH, PARETO = "benchmarks_growth.svg", "benchmarks_pareto.svg"


def write_plots(records, folder):
    """Write the plots whose parts were measured.

    Args:
        records: {part: record}.
        folder: where the files go.
    """
    if growth := records.get("growth"):
        _save(growth_plot(growth["figures"]), folder / GROWTH)
    panels = pareto_panels(records)
    if panels:
        _save(pareto_plot(panels), folder / PARETO)


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


def pareto_panels(records):
    """Return {title: [(label, bytes, accuracy in per cent)]} of what was measured."""
    panels = {}
    if combined := records.get("combinations"):
        panels["MNIST, TFMOT's net, gzip"] = [
            (row["method"], row["gzip_bytes"], 100 * row["accuracy"]) for row in combined["figures"]
        ]
    if quantized := records.get("quantization_accuracy"):
        for row in measured(quantized["figures"]):
            sizes = [run["bytes"] for run in row["runs"] if run["bytes"] is not None]
            if sizes:  # some records of the float model are of Keras, without a file
                point = (row["method"], statistics.mean(sizes), 100 * row["accuracy"])
                panels.setdefault(row["data"], []).append(point)
    return panels


def pareto_front(points):
    """Return the points that no other one beats: as small and as accurate.

    Args:
        points: (label, bytes, accuracy) each.

    Returns:
        Those of the front, from the smallest file on.
    """
    front = []
    for point in sorted(points, key=lambda point: (point[1], -point[2])):
        if not front or point[2] > front[-1][2]:
            front.append(point)
    return front


def pareto_plot(panels):
    """Return accuracy against bytes, a panel for each data set, with its front."""
    figure = Figure(figsize=(8, 4 * len(panels)), layout="constrained")
    for axes, (title, points) in zip(
        figure.subplots(len(panels), squeeze=False)[:, 0], panels.items(), strict=True
    ):
        front = pareto_front(points)
        axes.semilogx([p[1] for p in front], [p[2] for p in front], color="0.6", zorder=0)
        for number, (label, size, accuracy) in enumerate(points, 1):
            peer = "TFMOT" in label or "AEQ" in label
            color = "tab:orange" if peer else "tab:blue"
            axes.scatter(size, accuracy, color=color, label=f"{number} {label}")
            place = {"xytext": (4, 3), "textcoords": "offset points"}
            axes.annotate(str(number), (size, accuracy), fontsize=8, **place)
        axes.legend(fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5))
        axes.set(title=title, xlabel="bytes", ylabel="accuracy, %")
    return figure
