"""Filling a float .tflite file with integers: types, scales, constants and versions.

A planner decides in which form each tensor is stored. This module edits the float graph in place,
and adds operations only where an operation reads another form than the stored one, or where an
input or output has another type than the graph computes with.

Source: the quantization specification, https://ai.google.dev/edge/litert/models/quantization_spec
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tfcompress.compat.litert_schema import schema
from tfcompress.tflite import operations
from tfcompress.tflite.constants import PACKED_BITS, pack_bits
from tfcompress.tflite.editing import (
    Editor,
    free_name,
    indices,
    record,
    share_buffers,
    text,
)
from tfcompress.tflite.flatbuffer import OPERATIONS, TENSOR_TYPES
from tfcompress.tflite.model import Operation, Subgraph

INTEGER_TYPES = ("INT2", "INT4", "INT8", "UINT8", "INT16", "INT32", "INT64")
IO_TYPES = ("INT8", "UINT8", "INT16", "FLOAT32")
_UINT8_OFFSET = 128  # between an INT8 and the UINT8 of the same real value
# What QUANTIZE reads. Of other integers, CAST makes INT32.
_QUANTIZED_FROM = ("INT8", "UINT8", "INT16", "INT32")


@dataclasses.dataclass(frozen=True, eq=False)
class Storage:
    """How a tensor is stored: ``real = scale * (integer - zero_point)``."""

    # The schema's type: one of "INT2", "INT4", "INT8", "UINT8", "INT16", "INT32", "INT64",
    # "FLOAT16", "FLOAT32".
    dtype: str
    # Float32, one, or one for each index along ``axis``; none for float types.
    scales: Sequence[float] | np.ndarray = ()
    zero_points: Sequence[int] | np.ndarray = ()  # as many as ``scales``; empty means zeros
    axis: int = 0  # the dimension that the scales run along
    # A constant's integers or floats in the tensor's shape, one to an element (4-bit and 2-bit
    # values are packed when they are written); None for what is computed or fed.
    values: np.ndarray | None = None

    @property
    def quantized(self) -> bool:
        """Whether the integers mean reals."""
        return len(self.scales) > 0

    @property
    def key(self) -> tuple:
        """What two equal storages have in common, the values left out."""
        scales = np.asarray(self.scales, np.float32)
        zero_points = self.zero_points if len(self.zero_points) else np.zeros(scales.size)
        axis = self.axis if scales.size > 1 else 0
        return self.dtype, scales.tobytes(), np.asarray(zero_points, np.int64).tobytes(), axis


@dataclasses.dataclass(frozen=True)
class Filling:
    """What a float file is filled with; indices are those of the float file."""

    # By (subgraph, tensor), the stored form. Tensors not named stay as they are.
    storages: Mapping[tuple[int, int], Storage]
    # By (subgraph, operation, input position), the form that the operation reads the input in,
    # where it is not the stored one. With ``values``, the operation gets a constant of its own.
    # Without, the stored tensor is converted: QUANTIZE to integers, DEQUANTIZE to FLOAT32; all
    # who want one form of a tensor share one conversion.
    reads: Mapping[tuple[int, int, int], Storage] = dataclasses.field(default_factory=dict)
    # By (subgraph, operation), the inner tensors of an UNIDIRECTIONAL_SEQUENCE_LSTM: four gates
    # and the hidden state.
    intermediates: Mapping[tuple[int, int], Sequence[Storage]] = dataclasses.field(
        default_factory=dict
    )


def fill(
    editor: Editor, filling: Filling, input_dtype: str = "INT8", output_dtype: str = "INT8"
) -> None:
    """Fill a float file with integers, in place.

    Where a float file casts integers to real numbers, an integer file has QUANTIZE, from a scale of
    1. Inputs and outputs that are integers in the float file keep their types.

    Tensors keep their indices, signatures their names and the order of inputs and outputs. Versions
    and options of the operations whose tensors change follow ``operations``; an operation that its
    table does not know keeps its own. Equal constants are stored once, and unused values are
    dropped: the same filling always gives the same bytes.
    """
    for dtype in (input_dtype, output_dtype):
        if dtype not in IO_TYPES:
            raise ValueError(
                f"The type of quantized inputs and outputs must be one of {list(IO_TYPES)}. "
                f"Received: {dtype!r}"
            )
    entries = editor.model.entry_subgraphs()
    graphs = [_Graph(editor, index, filling) for index in range(len(editor.tree.subgraphs or ()))]
    for graph in graphs:
        graph.store()
        graph.quantize_casts()
        graph.convert_reads()
        if graph.index in entries:
            graph.convert_inputs_and_outputs(input_dtype, output_dtype)
    for graph in graphs:
        graph.set_versions()
        graph.empty_unused_constants()
    share_buffers(editor.tree)


def casts_integers(operation: Operation, graph: Subgraph) -> bool:
    """Tell whether an operation of a float file makes real numbers of integers that it computes."""
    if operation.name != "CAST":
        return False
    source, made = graph.tensors[operation.inputs[0]], graph.tensors[operation.outputs[0]]
    whole = source.dtype.removeprefix("U").startswith("INT") and not source.constant
    return whole and made.dtype == "FLOAT32"


def exact_zero_point(whole: str, dtype: str) -> int | None:
    """Return the zero point with which a type holds any integer of another; None if it cannot.

    Example:
    >>> exact_zero_point("UINT8", "INT8")
    -128
    """
    low, high = _bounds(whole)
    lowest, highest = _bounds(dtype)
    zero_point = 0 if lowest <= low and high <= highest else lowest - low
    return zero_point if high + zero_point <= highest else None


class _Graph:
    """One subgraph while it is filled."""

    def __init__(self, editor: Editor, index: int, filling: Filling):
        self.editor, self.index, self.filling = editor, index, filling
        self.graph = editor.tree.subgraphs[index]
        self.read = editor.model.subgraphs[index]
        self.operators = list(self.graph.operators or ())
        self.names = {tensor.name for tensor in self.read.tensors}
        self.forms = {t: s for (graph, t), s in filling.storages.items() if graph == index}
        self.converted: dict[tuple, int] = {}
        self.changed = set(self.forms)
        signatures = editor.tree.signatureDefs or ()
        self.signatures = [entry for entry in signatures if entry.subgraphIndex == index]

    def name(self, tensor: int) -> str:
        return text(self.graph.tensors[tensor].name)

    def store(self) -> None:
        """Store the tensors in their forms."""
        for tensor, storage in sorted(self.forms.items()):
            if not 0 <= tensor < len(self.read.tensors):
                raise ValueError(
                    f"A storage is for tensor {tensor} of subgraph {self.index}, which has "
                    f"{len(self.read.tensors)} tensors."
                )
            read = self.read.tensors[tensor]
            if read.constant and storage.values is None:
                raise ValueError(
                    f"The constant {read.name!r} needs values to be stored as {storage.dtype}. "
                    "Received: a storage without values"
                )
            self.set_form(tensor, storage)
        for (graph, operation), storages in sorted(self.filling.intermediates.items()):
            if graph == self.index:
                self.set_intermediates(self.operators[operation], storages)

    def quantize_casts(self) -> None:
        """Let QUANTIZE make the integers of real numbers that are cast from others."""
        for operation, operator in zip(self.read.operations, self.operators, strict=True):
            if casts_integers(operation, self.read) and operation.outputs[0] in self.forms:
                source = self.whole_numbers(operation.inputs[0], before=operator)
                quantizes = self.converter(source, operation.outputs[0], "INT8")
                vars(operator).update(vars(quantizes))

    def whole_numbers(self, source: int, before: schema.OperatorT) -> int:
        """Give integers a scale of 1, and a type that QUANTIZE reads; return their tensor."""
        dtype = self.read.tensors[source].dtype
        if dtype in _QUANTIZED_FROM:
            self.set_form(source, Storage(dtype, (1.0,)))
            return source
        target = self.add_converted(source, "INT32", Storage("INT32", (1.0,)))
        given, made = (getattr(schema.TensorType, name) for name in (dtype, "INT32"))
        options = record("CastOptions", inDataType=given, outDataType=made)
        cast = self.editor.operator("CAST", [source], target, options)
        self.graph.operators.insert(self.graph.operators.index(before), cast)
        return target

    def set_form(self, tensor: int, storage: Storage) -> None:
        """Give one tensor its type, its scales and, if it is a constant, its bytes."""
        stored = self.graph.tensors[tensor]
        _require_fit(stored, storage)
        stored.type = getattr(schema.TensorType, storage.dtype)
        stored.quantization = _quantization(storage)
        stored.sparsity = None
        if storage.values is not None:
            stored.buffer = self.editor.add_buffer(_bytes(storage))
        self.changed.add(tensor)

    def add_tensor(self, name: str, storage: Storage, **fields: Any) -> int:
        """Add a tensor."""
        self.graph.tensors.append(record("Tensor", name=free_name(name, self.names), **fields))
        self.set_form(len(self.graph.tensors) - 1, storage)
        return len(self.graph.tensors) - 1

    def add_converted(self, source: int, dtype: str, storage: Storage) -> int:
        """Add a tensor with the shape of another, named after it and a type."""
        shape = self.graph.tensors[source]
        return self.add_tensor(
            f"{self.name(source)}:{dtype.lower()}",
            storage,
            shape=shape.shape,
            shapeSignature=shape.shapeSignature,
            hasRank=shape.hasRank,
        )

    def set_intermediates(self, operator: schema.OperatorT, storages: Sequence[Storage]) -> None:
        """Set the forms of a fused LSTM's intermediates; add the tensors if it has none."""
        present = indices(operator.intermediates)
        if not present:
            output = self.name(operator.outputs[0])
            operator.intermediates = [
                self.add_tensor(f"{output}:inner{place}", storage, shape=[0])
                for place, storage in enumerate(storages)
            ]
            return
        if len(present) != len(storages):
            raise ValueError(
                f"An operation of subgraph {self.index} has {len(present)} intermediate tensors. "
                f"Received: storages for {len(storages)}"
            )
        for tensor, storage in zip(present, storages, strict=True):
            self.set_form(tensor, storage)

    def convert_reads(self) -> None:
        """Give operations their inputs in the forms that they read."""
        for (graph, operation, position), storage in sorted(
            self.filling.reads.items(), key=lambda item: item[0]
        ):
            if graph != self.index:
                continue
            operator = self.operators[operation]
            inputs = indices(operator.inputs)
            source = inputs[position] if position < len(inputs) else -1
            if source < 0:
                raise ValueError(
                    f"Operation {operation} of subgraph {self.index} has no input {position} to "
                    f"read in another form. Received: reads[{(graph, operation, position)}]"
                )
            if storage.values is not None:
                inputs[position] = self.own_constant(source, storage)
            else:
                inputs[position] = self.conversion(source, storage, before=operator)
            operator.inputs = inputs

    def own_constant(self, source: int, storage: Storage) -> int:
        """Return a constant in another form, shared by all operations that read it."""
        key = source, storage.key, _bytes(storage).tobytes()
        if key not in self.converted:
            self.converted[key] = self.add_converted(source, storage.dtype, storage)
        return self.converted[key]

    def conversion(self, source: int, storage: Storage, before: schema.OperatorT | None) -> int:
        """Return a tensor in another form, computed once, before its first reader."""
        stored = TENSOR_TYPES[self.graph.tensors[source].type]
        if storage.key == (self.forms.get(source) or Storage(stored)).key:
            return source
        key = source, storage.key
        if key not in self.converted:
            target = self.add_converted(source, storage.dtype, storage)
            operators = self.graph.operators
            place = len(operators)
            if before is not None:
                place = next(i for i, other in enumerate(operators) if other is before)
            operators.insert(place, self.converter(source, target, storage.dtype))
            self.converted[key] = target
        return self.converted[key]

    def converter(self, source: int, target: int, dtype: str) -> schema.OperatorT:
        """Return the operation that converts a tensor to a type."""
        name = "DEQUANTIZE" if dtype == "FLOAT32" else "QUANTIZE"
        if dtype not in IO_TYPES:
            raise ValueError(
                f"No operation converts {self.name(source)!r} to {dtype}: a constant needs values "
                "of its own."
            )
        options = record(f"{name.capitalize()}Options")
        return self.editor.operator(name, [source], target, options)

    def convert_inputs_and_outputs(self, input_dtype: str, output_dtype: str) -> None:
        """Convert the graph's inputs and outputs to the user's types."""
        for tensor in dict.fromkeys(indices(self.graph.inputs)):
            storage = self.io_storage(tensor, input_dtype, "input")
            if storage is not None:
                self.convert_input(tensor, storage)
        for tensor in dict.fromkeys(indices(self.graph.outputs)):
            storage = self.io_storage(tensor, output_dtype, "output")
            if storage is None:
                continue
            outer = self.conversion(tensor, storage, before=None)
            self.swap_names(tensor, outer)
            self.graph.outputs = [outer if i == tensor else i for i in indices(self.graph.outputs)]
            for signature in self.signatures:
                _replace(signature.outputs, tensor, outer)

    def io_storage(self, tensor: int, dtype: str, side: str) -> Storage | None:
        """Return the form of an input or output; None if it is the stored one."""
        if self.read.tensors[tensor].dtype != "FLOAT32":
            return None
        quantization = self.graph.tensors[tensor].quantization
        stored = TENSOR_TYPES[self.graph.tensors[tensor].type]
        quantized = quantization is not None and quantization.scale is not None
        if not quantized or stored not in ("INT8", "INT16") or stored == dtype:
            return None
        if dtype == "FLOAT32":
            return Storage("FLOAT32")
        if (stored, dtype) != ("INT8", "UINT8"):
            raise ValueError(
                f"The {side} {self.name(tensor)!r} is stored as {stored}, so its type in the file "
                f"can be {stored} or FLOAT32{', or UINT8' if stored == 'INT8' else ''}. "
                f"Received: {dtype!r}"
            )
        zero_point = int(quantization.zeroPoint[0]) + _UINT8_OFFSET
        return Storage("UINT8", np.asarray(quantization.scale), (zero_point,))

    def convert_input(self, tensor: int, storage: Storage) -> None:
        """Insert a QUANTIZE between an input of the user's type and the stored tensor."""
        stored = TENSOR_TYPES[self.graph.tensors[tensor].type]
        outer = self.add_converted(tensor, stored, storage)
        self.swap_names(tensor, outer)
        self.graph.operators = [
            self.converter(outer, tensor, stored),
            *(self.graph.operators or ()),
        ]
        self.graph.inputs = [outer if i == tensor else i for i in indices(self.graph.inputs)]
        for signature in self.signatures:
            _replace(signature.inputs, tensor, outer)

    def swap_names(self, one: int, other: int) -> None:
        """Give an input or output the name that the stored tensor had."""
        first, second = self.graph.tensors[one], self.graph.tensors[other]
        first.name, second.name = second.name, first.name

    def set_versions(self) -> None:
        """Set the options and versions of the operations whose tensors changed."""
        codes = self.editor.tree.operatorCodes
        for operator in self.graph.operators or ():
            code = codes[operator.opcodeIndex]
            name = OPERATIONS[max(code.builtinCode, code.deprecatedBuiltinCode)]
            sides = indices(operator.inputs), indices(operator.outputs)
            support = operations.support(name)
            if support is None or not self.changed.intersection(sides[0] + sides[1]):
                continue
            inputs, outputs = (tuple(map(self.operand, side)) for side in sides)
            _set_options(support, operator.builtinOptions, inputs)
            version = operations.version(name, inputs, outputs, operator.builtinOptions)
            operator.opcodeIndex = self.editor.code(name, version)

    def empty_unused_constants(self) -> None:
        """Drop the values of unused constants; tensors keep their indices."""
        used = {*indices(self.graph.inputs), *indices(self.graph.outputs)}
        for operator in self.graph.operators or ():
            for side in (operator.inputs, operator.outputs, operator.intermediates):
                used.update(indices(side))
        for index, tensor in enumerate(self.graph.tensors):
            if index not in used:
                tensor.buffer, tensor.sparsity = 0, None

    def operand(self, tensor: int) -> operations.Operand | None:
        """Describe a tensor for the table of operations."""
        if tensor < 0:
            return None
        stored = self.graph.tensors[tensor]
        scales = () if stored.quantization is None else stored.quantization.scale
        return operations.Operand(
            TENSOR_TYPES[stored.type],
            tuple(indices(stored.shape)),
            () if scales is None else tuple(float(scale) for scale in scales),
            stored.sparsity is not None,
        )


