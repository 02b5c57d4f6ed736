"""Whether two computations in float are the same but for the order of their operations."""

from collections.abc import Callable, Sequence

import keras
import numpy as np

from tfcompress.keras_graph.inputs import arrange_inputs
from tfcompress.keras_graph.interception import float32_computation
from tfcompress.keras_graph.wrapper import unwrap
from tfcompress.quantization.float_file import ConversionError
from tfcompress.quantization.tracing import TracedModel
from tfcompress.tflite.flatbuffer import read_model
from tfcompress.tflite.interpreter import tensor_values

# Relative to the largest value: what the order of float operations can make of an output.
_SAME = 2e-3
# A change of the inputs of the size of a few roundings, and how much more those of all layers do.
_MOVED = 1e-6
_MAGNIFIED = 10.0
_SEEDS = (1, 2)  # a rounding may decide on a class of one example, not of both


def are_alike(found: Sequence, compute: Callable, inputs: Sequence[np.ndarray]) -> bool:
    """Tell whether outputs are those of a computation but for the rounding of floats.

    Args:
        found: the outputs.
        compute: takes inputs and returns the outputs that should be.
        inputs: of which ``found`` was computed.

    Returns:
        Whether they are. Deep networks can magnify the rounding of floats: by as much as they do a
        change of their inputs.
    """
    expected = compute(inputs)
    differences = [_difference(*pair) for pair in zip(found, expected, strict=True)]
    if max(differences, default=0.0) <= _SAME:
        return True
    moved = [x * np.float32(1 + _MOVED) if x.dtype.kind == "f" else x for x in inputs]
    tolerances = [
        max(_SAME, _MAGNIFIED * _difference(*pair))
        for pair in zip(compute(moved), expected, strict=True)
    ]
    return all(map(np.less_equal, differences, tolerances))


def _difference(one, other) -> float:
    """Return the largest difference relative to the largest value, where the second is finite."""
    one, other = (np.asarray(x, np.float64) for x in (one, other))
    if one.shape != other.shape:
        return np.inf
    finite = np.isfinite(other)
    one, other = one[finite], other[finite]
    size = max(np.abs(other).max(initial=0.0), 1e-6)
    found = np.abs(one - other).max(initial=0.0) / size
    return np.inf if np.isnan(found) else float(found)


def require_right_file(model: keras.Model, traced: TracedModel, content: bytes) -> None:
    """Check that a float file computes what its model does.

    Args:
        model: the Keras model.
        traced: the graph that the file was converted from.
        content: the file, with the model's weights.

    Raises:
        ConversionError: it does not.
    """
    # Of a batch of one, Keras takes tensors for biases that are none.
    is_free = all(tensor.shape[0] is None for tensor in unwrap(model).inputs)

    def compute(inputs):
        fed = [np.concatenate([x, x]) for x in inputs] if is_free else inputs
        with float32_computation(model):
            outputs = keras.tree.flatten(model(arrange_inputs(model, fed), training=False))
        return [np.asarray(x)[: len(x) // 2] if is_free else x for x in outputs]

    file = read_model(content).subgraphs[0]
    wrong = []
    for seed in _SEEDS:
        inputs = _random(traced.specs, [file.tensors[i].shape[0] for i in file.inputs], seed)
        try:
            values = tensor_values(content, inputs)
        except RuntimeError:  # an operation that no interpreter has: the export says so
            return
        wrong.append(not are_alike([values[i] for i in file.outputs], compute, inputs))
    if all(wrong):
        raise ConversionError(
            f"The float file of model {model.name!r} does not compute what the model does, so no "
            "file is made of it."
        )


def _random(specs, batch_sizes, seed):
    """Make examples of random inputs, with indices that any table has."""
    generator = np.random.default_rng(seed)
    values = []
    for spec, count in zip(specs, batch_sizes, strict=True):
        shape, dtype = (count, *spec.shape[1:]), spec.dtype.as_numpy_dtype
        random = generator.standard_normal if spec.dtype.is_floating else _bits(generator)
        values.append(random(shape).astype(dtype))
    return values


def _bits(generator):
    return lambda shape: generator.integers(0, 2, shape)
