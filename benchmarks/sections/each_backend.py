"""The whole path on each backend of Keras, and the cost of a pruned step there."""

import statistics

from .goals import Goal, at_least, at_most, table

TITLE = "Each backend of Keras"
PARTS = ("each_backend",)
ABOUT = (
    "Spoken digits: a student is trained in float, then pruned to three quarters, "
    "quantization-aware and distilled at once, in `fit`, on each backend; exported to int8 and run "
    "on the 300 examples of the test. The teacher is one file, trained on TensorFlow. Steps are "
    "timed in turns of 20, masks updated every 10; ratios within a turn, medians and quartiles."
)
NAMES = {"tensorflow": "TensorFlow", "jax": "JAX", "torch": "PyTorch"}


def goals(found):
    """Return that each backend reaches TensorFlow's accuracy, its file, and a step's cost."""
    backends = found.get(PARTS[0], {})
    result = []
    for backend, figures in backends.items():
        name, students = NAMES[backend], figures["students"]
        if backend != "tensorflow" and "tensorflow" in backends:
            result.append(_within_spread(name, students, backends["tensorflow"]["students"]))
        different = sum(row["different"] for row in students)
        result.append(at_most(f"{name}, outputs of file and model that differ", 0, different, "{}"))
        in_float = max(row["float_operations"] for row in students)
        result.append(at_most(f"{name}, float operations", 0, in_float, "{}"))
        sparsity = min(row["sparsity"] for row in students)
        result.append(at_least(f"{name}, sparsity", 0.75, sparsity, "{:.3f}"))
        for model, steps in figures["steps"].items():
            spread = "{:.3f} to {:.3f}".format(*steps["quartiles"])
            what = f"{name}, step of pruning, {model}"
            result.append(at_most(what, 1.05, steps["ratio"], "{:.3f}x", spread))
    return result


def _within_spread(name, students, others):
    """Return the goal that a mean accuracy is not below the least of TensorFlow's seeds."""
    ours, theirs = ([row["accuracy"] for row in rows] for rows in (students, others))
    spread = f"TensorFlow's {min(theirs):.2%} to {max(theirs):.2%}"
    mean = statistics.mean(ours)
    what = f"{name}, mean accuracy of the seeds"
    return Goal(what, "within TensorFlow's spread", f"{mean:.2%}", spread, mean >= min(theirs))


def lines(found):
    """Return the tables of students and of steps."""
    backends = found[PARTS[0]]
    accuracies = [
        [_named(backend, figures["students"]), *_student(figures["students"])]
        for backend, figures in backends.items()
    ]
    steps = [
        [NAMES[backend], model, *_steps(row)]
        for backend, figures in backends.items()
        for model, row in figures["steps"].items()
    ]
    head = ["backend", "accuracy in float, %", "of the int8 file, %", "mean", "zeros"]
    text = table([*head, "float operations", "outputs that differ from the model's"], accuracies)
    if steps:
        times = ["plain step, ms", "pruned, ms", "ratio", "quartiles", "of processor time"]
        text += table(["backend", "model", *times], steps)
    return text


def _named(backend, rows):
    return f"{NAMES[backend]} {rows[0]['version']}"


def _student(rows):
    def percent(name):
        return ", ".join(f"{100 * row[name]:.2f}" for row in rows)

    mean = statistics.mean(100 * row["accuracy"] for row in rows)
    different, outputs = (sum(row[name] for row in rows) for name in ("different", "outputs"))
    zeros = ", ".join(sorted({f"{row['sparsity']:.1%}" for row in rows}))
    in_float = max(row["float_operations"] for row in rows)
    cells = f"{mean:.2f}", zeros, in_float, f"{different} of {outputs:,}"
    return [percent("float_accuracy"), percent("accuracy"), *cells]


def _steps(row):
    quartiles = "{:.3f} to {:.3f}".format(*row["quartiles"])
    times = f"{row['plain_ms']:.1f}", f"{row['pruned_ms']:.1f}", f"{row['ratio']:.3f}x"
    return [*times, quartiles, f"{row['processor_ratio']:.3f}x"]
