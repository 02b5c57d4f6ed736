"""Whether a model's outputs are logits or probabilities."""

import keras

from tfcompress.compat.keras_graphs import produced_by
from tfcompress.keras_graph.wrapper import unwrap

_PROBABILITIES = ("softmax", "sigmoid")


def detect_heads(model: keras.Model) -> list[str | None]:
    """Tell for each output of a model which activation ends it.

    Args:
        model: a built Keras model.

    Returns:
        For each output, flattened: "softmax", "sigmoid", "linear", or ``None`` where it cannot be
        told (a custom activation, a reshape at the end). An empty list for a subclassed model.
    """
    return [_head(tensor) for tensor in getattr(unwrap(model), "outputs", None) or []]


def _head(tensor):
    operation, _, index = produced_by(tensor)
    if isinstance(operation, keras.Model) and getattr(operation, "outputs", None):
        return _head(operation.outputs[index])
    name = type(operation).__name__.lower()
    if name not in _PROBABILITIES:
        name = getattr(getattr(operation, "activation", None), "__name__", None)
    return name if name in (*_PROBABILITIES, "linear") else None


def resolve_from_logits(
    from_logits: bool | None, student: str | None, teacher: str | None, output: str
) -> bool:
    """Decide whether one output of student and teacher is logits.

    Args:
        from_logits: the user's word, or ``None`` to decide by the models' last layers. Where these
            cannot be read either, logits are assumed.
        student: how the student's output ends; see ``detect_heads``.
        teacher: how the teacher's output ends.
        output: the output's name, for the error.

    Returns:
        True for logits, False for probabilities.

    Raises:
        ValueError: one of the two ends in probabilities and the other in logits, or ``from_logits``
            contradicts what they end in.
    """
    ends = {
        who: activation not in _PROBABILITIES
        for who, activation in (("student", student), ("teacher", teacher))
        if activation is not None
    }
    claims = set(ends.values()) | ({from_logits} - {None})
    if len(claims) > 1:
        raise ValueError(
            f"Logits or probabilities? Output {output!r} of the student ends in activation "
            f"{student or 'unknown'}, the teacher's in {teacher or 'unknown'}. Make both end alike "
            "(and `from_logits` agree), or give the teacher as a callable that converts: `lambda "
            "x: keras.ops.log(teacher(x, training=False))` turns softmax probabilities into "
            f"logits. Received: from_logits={from_logits}"
        )
    return claims.pop() if claims else True