def _replace(entries: Sequence[schema.TensorMapT] | None, old: int, new: int) -> None:
    """Replace a tensor in a side of a signature."""
    for entry in entries or ():
        if entry.tensorIndex == old:
            entry.tensorIndex = new


def _set_options(
    support: operations.Support, options: Any, inputs: Sequence[operations.Operand | None]
) -> None:
    """Set those of an operation's options that go with the types of its tensors."""
    fields = vars(options) if options is not None else {}
    types = [None if operand is None else operand.dtype for operand in inputs]
    data = types[support.data]
    if "asymmetricQuantizeInputs" in fields:
        integers = PACKED_BITS.keys() | {"INT8"}
        options.asymmetricQuantizeInputs = data == "FLOAT32" and not integers.isdisjoint(types)
    if "quantizedBiasType" in fields and support.bias is not None:
        narrow = data == "INT16" and "INT32" in types[support.bias : support.bias + 1]
        options.quantizedBiasType = schema.TensorType.INT32 if narrow else 0
    if "potScaleInt16" in fields and data == "INT16":
        options.potScaleInt16 = False


def _require_fit(tensor: schema.TensorT, storage: Storage) -> None:
    """Check that a form fits a tensor."""
    name, shape = text(tensor.name), indices(tensor.shape)
    if storage.dtype not in (*INTEGER_TYPES, "FLOAT16", "FLOAT32"):
        raise ValueError(f"{name!r} cannot be stored as {storage.dtype!r}.")
    count = len(storage.scales)
    if count > 1 and not (storage.axis < len(shape) and shape[storage.axis] == count):
        raise ValueError(
            f"{name!r} of shape {shape} needs one scale, or one for each index of dimension "
            f"{storage.axis}. Received: {count}"
        )
    if len(storage.zero_points) not in (0, count):
        raise ValueError(
            f"{name!r} has {count} scales. Received: {len(storage.zero_points)} zero points"
        )
    if count and storage.dtype in ("FLOAT16", "FLOAT32"):
        raise ValueError(f"{name!r} is stored as {storage.dtype}, which has no scales.")
    scales = np.asarray(storage.scales, np.float32)
    if not (np.isfinite(scales).all() and (scales > 0).all()):
        raise ValueError(f"{name!r} needs scales above 0. Received: {scales}")
    if storage.values is None:
        return
    values = np.asarray(storage.values)
    if list(values.shape) != shape:
        raise ValueError(f"{name!r} has the shape {shape}. Received: values of {values.shape}")
    if storage.dtype in INTEGER_TYPES and values.size:
        low, high = _bounds(storage.dtype)
        if values.dtype.kind not in "iu" or values.min() < low or values.max() > high:
            raise ValueError(
                f"{name!r} is stored as {storage.dtype}: integers from {low} to {high}. Received: "
                f"{values.dtype} values from {values.min()} to {values.max()}"
            )


