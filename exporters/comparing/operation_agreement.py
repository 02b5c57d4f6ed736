"""Which operations of a file depart from the quantization-aware model that it was made of.

A difference of one step in one value moves others further on, so that a count of differences says
little about the operation that shows them. Each operation is therefore compared twice: as it stands
at the end of all that went before, and alone, with both sides computing it on the file's values.
"""

import dataclasses

import numpy as np
import tensorflow as tf

from exporters.running.numerics import dequantize, quantize
from exporters.running.runtime import KERNELS, RunError, load_isolated, start_child
from tfcompress.graph.interception import float32_computation
from tfcompress.graph.taps import TapPoint
from tfcompress.quantization import QuantizeAware
from tfcompress.quantization.tapping import tapped
from tfcompress.tflite.extraction import OperationCutter
from tfcompress.tflite.flatbuffer import read_model
from tfcompress.tflite.model import Operation, Tensor

_INNER_KERNELS = "builtin"  # a delegate keeps its inner values to itself
# Relative to the size of a tensor: more than flipped steps make of it, less than another tensor.
_RECOGNISED = 0.3
_ROUNDING = 0.01  # more than rounding to 8 bits makes of it
_BATCH = 64


@dataclasses.dataclass(frozen=True)
class Difference:
    """How two tensors differ.

    Attributes:
        share: share of the values that differ.
        largest: the largest difference, in steps.
    """

    share: float
    largest: int


@dataclasses.dataclass(frozen=True)
class OperationAgreement:
    """How the output of one operation agrees with the model's.

    Attributes:
        index: the operation's place in the main graph.
        operation: its name, such as "CONV_2D".
        tensor: the name of its output.
        point: where the Keras model hands the tensor out.
        together: the difference with all that went before, under the built-in kernels.
        alone: the difference where both compute on the file's values, by kernel set that has
            the operation.
    """

    index: int
    operation: str
    tensor: str
    point: str
    together: Difference
    alone: dict[str, Difference]


def compare_operations(
    quantized: QuantizeAware,
    flatbuffer: bytes,
    examples: np.ndarray,
    kernels: tuple[str, ...] = tuple(KERNELS),
) -> tuple[OperationAgreement, ...]:
    """Compare each operation of a file with a quantization-aware model's.

    Args:
        quantized: the model; one input.
        flatbuffer: its file.
        examples: real numbers, shape (examples, *shape of the input).
        kernels: the kernel sets under which operations are run alone.

    Returns:
        An entry for each operation with one quantized output that the model hands out as well, in
        the order of the file.

    Raises:
        RunError: the built-in kernels do not run the file.
        ValueError: the examples do not fit the input.

    Example:
    ```python
    from exporters.converting import convert_model

    for entry in compare_operations(quantized, convert_model(quantized).flatbuffer, images):
        print(entry.operation, entry.point, entry.alone["xnnpack"].share)
    ```
    """
    graph = read_model(flatbuffer).subgraphs[0]
    stored = [
        index
        for index in dict.fromkeys(i for op in graph.operations for i in (*op.inputs, *op.outputs))
        if index >= 0 and not graph.tensors[index].constant and _has_steps(graph.tensors[index])
    ]
    with load_isolated(flatbuffer, kernels=_INNER_KERNELS, keep_all=True) as loaded:
        (port,) = loaded.inputs
        inputs = port.to_real(port.to_file(examples))  # what enters the file, for both
        held = dict(zip(stored, loaded.trace(inputs, stored)[1], strict=True))

    computed = _values(quantized, inputs, {})
    own = {*quantized.placement.rows(), *dict(quantized.placement.fixed)}  # points with a range
    operations: dict[TapPoint, Operation] = {}
    for operation in graph.operations:
        if len(operation.outputs) == 1 and operation.outputs[0] in held:
            tensor = graph.tensors[operation.outputs[0]]
            point = _recognise(_real(tensor, held[tensor.index]), computed, own)
            if point is not None:
                operations.setdefault(point, operation)
    forced = {
        point: _real(graph.tensors[op.outputs[0]], held[op.outputs[0]]).reshape(len(inputs), -1)
        for point, op in operations.items()
        if point in own  # others follow from these
    }
    expected = _values(quantized, inputs, forced)
    alone = _run_alone(flatbuffer, operations.values(), held, kernels)
    return tuple(
        OperationAgreement(
            operation.index,
            operation.label,
            (tensor := graph.tensors[operation.outputs[0]]).name,
            str(point),
            _difference(tensor, held[tensor.index], computed[point]),
            {
                name: _difference(tensor, outputs[operation.index], expected[point])
                for name, outputs in alone.items()
                if operation.index in outputs
            },
        )
        for point, operation in operations.items()
    )


