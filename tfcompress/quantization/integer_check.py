"""Whether the file of a quantization-aware model will compute with integers where it has to."""

from collections.abc import Iterable

import keras
import numpy as np

from tfcompress.graph.interception import VariableSwap
from tfcompress.graph.selection import select_layers
from tfcompress.graph.taps import walk_operations
from tfcompress.quantization.deployment import deployment_of
from tfcompress.quantization.placing.placement import refuse_float
from tfcompress.tflite import conversion
from tfcompress.tflite.flatbuffer import read_model
from tfcompress.tflite.precision import float_layers


def require_integer(wrapped) -> None:
    """Let the converter say, before any training, whether the ranges are where it needs them.

    Args:
        wrapped: a quantization-aware model.

    Raises:
        PlacementError: layers that may not would compute in float on the device.
    """
    made_up = np.tile(np.float32([-8.0, 8.0]), (wrapped.ranges.shape[0], 1))
    with VariableSwap([(wrapped.ranges, made_up)]):
        frozen = conversion.freeze(wrapped, conversion.input_specs(wrapped))
    deployment = deployment_of(wrapped)
    content = deployment.finish(conversion.convert_plainly(frozen, deployment.configure))
    refuse_float(
        wrapped,
        float_layers(read_model(content), [path for path, _ in walk_operations(wrapped)]),
        wrapped.allow_float,
    )


def require_named(model: keras.Model, allowed: Iterable[str]) -> None:
    """Check the names of what may compute in float.

    Args:
        model: a built Keras model.
        allowed: names or paths of layers and operations.

    Raises:
        ValueError: the model has no such layer.
    """
    operations = {path for path, _ in walk_operations(model)}
    if layers := [name for name in allowed if name not in operations]:
        select_layers(model, layers)
