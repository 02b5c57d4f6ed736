"""How reports write numbers, and the terms that they use, each defined once."""

import math

UNKNOWN = "\N{EN DASH}"
TIMES = "x"
MINUS = "\N{MINUS SIGN}"


def count(value: float | None) -> str:
    """Write a whole number with separated thousands: 155,488."""
    return UNKNOWN if value is None else f"{value:,.0f}"


def percent(share: float | None, digits: int = 1) -> str:
    """Write a share of 0 to 1 as percent: 92.7 %."""
    return UNKNOWN if share is None else f"{100 * share:.{digits}f} %"


def milliseconds(seconds: float | None) -> str:
    """Write a time in milliseconds, with three decimals, or four of a very short one."""
    return UNKNOWN if seconds is None else f"{1000 * seconds:.{3 if seconds >= 1e-6 else 4}f} ms"


def mebibytes(value: float | None) -> str:
    """Write bytes in MiB: 1.42 MiB."""
    return UNKNOWN if value is None else f"{value / 2**20:.2f} MiB"


def decibels(ratio: float | None) -> str:
    """Write a ratio in dB; an infinite one is exact."""
    if ratio is None:
        return UNKNOWN
    return "exact" if ratio == math.inf else f"{ratio:.1f} dB"


def factor(value: float | None) -> str:
    """Write a factor: 7.0x."""
    return UNKNOWN if value is None else f"{value:.{1 if value >= 1 else 2}f}{TIMES}"


def short(value: float | None) -> str:
    """Write a large number in few characters: 9.1 M."""
    if value is None:
        return UNKNOWN
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.1f} {unit}"
    return f"{value:.0f}"


def metric(value: float | None, name: str) -> str:
    """Write a task metric: accuracy in percent, others as they are."""
    if value is None:
        return UNKNOWN
    return percent(value, 2) if name == "accuracy" else f"{value:.4g}"


def metric_change(drop: float | None, name: str) -> str:
    """Write how a metric changed, given how far it dropped: +0.24 points."""
    if drop is None:
        return UNKNOWN
    if drop == 0:
        return "same"
    return signed(f"{-100 * drop:+.2f} points" if name == "accuracy" else f"{-drop:+.4g}")


def signed(number: str) -> str:
    """Write a number with a real minus sign."""
    return number.replace("-", MINUS)


def times(value: float, more: str, less: str, digits: int = 1) -> str:
    """Write a ratio in words: 2 is "2.0x" and ``more``, 0.5 is "2.0x" and ``less``."""
    text = f"{max(value, 1 / value):.{digits}f}{TIMES}"
    return f"{text} {more if value >= 1 else less}"


def gains(ratio: float | None, speed_up: float | None, drop: float | None, name: str) -> str:
    """Say what compression gained and cost, as far as it is known: 7.0x smaller (gzip), ..."""
    parts = []
    if ratio is not None:
        parts.append(times(ratio, "smaller", "larger") + " (gzip)")
    if speed_up is not None:
        parts.append(times(speed_up, "faster", "slower"))
    if drop is not None:
        amount = f"{abs(100 * drop):.2f} points of accuracy"
        amount = amount if name == "accuracy" else f"{abs(drop):.4g} of {name}"
        parts.append(f"{amount} {'lost' if drop > 0 else 'gained'}" if drop else f"no {name} lost")
    return ", ".join(parts)


TERMS = {
    "Compression ratio": (
        "bytes of the float file divided by bytes of the compressed one, both after gzip, which is "
        "what a download costs."
    ),
    "Speed-up": (
        "median latency of the float file divided by that of the compressed one, both measured in "
        "turns in one run on one computer."
    ),
    "Accuracy": (
        "the share of examples whose largest output is that of the label, computed from what the "
        "interpreter gives, not from the Keras model."
    ),
    "Accuracy drop": (
        "accuracy of the float file less that of the compressed one, in percentage points; "
        "negative where accuracy was gained."
    ),
    "Sparsity": (
        "the share of weights that are zero in the file, biases left out. Rounding to few bits "
        "makes small weights zero, too."
    ),
    "Distinct values": (
        "how many different stored values the weights of an operation have; in an integer file "
        "with a scale per channel, before the scales."
    ),
    "Bits": "bits that one weight takes in the file, before gzip and sparse encodings.",
    "MACs": (
        "multiply-accumulates of one run, counted from the shapes of convolutions, matrix products "
        "and recurrent operations; zeros are not left out."
    ),
    "Latency": (
        "the median time of one run in the interpreter on this computer, with random inputs, after "
        "a first run that sets the kernels up."
    ),
    "SQNR": (
        "signal-to-quantization-noise ratio: the power of the float values over the power of the "
        "difference, in dB. 6 dB are one bit."
    ),
    "Step, LSB": "the smallest difference between two values of a quantized tensor: its scale.",
    "Agreement": (
        "the shares of output values that equal the reference's, rounded to the output's own "
        "steps, or lie within one step of it; and of examples with the same class."
    ),
    "Accuracy per class": (
        "of the examples (or positions) that have a class, the share that is given it, also "
        "called recall."
    ),
    "Precision": ("of the examples (or positions) that are given a class, the share that has it."),
    "IoU": (
        "intersection over union: positions that have a class and are given it, over those that "
        "have it or are given it."
    ),
    "Pareto front": "the trials that no other trial beats in everything at once.",
}
