"""Accuracy and cost of distillation."""

import statistics

from .goals import Goal, at_most, table

TITLE = "Distillation"
PARTS = ("distillation_accuracy_signs", "distillation_accuracy_spoken", "distillation_step")
ABOUT = (
    "The same student from the same initial weights, alone and taught; test accuracy, mean and "
    "deviation over the seeds. A step is timed in turns."
)
DATA = {"signs": "sign digits", "spoken": "spoken digits"}
MUST_WIN = {
    "student distilled": "student alone",
    "student distilled, mixtures": "student alone, mixtures",
}
NO_WORSE = {"QAT, self-distilled": "QAT"}
STEP_LIMITS = {"cached / alone": 1.05, "distilled / (alone + teacher)": 1.05}


def accuracies(found):
    """Return {data set: {method: figures}}."""
    return {name: methods for part in PARTS[:2] for name, methods in found.get(part, {}).items()}


def goals(found):
    """Return that distillation gains more than the seeds' spread, and what a step may cost."""
    result = []
    for name, methods in accuracies(found).items():
        for taught, alone in MUST_WIN.items():
            if taught in methods and alone in methods:
                margin, spread = _margin(methods[taught], methods[alone])
                what = f"{DATA[name]}, {taught}: points over {alone}"
                wanted = f"above the spread of {spread:.2f}"
                result.append(Goal(what, wanted, f"{margin:+.2f}", "", margin > spread))
        for taught, alone in NO_WORSE.items():
            if taught in methods and alone in methods:
                margin, spread = _margin(methods[taught], methods[alone])
                what = f"{DATA[name]}, {taught}: points over {alone}"
                spread = f"deviation {spread:.2f}"
                result.append(Goal(what, "at least 0", f"{margin:+.2f}", spread, margin >= 0))
    for name, limit in STEP_LIMITS.items():
        if step := found.get("distillation_step"):
            result.append(at_most(f"step, {name}", limit, step["ratios"][name], "{:.3f}x"))
    return result


def _margin(taught, alone):
    return taught["mean"] - alone["mean"], max(taught["deviation"], alone["deviation"])


def lines(found):
    """Return the tables of accuracies and of steps."""
    text = table(
        ["data", "method", "accuracy, %", "seeds"],
        [
            [DATA[name], method, f"{row['mean']:.2f} ± {row['deviation']:.2f}", len(row["scores"])]
            for name, methods in accuracies(found).items()
            for method, row in methods.items()
            if method != "teacher"
        ],
    )
    if step := found.get("distillation_step"):
        text += table(
            ["epoch of", "step, ms", "from", "to"],
            [
                [
                    name,
                    *(f"{f(times):.2f}" for f in (statistics.median, min, max)),
                ]
                for name, times in step["rounds"].items()
            ],
        )
    return text
