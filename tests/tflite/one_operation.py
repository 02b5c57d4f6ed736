"""Files of one operation: written in float, filled with integers, run, and compared."""

import dataclasses
import faulthandler
import os
from collections.abc import Callable
from typing import Any, NoReturn

import handmade
import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from tfcompress.tflite import operations
from tfcompress.tflite.editing import Editor
from tfcompress.tflite.filling import Filling, Storage, fill

PLAIN = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
DEFAULT_KERNELS = (OpResolverType.AUTO, PLAIN)
REFERENCE_KERNELS = OpResolverType.BUILTIN_REF
_BITS = {"INT2": 2, "INT4": 4, "INT8": 8, "INT16": 16, "INT32": 32, "INT64": 64}


@dataclasses.dataclass(frozen=True, eq=False)
class Case:
    """An operation, with what it is called on.

    Attributes:
        operation: its name.
        inputs: arrays, None for an absent one. Float ones are fed; those in ``constants`` and all
            of other types are stored.
        options: the schema's object.
        constants: positions of float inputs that are stored.
        outputs: how many outputs it has.
        result: the type of the first.
        steps: by type, how many steps of its output the kernel may be off, where it is more than
            rounding.
    """

    operation: str
    inputs: tuple
    options: Any = None
    constants: tuple[int, ...] = ()
    outputs: int = 1
    result: str = "FLOAT32"
    steps: dict[str, float] = dataclasses.field(default_factory=dict)

    @property
    def real(self) -> tuple[int, ...]:
        """The positions of inputs that are real numbers."""
        present = [i for i, value in enumerate(self.inputs) if value is not None]
        return tuple(i for i in present if self.inputs[i].dtype == np.float32)

    @property
    def fed(self) -> tuple[int, ...]:
        """The positions of inputs that are fed."""
        return tuple(i for i in self.real if i not in self.constants)

    def tensor(self, position: int) -> int:
        """The tensor of an input; those of outputs follow."""
        return sum(value is not None for value in self.inputs[:position])


@dataclasses.dataclass(frozen=True, eq=False)
class Filled:
    """A file of one operation with integers, what it is fed, and what it should give."""

    content: bytes
    fed: list[np.ndarray]
    expected: list[np.ndarray]
    outputs: list[Storage]


def float_file(case: Case) -> bytes:
    """Write the operation as a float file, with the output shapes that its kernel finds."""
    first = _written(case, [()] * case.outputs)
    return _written(case, [value.shape for value in run(first, _fed(case), PLAIN)])


def _fed(case: Case) -> list[np.ndarray]:
    return [case.inputs[position] for position in case.fed]


def _written(case: Case, shapes) -> bytes:
    tensors, places = [], []
    for position, value in enumerate(case.inputs):
        places.append(-1 if value is None else len(tensors))
        if value is not None:
            stored = None if position in case.fed else value
            dtype = str(value.dtype).upper()
            tensors.append(handmade.tensor(f"in{position}", value.shape, dtype, stored))
    outputs = list(range(len(tensors), len(tensors) + case.outputs))
    for number, shape in enumerate(shapes):
        indices = case.operation == "TOPK_V2" and number == 1
        dtype = "INT32" if indices else case.result
        tensors.append(handmade.tensor(f"out{number}", shape, dtype))
    operands = [
        None if value is None else operations.Operand(str(value.dtype).upper(), value.shape)
        for value in case.inputs
    ]
    version = operations.version(
        case.operation, operands, [operations.Operand(case.result)] * case.outputs, case.options
    )
    record = handmade.operation(case.operation, places, outputs, version, options=case.options)
    return handmade.file(handmade.graph(tensors, [record], [places[i] for i in case.fed], outputs))


def run(content: bytes, fed, kernels) -> list[np.ndarray]:
    """Run a file once."""
    interpreter = Interpreter(model_content=content, experimental_op_resolver_type=kernels)
    interpreter.allocate_tensors()
    for detail, value in zip(interpreter.get_input_details(), fed, strict=True):
        interpreter.set_tensor(detail["index"], value)
    interpreter.invoke()
    return [interpreter.get_tensor(d["index"]) for d in interpreter.get_output_details()]


