"""Which tensors of a file may hold masked scores: a softmax or an exponential reads them alone."""

from collections.abc import Mapping

from tfcompress.quantization.arithmetic.masks import BELOW_SCORES, BELOW_SUMMANDS
from tfcompress.tflite.constants import constant_value
from tfcompress.tflite.model import TFLiteModel

_READ_SCORES = frozenset({"SOFTMAX", "EXP"})
# What these make of the scores at some inputs is scores; all inputs where not said.
_PASS_ON: dict[str, tuple[int, ...] | None] = {
    "BROADCAST_TO": (0,),
    "CONCATENATION": None,
    "EXPAND_DIMS": (0,),
    "RESHAPE": (0,),
    "SELECT": (1, 2),
    "SELECT_V2": (1, 2),
    "SLICE": (0,),
    "SQUEEZE": (0,),
    "STRIDED_SLICE": (0,),
    "TRANSPOSE": (0,),
}
_SCALE = frozenset({"DIV", "MUL"})
# Scores as they are computed; masks come later. The logits of a classifier may differ as much.
_NOT_MASKED = frozenset({"BATCH_MATMUL", "CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"})


def score_margins(model: TFLiteModel) -> Mapping[int, float]:
    """Find the tensors of a file's main graph that may hold masked scores, by their index.

    For each it says how far below the scores that count a mask has to lie. Constants that are added
    to scores are among them.
    """
    graph = model.subgraphs[0]
    margins: dict[int, float] = {}
    for operation in reversed(graph.operations):
        for index in (*operation.outputs, *operation.inputs):
            tensor = graph.tensors[index] if index >= 0 else None
            if tensor is None or tensor.dtype != "FLOAT32" or index in graph.outputs:
                continue
            if operation.name in _NOT_MASKED and index in operation.outputs:
                margins.pop(index, None)  # set where a later operation reads it
                continue
            asked = [_margin(model, place, margins) for place in graph.readers[index]]
            if asked and None not in asked and any(asked):
                margins[index] = max(asked)
    return margins


def _margin(model, place, margins) -> float | None:
    """Return what a reader asks of a tensor: 0 for nothing, None if it reads no scores."""
    operation, position = place
    if operation.name in _READ_SCORES:
        return BELOW_SCORES
    if operation.name == "REDUCE_MAX":  # which a softmax by hand subtracts
        return 0.0
    made = margins.get(operation.outputs[0])
    if made is None:
        return None
    if operation.name in _PASS_ON:
        positions = _PASS_ON[operation.name]
        return made if positions is None or position in positions else None
    if operation.name == "ADD" or (operation.name == "SUB" and position == 0):
        is_softmax_by_hand = operation.name == "SUB" and _is_maximum(
            model, operation.inputs[1], operation.inputs[0]
        )
        return made if is_softmax_by_hand else BELOW_SUMMANDS
    if operation.name in _SCALE and position == 0:
        factor = model.subgraphs[0].tensors[operation.inputs[1]]
        if factor.constant and (constant_value(model, factor) > 0).all():
            return BELOW_SUMMANDS
    return None


def _is_maximum(model, index, of) -> bool:
    """Tell whether a tensor is the largest of another's values."""
    return any(
        operation.name == "REDUCE_MAX" and operation.inputs[0] == of and index in operation.outputs
        for operation in model.subgraphs[0].operations
    )
