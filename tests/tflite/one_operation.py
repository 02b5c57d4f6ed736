"""Files of one operation: written in float, filled with integers, run, and compared."""

import dataclasses
import functools
from typing import Any

import handmade
import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from tfcompress.tflite import operations
from tfcompress.tflite.editing import Editor
from tfcompress.tflite.filling import Filling, Storage, fill

PLAIN = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
KERNELS = (OpResolverType.AUTO, PLAIN, OpResolverType.BUILTIN_REF)
STEPS = {"INT8": 255, "INT16": 65534}
_LOWEST = {"INT8": -128, "INT16": -32767}


@dataclasses.dataclass(frozen=True, eq=False)
class Case:
    """An operation, with what it is called on.

    Attributes:
        operation: its name.
        inputs: arrays; float ones are fed, all others, and those in ``constants``, are stored.
        options: the schema's object.
        constants: positions of float inputs that are stored.
        outputs: how many outputs it has.
        result: the type of its outputs.
        steps: by how many steps of its output a kernel may be off.
    """

    operation: str
    inputs: tuple
    options: Any = None
    constants: tuple[int, ...] = ()
    outputs: int = 1
    result: str = "FLOAT32"
    steps: dict[str, float] = dataclasses.field(default_factory=dict)

    @property
    def fed(self) -> tuple[int, ...]:
        """The positions of inputs that are fed."""
        return tuple(i for i in self.real if i not in self.constants)

    @property
    def real(self) -> tuple[int, ...]:
        """The positions of inputs that are real numbers."""
        return tuple(
            i for i, v in enumerate(self.inputs) if v is not None and v.dtype == np.float32
        )


def float_file(case: Case, inputs=None) -> bytes:
    """Write the operation as a float file, with the shapes that its kernel finds."""
    inputs = case.inputs if inputs is None else inputs
    first = _written(case, inputs, [()] * case.outputs)
    shapes = [value.shape for value in run(first, [inputs[i] for i in case.fed], PLAIN)]
    return _written(case, inputs, shapes)


