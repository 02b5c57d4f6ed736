"""The logits that Keras's crossentropies find behind probabilities."""

from collections.abc import Sequence
from typing import Any

import keras

_ATTRIBUTE = "_keras_logits"
_HEADS = ("Softmax", "Sigmoid")


def logits_behind(probabilities: Any) -> Any:
    """Return the logits that a softmax or a sigmoid has read; None where Keras knows of none."""
    operation = getattr(probabilities, "op", None)  # eager tensors have none
    if operation is not None and operation.type in _HEADS:
        return operation.inputs[0]
    return getattr(probabilities, _ATTRIBUTE, None)


def attach_logits(probabilities: Any, logits: Any) -> None:
    """Let Keras's crossentropies compute with these logits in place of the probabilities."""
    setattr(probabilities, _ATTRIBUTE, logits)


def with_logits(outputs: Any, logits: Sequence) -> Any:
    """Return the outputs of a model, with the logits of each, in order, that has some."""
    for output, behind in zip(keras.tree.flatten(outputs), logits, strict=True):
        if behind is not None:
            attach_logits(output, behind)
    return outputs
