"""Numerical parity of each operation of a file with the quantization-aware model it was made of.

A difference of one step propagates to later operations, so their differences say little about
them. Each operation is therefore compared twice: after all that precede it, and alone, with both
sides computing it on the file's values.
"""

import dataclasses

import numpy as np
import tensorflow as tf

from exporters.running.runtime import KERNELS, RunError, load_isolated, start_child
from tfcompress.quantization import QuantizeAware
from tfcompress.quantization.deployed_model import IntegerRun
from tfcompress.quantization.kernels.grids import Integers
from tfcompress.tflite.editing import OperationCutter
from tfcompress.tflite.flatbuffer import read_model

_INNER_KERNELS = "reference"  # a delegate does not expose intermediate tensors


@dataclasses.dataclass(frozen=True)
class Difference:
    """The share of values that differ, and the largest difference in steps."""

    share: float
    largest: int


@dataclasses.dataclass(frozen=True)
class OperationParity:
    """Numerical parity of one operation's output."""

    index: int  # the operation's index in the main graph
    operation: str  # its name, such as "CONV_2D"
    tensor: str  # the name of its output
    point: str  # the tensor's place in the Keras model
    # The difference after all preceding operations, under the reference kernels.
    together: Difference
    alone: dict[str, Difference]  # the difference of the operation alone, by kernel set that has it


def compare_operations(
    quantized: QuantizeAware,
    flatbuffer: bytes,
    examples: np.ndarray,
    kernels: tuple[str, ...] = tuple(KERNELS),
) -> tuple[OperationParity, ...]:
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
    deployed = quantized.deployed
    file, numbers = read_model(flatbuffer), deployed.numbers()
    graph = file.subgraphs[0]
    grids = {
        index: numbers.grids[form]
        for index, form in deployed.graph.plan.tensors.items()
        if form in numbers.grids
    }
    with load_isolated(flatbuffer, kernels=_INNER_KERNELS, keep_all=True) as loaded:
        (details,) = loaded.inputs
        inputs = details.to_real(details.to_file(examples))  # what enters the file, for both
        held = dict(zip(grids, loaded.trace(inputs, list(grids))[1], strict=True))
    given = {
        index: Integers(tf.constant(value, tf.float32), grids[index])
        for index, value in held.items()
    }
    together = IntegerRun(deployed.graph, numbers, "reference").all_integers([tf.constant(inputs)])
    expected = {
        kernels: IntegerRun(deployed.graph, numbers, kernels).alone(given)
        for kernels in ("xnnpack", "reference")
    }
    operations = {
        index: graph.makers[index]
        for index, point in deployed.graph.points.items()
        if index in graph.makers and index in held
    }
    alone = _run_alone(flatbuffer, operations.values(), held, kernels)
    return tuple(
        OperationParity(
            operation.index,
            operation.label,
            graph.tensors[index].name,
            str(deployed.graph.points[index]),
            _difference(held[index], together[index]),
            {
                # The built-in kernels round as the reference ones do, but for few halves.
                name: _difference(
                    outputs[operation.index],
                    expected["xnnpack" if name == "xnnpack" else "reference"][index],
                )
                for name, outputs in alone.items()
                if operation.index in outputs
            },
        )
        for index, operation in operations.items()
    )


def _run_alone(flatbuffer, operations, held, kernels) -> dict[str, dict[int, np.ndarray]]:
    """Run each operation alone on the file's values; return its output by kernel set and index."""
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
                # Where the converter removed the batch axis, examples cannot be told from values.
                if len(loaded.inputs) == len(read) and all(
                    details.shape[1:] == held[i].shape[1:]
                    for details, i in zip(loaded.inputs, read, strict=True)
                ):
                    found = loaded.predict([held[i] for i in read], real=False)
                    outputs[name][operation.index] = found[0]
    finally:
        child.close()
    return outputs


def _difference(found: np.ndarray, expected: Integers) -> Difference:
    """Compare a tensor's integers with those that the model computes."""
    steps = np.abs(found.astype(np.float32).ravel() - np.ravel(expected.values))
    return Difference(float((steps > 0).mean()), int(steps.max(initial=0)))
