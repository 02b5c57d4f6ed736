"""The outputs of a model as it would be deployed now, beside its own."""

from typing import Any

import keras
import numpy as np

from exporters.converting import convert_model
from exporters.running.runtime import load
from tfcompress.data import Inputs
from tfcompress.keras_graph.inputs import arrange_inputs, ordered_inputs


def deployed_outputs(
    model: keras.Model, inputs: Inputs, conversion: dict[str, Any], running: dict[str, Any]
) -> tuple[bytes, list[np.ndarray], float]:
    """Convert a model, and run its file.

    Args:
        model: a built model.
        inputs: arrays of examples.
        conversion: arguments of ``convert_model``.
        running: arguments of ``load``.

    Returns:
        The file; its outputs as real numbers, one array for each; and the share of values within
        one quantization step of the model's, within 1e-4 for float outputs.
    """
    inputs = ordered_inputs(model, inputs, "validation data")
    converted = convert_model(model, **conversion)
    with load(converted.flatbuffer, **running) as loaded:
        outputs = loaded.predict(inputs)
        steps = [details.scale or 1e-4 for details in loaded.outputs]
    expected = keras.tree.flatten(converted.model.predict(arrange_inputs(model, inputs), verbose=0))
    close = [
        np.abs(output - reference) <= 1.5 * step
        for output, reference, step in zip(outputs, expected, steps, strict=True)
    ]
    agreement = float(np.mean(np.concatenate([values.ravel() for values in close])))
    return converted.flatbuffer, outputs, agreement
