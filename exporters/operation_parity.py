"""Which operations of a file depart from the quantization-aware model that it was made of.

A difference of one step in one value moves others further on, so that a count of differences says
little about the operation that shows them. Each operation is therefore compared twice: as it stands
at the end of all that went before, and alone, with both sides computing it on the file's values.
"""

import dataclasses

import numpy as np
import tensorflow as tf

from exporters.running.runtime import KERNELS, RunError, load_isolated, start_child
from tfcompress.quantization import QuantizeAware
from tfcompress.quantization.execution import all_integers, each_alone
from tfcompress.quantization.kernels.grids import Integers
from tfcompress.tflite.editing import OperationCutter
from tfcompress.tflite.flatbuffer import read_model

_INNER_KERNELS = "reference"  # a delegate keeps its inner values to itself


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
        together: the difference with all that went before, under the reference kernels.
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
    deployed = quantized.deployed
    file, numbers = read_model(flatbuffer), deployed.numbers()
    graph = file.subgraphs[0]
    grids = {
        index: numbers.grids[form]
        for index, form in deployed.graph.plan.tensors.items()
        if form in numbers.grids
    }
    with load_isolated(flatbuffer, kernels=_INNER_KERNELS, keep_all=True) as loaded:
        (port,) = loaded.inputs
        inputs = port.to_real(port.to_file(examples))  # what enters the file, for both
        held = dict(zip(grids, loaded.trace(inputs, list(grids))[1], strict=True))
    given = {
        index: Integers(tf.constant(value, tf.float32), grids[index])
        for index, value in held.items()
    }
    together = all_integers(deployed.graph, numbers, [tf.constant(inputs)], "reference")
    expected = {
        kernels: each_alone(deployed.graph, numbers, given, kernels)
        for kernels in ("xnnpack", "reference")
    }
    makers = {index: operation for operation in graph.operations for index in operation.outputs}
    operations = {
        index: makers[index]
        for index, point in deployed.graph.points.items()
        if index in makers and index in held
    }
    alone = _run_alone(flatbuffer, operations.values(), held, kernels)
    return tuple(
        OperationAgreement(
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


def _difference(found: np.ndarray, expected: Integers) -> Difference:
    """Compare a tensor's integers with those that the model computes."""
    steps = np.abs(found.astype(np.float32).ravel() - np.ravel(expected.values))
    return Difference(float((steps > 0).mean()), int(steps.max(initial=0)))
