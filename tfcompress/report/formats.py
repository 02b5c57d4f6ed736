"""Numbers as people read them; what is not known is a dash."""

import math

UNKNOWN = "\N{EN DASH}"
TIMES = "x"
MINUS = "\N{MINUS SIGN}"


def count(value: float | None) -> str:
    """Write a whole number with its thousands apart: 155,488."""
    return UNKNOWN if value is None else f"{value:,.0f}"


def percent(share: float | None, digits: int = 1) -> str:
    """Write a share of 0 to 1 as percent: 92.7 %."""
    return UNKNOWN if share is None else f"{100 * share:.{digits}f} %"


def milliseconds(seconds: float | None) -> str:
    """Write a time in milliseconds, three digits behind the point."""
    return UNKNOWN if seconds is None else f"{1000 * seconds:.3f} ms"


def mebibytes(value: float | None) -> str:
    """Write bytes in MiB: 1.42 MiB."""
    return UNKNOWN if value is None else f"{value / 2**20:.2f} MiB"


def decibels(ratio: float | None) -> str:
    """Write a ratio in dB; an infinite one is exact."""
    if ratio is None:
        return UNKNOWN
    return "exact" if ratio == math.inf else f"{ratio:.1f} dB"


def factor(value: float | None) -> str:
    """Write how many times: 7.0, and a sign of multiplication."""
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
    """Give a number that was written with its sign a real minus."""
    return number.replace("-", MINUS)


def times(value: float, more: str, less: str, digits: int = 1) -> str:
    """Write a ratio in words: 2 is 2.0 times more, 0.5 is 2.0 times less."""
    text = f"{max(value, 1 / value):.{digits}f}{TIMES}"
    return f"{text} {more if value >= 1 else less}"


def gains(ratio: float | None, speed_up: float | None, drop: float | None, name: str) -> str:
    """Say what compression brought and what it cost: 7.0 times smaller, ...

    Args:
        ratio: the compression ratio.
        speed_up: the speed-up.
        drop: the metric's drop.
        name: the metric.

    Returns:
        What is known of the three, in words.
    """
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