def _written(case: Case, inputs, shapes) -> bytes:
    tensors, places = [], []
    for position, value in enumerate(inputs):
        if value is None:
            places.append(-1)
            continue
        stored = None if position in case.fed else value
        dtype = str(value.dtype).upper()
        tensors.append(handmade.tensor(f"in{position}", value.shape, dtype, stored))
        places.append(len(tensors) - 1)
    outputs = list(range(len(tensors), len(tensors) + case.outputs))
    for number, shape in enumerate(shapes):
        result = case.result if number == 0 or case.operation != "TOPK_V2" else "INT32"
        tensors.append(handmade.tensor(f"out{number}", shape, result))
    numeric = [operations.Operand(str(v.dtype).upper(), v.shape) for v in inputs if v is not None]
    version = operations.version(
        case.operation, numeric, [operations.Operand(case.result)] * case.outputs, case.options
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


def storage_for(low: float, high: float, dtype: str) -> Storage:
    """Choose the scale of a range: asymmetric for 8 bits, symmetric for 16."""
    low, high = min(low, 0.0), max(high, 0.0)
    if dtype == "INT16":
        return Storage(dtype, (np.float32(max(-low, high, 1e-6) / 32767),), (0,))
    scale = np.float32(max(high - low, 1e-6) / 255)
    return Storage(dtype, (scale,), (int(np.clip(np.rint(-128 - low / scale), -128, 127)),))


def quantized(values: np.ndarray, storage: Storage) -> np.ndarray:
    """Round reals to the integers of a storage."""
    shape = [-1 if axis == storage.axis else 1 for axis in range(values.ndim)]
    scales = np.asarray(storage.scales, np.float32)
    scales = scales.reshape(shape) if scales.size > 1 else scales.reshape(())
    integers = np.rint(values.astype(np.float64) / scales) + np.asarray(storage.zero_points[0])
    bits = {"INT2": 2, "INT4": 4, "INT8": 8, "INT16": 16, "INT32": 32, "INT64": 64}[storage.dtype]
    integers = np.clip(integers, -(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    return integers.astype({2: "int8", 4: "int8"}.get(bits, f"int{bits}"))


def real(integers: np.ndarray, storage: Storage) -> np.ndarray:
    """Give the reals that integers mean."""
    shape = [-1 if axis == storage.axis else 1 for axis in range(integers.ndim)]
    scales = np.asarray(storage.scales, np.float32)
    scales = scales.reshape(shape) if scales.size > 1 else scales.reshape(())
    offsets = integers.astype(np.float64) - int(storage.zero_points[0])
    return (offsets * scales).astype(np.float32)


def with_values(storage: Storage, values: np.ndarray) -> Storage:
    """Make a constant of a storage."""
    return dataclasses.replace(storage, values=quantized(values, storage))


def weights_storage(weights: np.ndarray, dtype: str, axis: int | None) -> Storage:
    """Choose symmetric scales of weights, one to each index of an axis, or one."""
    largest = {"INT8": 127, "INT4": 7, "INT2": 1}[dtype]
    others = tuple(a for a in range(weights.ndim) if a != axis)
    scales = (np.abs(weights).max(axis=others if axis is not None else None) / largest).astype("f4")
    scales = np.atleast_1d(scales)
    return with_values(Storage(dtype, scales, np.zeros(scales.size, int), axis or 0), weights)


@dataclasses.dataclass(frozen=True, eq=False)
class Filled:
    """A file of one operation with integers, and what it should give."""

    content: bytes
    fed: list[np.ndarray]
    expected: list[np.ndarray]
    outputs: list[Storage]


def filled(case: Case, dtype: str, weights="INT8", per_channel=True, bias="INT32") -> Filled:
    """Fill a case's float file for activations of a type ("FLOAT32" for the hybrid kernel)."""
    support = operations.support(case.operation)
    if dtype == "FLOAT32":
        return _hybrid(case, support, weights, per_channel)
    content = float_file(case)
    results = run(content, [case.inputs[i] for i in case.fed], PLAIN)
    storages, rounded = {}, list(case.inputs)
    activations = [i for i in case.real if i not in (support.bias,)]
    if support.kernel in case.constants:
        axis = support.channel_axis if per_channel else None
        storages[support.kernel] = weights_storage(case.inputs[support.kernel], weights, axis)
        activations.remove(support.kernel)
    own = [storage_for(case.inputs[i].min(), case.inputs[i].max(), dtype) for i in activations]
    given = [storage_for(v.min(), v.max(), dtype) for v in results if v.dtype == np.float32]
    if support.output == "same":
        values = [case.inputs[i] for i in activations]
        values += [v for v in results if v.dtype == np.float32]
        low, high = min(v.min() for v in values), max(v.max() for v in values)
        own, given = [storage_for(low, high, dtype)] * len(own), [
            storage_for(low, high, dtype)
        ] * len(given)
    if support.output == "fixed" and dtype in support.fixed:
        scale, zero_point = support.fixed[dtype]
        given = [Storage(dtype, (np.float32(scale),), (zero_point,))] * len(given)
    for position, storage in zip(activations, own, strict=True):
        constant = position in case.constants
        values = case.inputs[position]
        storages[position] = with_values(storage, values) if constant else storage
        rounded[position] = real(quantized(values, storage), storage)
    if support.kernel in storages:
        kernel = storages[support.kernel]
        if kernel.values is not None:
            rounded[support.kernel] = real(kernel.values, kernel)
    if support.bias in case.real:
        data = next(i for i in activations)
        unit = np.float32(storages[data].scales[0]) * np.asarray(kernel.scales, np.float32)
        storage = Storage(bias, unit, np.zeros(unit.size, int))
        values = case.inputs[support.bias]
        storages[support.bias] = with_values(storage, values)
        rounded[support.bias] = real(storages[support.bias].values, storage)
    expected = run(float_file(case, rounded), [rounded[i] for i in case.fed], PLAIN)
    places = _places(case)
    tensors = {(0, places[position]): storage for position, storage in storages.items()}
    first_output = sum(value is not None for value in case.inputs)
    for number, storage in enumerate(given):
        tensors[0, first_output + number] = storage
    editor = Editor(content)
    fill(editor, Filling(tensors), dtype, dtype)
    fed = [quantized(case.inputs[i], storages[i]) for i in case.fed]
    return Filled(editor.packed(), fed, expected, given)


def _hybrid(case: Case, support, weights: str, per_channel: bool) -> Filled:
    axis = support.channel_axis if per_channel else None
    kernel = weights_storage(case.inputs[support.kernel], weights, axis)
    rounded = list(case.inputs)
    rounded[support.kernel] = real(kernel.values, kernel)
    fed = [case.inputs[i] for i in case.fed]
    expected = run(float_file(case, rounded), fed, PLAIN)
    editor = Editor(float_file(case))
    fill(editor, Filling({(0, _places(case)[support.kernel]): kernel}))
    return Filled(editor.packed(), fed, expected, [])


@functools.cache
def _places(case: Case) -> dict[int, int]:
    """Map positions of inputs to tensors of the file."""
    present = [position for position, value in enumerate(case.inputs) if value is not None]
    return {position: place for place, position in enumerate(present)}


def steps_off(filled_file: Filled, kernels) -> float:
    """Run a filled file; return by how many steps of its output it is off."""
    results = run(filled_file.content, filled_file.fed, kernels)
    worst = 0.0
    for number, (result, expected) in enumerate(zip(results, filled_file.expected, strict=True)):
        if expected.dtype != np.float32:
            return float((result != expected).mean())
        if number < len(filled_file.outputs):
            storage = filled_file.outputs[number]
            low, high = (np.float32(storage.scales[0]) * (np.array(ends) - storage.zero_points[0])
                         for ends in zip((-128, 127) if storage.dtype == "INT8" else (-32768, 32767)))
            expected = np.clip(expected, low, high)
            difference = np.abs(real(result, storage) - expected) / np.float32(storage.scales[0])
        else:
            difference = np.abs(result - expected) / max(np.abs(expected).max(), 1e-9) * 255
        worst = max(worst, float(difference.max()))
    return worst
