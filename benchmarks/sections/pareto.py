"""Accuracy against the size of the file, of every method at once."""

TITLE = "Accuracy against size"
PARTS = ("combinations", "quantization_accuracy")
ABOUT = (
    "Bytes of the .tflite files, gzipped where it says so; no file beats one on the grey line in "
    "both. Blue: ours and what the plain converter makes; orange: TFMOT and AEQ."
)


def goals(found):
    """Return none: the goals stand where each method does."""
    return []


def lines(found):
    """Return the plot; the tables stand where each method does."""
    return ["![Accuracy against bytes](images/benchmarks_pareto.svg)", ""]