def _has_steps(tensor: Tensor) -> bool:
    return (
        tensor.dtype in ("INT8", "UINT8", "INT16")
        and tensor.quantization is not None
        and len(tensor.quantization.scales) == 1
    )


def _values(quantized, inputs, forced) -> dict[TapPoint, np.ndarray]:
    """Run the model and return what it computes at each point; go on with a forced value."""
    points: list[TapPoint] = []

    @tf.function(autograph=False)  # inner tensors are seen in graphs alone
    def run(batch, values):
        seen, values = {}, dict(zip(forced, values, strict=True))

        def tap(point, tensor):
            seen[point] = tensor
            value = values.get(point)
            if value is None:
                return tensor
            return tf.cast(tf.reshape(value, tf.shape(tensor)), tensor.dtype)

        with tapped(quantized, tap):
            quantized.call(batch, training=False)
        points[:] = seen
        return list(seen.values())

    batches = []
    with float32_computation(quantized):
        for start in range(0, len(inputs), _BATCH):
            # Always as many examples, so that one graph runs: another would have other points.
            rows = np.minimum(np.arange(start, start + _BATCH), len(inputs) - 1)
            given = [tf.constant(value[rows]) for value in forced.values()]
            outputs = run(tf.constant(inputs[rows]), given)
            batches.append([_by_example(output.numpy()) for output in outputs])
    columns = zip(*batches, strict=True)
    return {
        point: np.concatenate(column)[: len(inputs)]
        for point, column in zip(points, columns, strict=True)
    }


def _by_example(values: np.ndarray) -> np.ndarray:
    """Give each example a row; what is no whole number of values an example is given none."""
    return values.reshape(_BATCH, -1) if values.size % _BATCH == 0 else np.empty((_BATCH, 0))


def _recognise(real: np.ndarray, candidates: dict[TapPoint, np.ndarray], own) -> TapPoint | None:
    """Return the point that hands out a tensor: one with a range, or the first of equal ones.

    Before a tensor is rounded it looks much the same.
    """
    size = float(np.linalg.norm(real)) or 1.0
    distances = {
        point: float(np.linalg.norm(values.ravel() - real.ravel())) / size
        for point, values in candidates.items()
        if values.size == real.size and values.dtype.kind == "f"
    }
    least = min(distances.values(), default=np.inf)
    if least > _RECOGNISED:
        return None
    rounded = {point: distance for point, distance in distances.items() if point in own}
    nearest = min(rounded, key=rounded.get, default=None)
    if nearest is not None and rounded[nearest] <= 2 * least + _ROUNDING:
        return nearest
    return min(distances, key=distances.get)


def _run_alone(flatbuffer, operations, held, kernels) -> dict[str, dict[int, np.ndarray]]:
    """Run each operation on what the file holds; return its output by kernel set and place."""
    cutter = OperationCutter(flatbuffer, read_model(flatbuffer))
    outputs: dict[str, dict[int, np.ndarray]] = {name: {} for name in kernels}
    child = start_child()
    try:
        for operation in operations:
            cut = cutter.cut(operation.index)
            read = [i for i in dict.fromkeys(operation.inputs) if i in held]
            for name in kernels if cut is not None else ():
                try:
                    loaded = load_isolated(cut, kernels=name, child=child)
                except RunError:  # this set has no such kernel
                    continue
                # Where the converter squeezed the batch away, examples cannot be told from values.
                if len(loaded.inputs) == len(read) and all(
                    port.shape[1:] == held[i].shape[1:]
                    for port, i in zip(loaded.inputs, read, strict=True)
                ):
                    found = loaded.predict([held[i] for i in read], real=False)
                    outputs[name][operation.index] = found[0]
    finally:
        child.close()
    return outputs


def _difference(tensor: Tensor, integers: np.ndarray, values: np.ndarray) -> Difference:
    scale, zero_point = tensor.quantization.scales[0], tensor.quantization.zero_points[0]
    expected = quantize(values, scale, zero_point, integers.dtype)
    steps = np.abs(expected.astype(np.int32).ravel() - integers.astype(np.int32).ravel())
    return Difference(float((steps > 0).mean()), int(steps.max(initial=0)))


def _real(tensor: Tensor, integers: np.ndarray) -> np.ndarray:
    return dequantize(integers, tensor.quantization.scales[0], tensor.quantization.zero_points[0])
