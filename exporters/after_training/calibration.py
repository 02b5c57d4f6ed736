"""The ranges of a float file's tensors: observed on data, or learnt in training."""

from collections.abc import Iterable, Mapping, Sequence

import keras
import numpy as np
import tensorflow as tf

from exporters.running.runtime import load
from tfcompress.graph.interception import float32_computation
from tfcompress.graph.taps import TapPoint
from tfcompress.quantization import QuantizeAware
from tfcompress.quantization.placing.placement import FIXED_RANGE, SAME_SCALE, input_point
from tfcompress.quantization.tapping import run_in_float, tapped
from tfcompress.tflite.conversion import arrange_inputs, input_specs
from tfcompress.tflite.flatbuffer import read_model

Ranges = dict[str, tuple[float, float]]

_KERNELS = "builtin"  # a delegate keeps its inner values to itself
_PROBE_SEED = 20240229
# Relative to the size of a tensor: what float rounding alone can make of it.
_SAME = 1e-3


def float_tensors(content: bytes) -> dict[str, int]:
    """List the float tensors that a file computes or is fed, by name, with their index."""
    graph = read_model(content).subgraphs[0]
    return {
        tensor.name: tensor.index
        for tensor in graph.tensors
        if tensor.dtype == "FLOAT32" and not tensor.constant
    }


def observe(content: bytes, samples: Iterable[Mapping[str, np.ndarray]]) -> Ranges:
    """Observe the smallest and the largest value of every tensor.

    Args:
        content: a float file that this process has made.
        samples: inputs by name, a batch of the file's own size each.

    Returns:
        (smallest, largest) by the tensor's name; zero lies within.
    """
    tensors = float_tensors(content)
    ranges = dict.fromkeys(tensors, (0.0, 0.0))
    for values in _traced(content, samples, list(tensors.values())):
        for name, value in zip(tensors, values, strict=True):
            low, high = ranges[name]
            ranges[name] = min(low, float(value.min())), max(high, float(value.max()))
    return ranges


def second_moments(
    content: bytes, samples: Iterable[Mapping[str, np.ndarray]]
) -> dict[str, tuple[np.ndarray, int]]:
    """Sum up what enters the fully connected layers, for GPTQ.

    Args:
        content: a float file that this process has made.
        samples: as in ``observe``.

    Returns:
        (x.T @ x * 2 / rows, rows) by the name of the tensor that enters, with x of the shape
        (rows, input channels): the Hessian of the squared error of a layer's output.
    """
    graph = read_model(content).subgraphs[0]
    entering = {
        graph.tensors[operation.inputs[0]].name: operation.inputs[0]
        for operation in graph.operations
        if operation.name == "FULLY_CONNECTED"
    }
    sums: dict[str, np.ndarray] = {}
    rows = dict.fromkeys(entering, 0)
    for values in _traced(content, samples, list(entering.values())):
        for name, value in zip(entering, values, strict=True):
            x = value.reshape(-1, value.shape[-1]).astype(np.float64)
            sums[name] = sums.get(name, 0.0) + x.T @ x
            rows[name] += len(x)
    return {name: ((2.0 / rows[name] * sums[name]).astype(np.float32), rows[name]) for name in sums}


def learnt_ranges(quantized: QuantizeAware, content: bytes) -> Ranges:
    """Find the ranges that a model learnt in training, by the names of a float file's tensors.

    Args:
        quantized: the quantization-aware model.
        content: the float file of ``quantized.model``, with a batch size of 1.

    Returns:
        (smallest, largest) by name, for the tensors that are recognised by their values.

    Example:
    ```python
    from exporters.converting import convert_model

    content = convert_model(quantized.model, "float32").flatbuffer
    learnt_ranges(quantized, content)
    ```
    """
    rows = keras.ops.convert_to_numpy(quantized.ranges)
    known = {
        point: tuple(map(float, rows[row])) for point, row in quantized.placement.rows().items()
    }
    known |= dict(quantized.placement.fixed)
    inputs = _probe_inputs(quantized)
    values = _values_at(known, quantized, inputs)
    tensors = float_tensors(content)
    fed = {spec.name: array for spec, array in zip(input_specs(quantized), inputs, strict=True)}
    (stored,) = _traced(content, [fed], list(tensors.values()))
    ranges = {}
    for name, value in zip(tensors, stored, strict=True):
        point = _recognise(value, values)
        if point is not None:
            ranges[name] = known[point]
    return ranges


def complete_ranges(content: bytes, ranges: Ranges) -> Ranges:
    """Add the ranges that follow from those of other tensors, or from the operation itself.

    Args:
        content: a float file.
        ranges: (smallest, largest) by tensor name.

    Returns:
        A range for every float tensor of the file.

    Raises:
        ValueError: some tensor's range follows from nothing; names them.
    """
    graph = read_model(content).subgraphs[0]
    complete = dict(ranges)
    for operation in graph.operations:
        read, made = (
            [graph.tensors[index].name for index in indices if index >= 0]
            for indices in (operation.inputs, operation.outputs)
        )
        if operation.name in FIXED_RANGE:
            complete |= dict.fromkeys(made, FIXED_RANGE[operation.name])
        source = next((complete[name] for name in read if name in complete), None)
        if operation.name in SAME_SCALE and source is not None:
            for name in made:
                complete.setdefault(name, source)
    missing = [name for name in float_tensors(content) if name not in complete]
    if missing:
        raise ValueError(
            "The ranges of some tensors are not known: pass `representative_data`, some hundred "
            f"inputs like those in use, to observe them. Not known: {missing}"
        )
    return complete


def _probe_inputs(quantized) -> list[np.ndarray]:
    generator = np.random.default_rng(_PROBE_SEED)
    return [
        generator.standard_normal(tuple(spec.shape)).astype(spec.dtype.as_numpy_dtype)
        if spec.dtype.is_floating
        else np.zeros(tuple(spec.shape), spec.dtype.as_numpy_dtype)
        for spec in input_specs(quantized)
    ]


def _values_at(points, quantized, inputs) -> dict[TapPoint, np.ndarray]:
    """Run the model in float, and return what it hands out at those points."""
    found: list[TapPoint] = []

    @tf.function(autograph=False)  # inner tensors are seen in graphs alone
    def run(tensors):
        seen = {}

        def tap(point, tensor):
            if point in points:
                seen.setdefault(point, tensor)
            return tensor

        with tapped(quantized, tap):
            run_in_float(quantized, arrange_inputs(quantized, tensors))
        found[:] = seen
        return list(seen.values())

    with float32_computation(quantized):
        outputs = run([tf.constant(array) for array in inputs])
    values = {input_point(place): array for place, array in enumerate(inputs)}
    values |= {point: output.numpy() for point, output in zip(found, outputs, strict=True)}
    return {point: value for point, value in values.items() if point in points}


def _recognise(value: np.ndarray, values: dict[TapPoint, np.ndarray]) -> TapPoint | None:
    """Return the first point that hands out a tensor."""
    size = max(float(np.max(np.abs(value), initial=0.0)), 1e-6)
    for point, candidate in values.items():
        if candidate.size == value.size:
            difference = np.max(np.abs(candidate.ravel() - value.ravel()), initial=0.0)
            if difference <= _SAME * size:
                return point
    return None


def _traced(content, samples, tensors: Sequence[int]):
    with load(content, kernels=_KERNELS, keep_all=True) as loaded:
        for sample in samples:
            yield loaded.trace(sample, tensors)[1]
