"""Mixed precision: which kernels tolerate fewer bits."""

import dataclasses

from tfcompress.quantization import Scheme
from tfcompress.search.sensitivity import Sensitivity


@dataclasses.dataclass(frozen=True)
class PrecisionChoice:
    """Bits for each kernel under a budget of bytes.

    Attributes:
        scheme: the numerics: 8-bit weights, and 4-bit ones for the layers chosen.
        bits: {path of the kernel: 8 or 4}.
        weight_bytes: bytes of the weights.
        error: the sum of the errors that the table gives for this choice.
        gap: how far that sum can be above the least at most, by the relaxed problem in which a
            kernel may be split between the two: 0 where the choice is optimal.
    """

    scheme: Scheme
    bits: dict[str, int]
    weight_bytes: int
    error: float
    gap: float


def choose_precisions(table: Sensitivity, weight_budget: float) -> PrecisionChoice:
    """Choose 4 or 8 bits for each kernel so that the weights fit a budget with the least error.

    Kernels get 4 bits in the order of the error that each saved byte costs, until the weights fit;
    then those that the last step made unnecessary get 8 bits again. The errors of the kernels are
    added up, which is accurate as long as each is small.

    Args:
        table: the result of ``tfc.sensitivity`` for 8 and 4 bits.
        weight_budget: bytes of all weights, or below 1 a share of what 8 bits take.

    Returns:
        The choice; ``.scheme`` is for ``quantize_aware`` and ``export_tflite``.

    Raises:
        ValueError: the table lacks 8 or 4 bits, or the budget cannot be met; says what is nearest.

    Example:
    >>> table = tfc.sensitivity(model, (x, y), sparsities=(), bits=(8, 4))
    >>> choice = choose_precisions(table, 0.6)
    >>> quantized = tfc.quantize_aware(model, choice.scheme)
    """
    eight, four = table.of("bits", 8), table.of("bits", 4)
    if not eight or set(eight) != set(four):
        raise ValueError(
            "Choosing between 8 and 4 bits needs a table with both: "
            f"`sensitivity(..., bits=(8, 4))`. Received: columns {table.columns()}"
        )
    weights = {path: effect.weights for path, effect in eight.items()}
    halves = {path: -(-count // 2) for path, count in weights.items()}
    total, least = sum(weights.values()), sum(halves.values())
    budget = weight_budget * total if weight_budget < 1 else weight_budget
    if budget < least:
        raise ValueError(
            f"The budget cannot be met: with 4 bits for every kernel the weights take {least:,} "
            f"bytes. Received: weight_budget={weight_budget!r}, which is {budget:,.0f} bytes"
        )
    cost = {path: max(four[path].error - eight[path].error, 0.0) for path in eight}
    saved = {path: weights[path] - halves[path] for path in eight}
    order = sorted(eight, key=lambda path: cost[path] / max(saved[path], 1))
    needed, chosen, bound = total - budget, [], 0.0
    for path in order:
        if needed <= 0:
            break
        bound += cost[path] * min(needed / saved[path], 1.0)
        needed -= saved[path]
        chosen.append(path)
    for path in sorted(chosen, key=cost.get, reverse=True):
        if needed + saved[path] <= 0:
            needed += saved[path]
            chosen.remove(path)
    spent = sum(cost[path] for path in chosen)
    layers = [path.rpartition("/")[0] for path in order if path in chosen]
    scheme = Scheme.int8()
    if layers:
        scheme = scheme.override(list(dict.fromkeys(layers)), Scheme.int4_weights())
    return PrecisionChoice(
        scheme,
        bits={path: 4 if path in chosen else 8 for path in eight},
        weight_bytes=total - sum(saved[path] for path in chosen),
        error=sum(effect.error for effect in eight.values()) + spent,
        gap=spent - bound,
    )