def _bounds(dtype: str) -> tuple[int, int]:
    """Return the least and the greatest integer of a type."""
    bits = PACKED_BITS.get(dtype)
    if bits:
        return -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    limits = np.iinfo(dtype.lower())
    return int(limits.min), int(limits.max)


def _bytes(storage: Storage) -> np.ndarray:
    """Lay out a constant's values as the file holds them."""
    values = np.asarray(storage.values)
    if storage.dtype in PACKED_BITS:
        return pack_bits(values, PACKED_BITS[storage.dtype])
    return np.frombuffer(values.astype(storage.dtype.lower()).tobytes(), np.uint8)


def _quantization(storage: Storage) -> schema.QuantizationParametersT | None:
    """Return the schema's object of scales and zero points."""
    if not storage.quantized:
        return None
    scales = np.asarray(storage.scales, np.float32)
    zero_points = storage.zero_points if len(storage.zero_points) else np.zeros(len(scales))
    return record(
        "QuantizationParameters",
        scale=scales,
        zeroPoint=np.asarray(zero_points, np.int64),
        quantizedDimension=storage.axis if len(scales) > 1 else 0,
    )


# UNIDIRECTIONAL_SEQUENCE_LSTM multiplies 8-bit inputs and states by 8-bit weights and computes the
# gates in 16 bits ("8x8_16"). Gates come in the order input, forget, cell, output. Weights are
# symmetric with one scale each; a bias has the scale of the input times that of the input's
# weights; the hidden state has the scale of the output; that of the cell state is a power of two,
# its type INT16. Source: `PopulateQuantizedLstmParams8x8_16` and
# `PopulatePrecomputedZPTimesWeightsWithBias` in
# tensorflow/lite/kernels/unidirectional_sequence_lstm.cc
FUSED_LSTM = "UNIDIRECTIONAL_SEQUENCE_LSTM"
INPUT_WEIGHTS = (1, 2, 3, 4)
STATE_WEIGHTS = (5, 6, 7, 8)
BIASES = (12, 13, 14, 15)
HIDDEN_STATE, CELL_STATE = 18, 19
# The kernel's hyperbolic tangent takes cell states in these steps.
CELL_STEPS = tuple(2.0**exponent for exponent in range(-15, -8))
_GATE = Storage("INT16", (2.0**-12,), (0,))


def inner_storages(output: Storage) -> tuple[Storage, ...]:
    """Return the forms of an integer LSTM's inner tensors."""
    return *(_GATE,) * 4, output