def storage_for(values: list[np.ndarray], dtype: str, symmetric: bool = False) -> Storage:
    """Choose the scale of some values: asymmetric for 8 bits, symmetric for 16."""
    low = min(0.0, *(float(each.min()) for each in values))
    high = max(0.0, *(float(each.max()) for each in values))
    if symmetric or dtype == "INT16":
        largest = 2 ** (_BITS[dtype] - 1) - 1
        return Storage(dtype, (np.float32(max(-low, high) / largest or 1.0),), (0,))
    scale = np.float32((high - low) / 255 or 1.0)
    return Storage(dtype, (scale,), (int(np.clip(np.rint(-128 - low / scale), -128, 127)),))


def quantized(values: np.ndarray, storage: Storage) -> np.ndarray:
    """Round reals to the integers of a storage."""
    bits = _BITS[storage.dtype]
    integers = np.rint(values.astype(np.float64) / _along_axis(values, storage))
    integers += int(storage.zero_points[0])
    integers = np.clip(integers, -(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    return integers.astype(f"int{max(bits, 8)}")


def real(integers: np.ndarray, storage: Storage) -> np.ndarray:
    """Give the reals that integers mean."""
    offsets = integers.astype(np.float64) - int(storage.zero_points[0])
    return (offsets * _along_axis(integers, storage)).astype(np.float32)


def _along_axis(values: np.ndarray, storage: Storage) -> np.ndarray:
    scales = np.asarray(storage.scales, np.float64)
    shape = [-1 if axis == storage.axis else 1 for axis in range(values.ndim)]
    return scales.reshape(shape) if scales.size > 1 else scales.reshape(())


def constant(storage: Storage, values: np.ndarray) -> Storage:
    """Store a constant's values."""
    return dataclasses.replace(storage, values=quantized(values, storage))


def weights_storage(weights: np.ndarray, dtype: str, axis: int | None) -> Storage:
    """Store weights with symmetric scales, one for each index of an axis, or one."""
    largest = 2 ** (_BITS[dtype] - 1) - 1
    others = None if axis is None else tuple(a for a in range(weights.ndim) if a != axis)
    scales = np.atleast_1d(np.abs(weights).max(axis=others) / largest).astype(np.float32)
    return constant(Storage(dtype, scales, np.zeros(scales.size, int), axis or 0), weights)


def filled(
    case: Case,
    dtype: str,
    weights: str = "INT8",
    per_channel: bool = True,
    bias: str | None = None,
    support: operations.Support | None = None,
    coarser: float = 1.0,
) -> Filled:
    """Fill a case's file as the table of operations says.

    Args:
        case: the operation.
        dtype: the type of its activations; "FLOAT32" for the hybrid kernel.
        weights: the type of its kernel.
        per_channel: whether the kernel has a scale per channel.
        bias: the type of its bias; the table's first by default.
        support: what to take for the table's entry.
        coarser: by what to multiply the scales of outputs.
    """
    support = support or operations.support(case.operation)
    forms: dict[int, Storage] = {}
    kernel = support.kernel if support.kernel in case.constants else None
    if kernel is not None and not (support.output == "same" and dtype != "FLOAT32"):
        axis = support.channel_axis if per_channel else None
        forms[kernel] = weights_storage(case.inputs[kernel], weights, axis)
    outputs = []
    if dtype != "FLOAT32":
        results = run(float_file(case), _fed(case), PLAIN)
        results = [value for value in results if value.dtype == np.float32]
        activations = [i for i in case.real if i != support.bias and i not in forms]
        forms |= _activations(case, support, activations, results, dtype)
        outputs = _outputs(support, forms[activations[0]], results, dtype, coarser)
        if support.bias in case.real:
            unit = np.float32(forms[support.data].scales[0]) * forms[kernel].scales
            bias = bias or support.biases.get(dtype, ("INT32",))[0]
            storage = Storage(bias, unit, np.zeros(unit.size, int))
            forms[support.bias] = constant(storage, case.inputs[support.bias])
    rounded = list(case.inputs)
    for position, storage in forms.items():
        rounded[position] = real(quantized(case.inputs[position], storage), storage)
    meant = dataclasses.replace(case, inputs=tuple(rounded))
    expected = run(float_file(meant), _fed(meant), PLAIN)
    storages = {(0, case.tensor(position)): storage for position, storage in forms.items()}
    end = case.tensor(len(case.inputs))
    storages |= {(0, end + number): storage for number, storage in enumerate(outputs)}
    editor = Editor(float_file(case))
    fill(editor, Filling(storages), *(("INT8",) * 2 if dtype == "FLOAT32" else (dtype,) * 2))
    fed = [quantized(case.inputs[i], forms[i]) if i in forms else case.inputs[i] for i in case.fed]
    return Filled(editor.packed(), fed, expected, outputs)


def _activations(case, support, positions, results, dtype) -> dict[int, Storage]:
    """Choose the forms of a case's activations."""
    symmetric = dtype in support.symmetric
    values = {position: case.inputs[position] for position in positions}
    shared = list(values.values())
    if support.output == "same":
        shared += results
    together = support.output == "same" or dtype in support.same_inputs
    forms = {
        position: storage_for(shared if together else [value], dtype, symmetric)
        for position, value in values.items()
    }
    stored = {i: constant(forms[i], values[i]) for i in positions if i in case.constants}
    return forms | stored


def _outputs(support, first: Storage, results, dtype, coarser) -> list[Storage]:
    """Choose the forms of a case's outputs."""
    if support.output == "same":
        outputs = [dataclasses.replace(first, values=None)] * len(results)
    elif support.output == "fixed" and dtype in support.fixed:
        scale, zero_point = support.fixed[dtype]
        outputs = [Storage(dtype, (np.float32(scale),), (zero_point,))] * len(results)
    else:
        outputs = [storage_for([value], dtype) for value in results]
    return [
        dataclasses.replace(each, scales=(np.float32(each.scales[0] * coarser),))
        for each in outputs
    ]


def steps_off(file: Filled, kernels) -> float:
    """Run a filled file; return by how many steps of its outputs it is off.

    For a float output, a step is 1/255 of the largest value; of other outputs, the share that
    differs counts.
    """
    worst = 0.0
    results = run(file.content, file.fed, kernels)
    for number, (result, expected) in enumerate(zip(results, file.expected, strict=True)):
        if expected.dtype != np.float32:
            worst = max(worst, 255 * float((result != expected).mean()))
        elif number < len(file.outputs):
            storage = file.outputs[number]
            largest = 2 ** (_BITS[storage.dtype] - 1)
            ends = real(np.array([-largest, largest - 1]), storage)
            difference = np.abs(real(result, storage) - np.clip(expected, *ends))
            worst = max(worst, float(difference.max() / storage.scales[0]))
        else:
            worst = max(worst, 255 * float(np.abs(result - expected).max() / expected.max()))
    return worst


def in_child(call: Callable[[], float]) -> float | str:
    """Call a function in a process of its own; return its number, or how it ended.

    Kernels that are asked for what they cannot do may end the process, or read beyond a tensor.

    Raises:
        AssertionError: the call fails by itself, not by a kernel.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        _answer(call, writing)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        answer = pipe.read().decode()
    _, status = os.waitpid(child, 0)
    if status:
        return "ended the process"
    kind, _, text = answer.partition(": ")
    assert kind != "failed", text
    return float(text) if kind == "number" else answer


def _answer(call: Callable[[], float], writing: int) -> NoReturn:
    """Call a function, write what came of it to a pipe, and end the process."""
    faulthandler.disable()
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    answer = "failed: "
    try:
        answer = f"number: {call()}"
    except (RuntimeError, ValueError) as error:
        answer = f"refused: {error}"
    except BaseException as error:
        answer = f"failed: {type(error).__name__}: {error}"
    finally:
        os.write(writing, answer.encode()[:4000])
        os._exit(0)
