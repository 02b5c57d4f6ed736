"""The first trials: a ladder of candidates from gentle to hard, climbed by halving."""

from collections.abc import Collection, Mapping

from tfcompress.search.space import Candidate, Space

# Chosen so that few trials meet typical budgets: each rung promises more than the one before.
_RUNGS = (
    Candidate(trained=False),
    Candidate(),
    Candidate(sparsity=0.5),
    Candidate(channels=0.25, sparsity=0.5),
    Candidate(channels=0.25, sparsity=0.7),
    Candidate(channels=0.5, sparsity=0.5),
    Candidate(channels=0.5, sparsity=0.7),
    Candidate(channels=0.625, sparsity=0.8),
    Candidate(channels=0.75, sparsity=0.9),
)


def rungs(space: Space) -> tuple[Candidate, ...]:
    """Return the ladder of a space, from the model as it is, in 8 bits, to the hardest rung."""
    return tuple(dict.fromkeys(space.restricted(rung) for rung in _RUNGS))


def next_rung(
    ladder: tuple[Candidate, ...],
    holds: Mapping[Candidate, bool],
    running: Collection[Candidate] = (),
) -> Candidate | None:
    """Choose the rung to try next: the lowest first, then by halving.

    Args:
        ladder: from gentle to hard.
        holds: whether the candidates tried so far meet the budget.
        running: candidates that other workers are at.

    Returns:
        An untried rung between the hardest that holds and the gentlest beyond it that does not, as
        near to the middle as possible; None where there is no such rung.

    Example:
    >>> a, b, c = ladder = rungs(Space(("sparsity",)))[:3]
    >>> next_rung(ladder, {}) == a, next_rung(ladder, {a: True}) == b
    (True, True)
    """
    taken = {*holds, *running}
    if ladder[0] not in taken:
        return ladder[0]
    held = [place for place, rung in enumerate(ladder) if holds.get(rung, False)]
    low = max(held, default=0)
    missed = [p for p, rung in enumerate(ladder) if p > low and not holds.get(rung, True)]
    high = min(missed, default=len(ladder))
    between = [place for place in range(low + 1, high) if ladder[place] not in taken]
    if not between:
        return None
    middle = (low + high) / 2
    return ladder[min(between, key=lambda place: abs(place - middle))]
