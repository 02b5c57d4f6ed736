"""Ratios pair by pair: of what was timed in the same turn of the same round."""

import statistics


def compare(changed, plain):
    """Return medians of the ratios of two trainings.

    Args:
        changed: {"first_epoch_s": seconds of each round, "step_s": seconds of each turn, ...}.
        plain: the same of the training that it is compared with.

    Returns:
        {"first_epoch": median, "step": median, "step_quartiles": [lower, upper], "turns": number}.
    """
    first, steps = (
        [after / before for after, before in zip(changed[kind], plain[kind], strict=True)]
        for kind in ("first_epoch_s", "step_s")
    )
    lower, _, upper = statistics.quantiles(steps, n=4)
    return {
        "first_epoch": statistics.median(first),
        "step": statistics.median(steps),
        "step_quartiles": [lower, upper],
        "turns": len(steps),
    }
