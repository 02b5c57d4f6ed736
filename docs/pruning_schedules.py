"""Draw the pruning schedules for the documentation: `python docs/pruning_schedules.py`."""

import pathlib

import matplotlib

matplotlib.use("svg")

import matplotlib.pyplot as plt

from tfcompress.pruning import (
    ConstantSparsity,
    CosineDecay,
    ExponentialDecay,
    OneCycle,
    PolynomialDecay,
)

BEGIN, END, LAST, FREQUENCY = 20, 100, 120, 5
SCHEDULES = {
    "ConstantSparsity(0.8)": ConstantSparsity(0.8, BEGIN, END, FREQUENCY),
    "PolynomialDecay(0, 0.8)": PolynomialDecay(0.0, 0.8, BEGIN, END, frequency=FREQUENCY),
    "CosineDecay(0, 0.8)": CosineDecay(0.0, 0.8, BEGIN, END, FREQUENCY),
    "ExponentialDecay(0, 0.8)": ExponentialDecay(0.0, 0.8, BEGIN, END, FREQUENCY),
    "OneCycle(0, 0.9, 0.8)": OneCycle(0.0, 0.9, 0.8, BEGIN, END, frequency=FREQUENCY),
}


def enforced(schedule, step):
    """Return the sparsity of the masks after a step: that of the last update."""
    due = schedule.last_update(step)
    return 0.0 if due is None else schedule(due)


def main():
    """Write docs/images/pruning_schedules.svg."""
    plt.rcParams["svg.hashsalt"] = "tfcompress"  # the same file on every run
    figure, axes = plt.subplots(1, len(SCHEDULES), figsize=(15, 3), sharey=True)
    steps = range(LAST + 1)
    for axis, (name, schedule) in zip(axes, SCHEDULES.items(), strict=True):
        axis.plot(steps, [schedule(step) for step in steps], color="tab:gray", linewidth=1)
        axis.step(steps, [enforced(schedule, step) for step in steps], where="post")
        axis.set_title(name, fontsize=10)
        axis.set_xlabel("step")
        axis.set_ylim(0, 1)
    axes[0].set_ylabel("sparsity")
    figure.tight_layout()
    path = pathlib.Path(__file__).parent / "images" / "pruning_schedules.svg"
    path.parent.mkdir(exist_ok=True)
    figure.savefig(path, metadata={"Date": None})


if __name__ == "__main__":
    main()
