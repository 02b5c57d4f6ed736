"""Filling a float .tflite file with integers: types, scales, constants, ports and versions.

A planner decides in which form each tensor is stored; this module writes that down. It edits the
float graph in place and adds operations only where a reader wants another form than the one stored,
and where the caller of the file wants another type than the graph computes with.

Source: the quantization specification, https://ai.google.dev/edge/litert/models/quantization_spec
"""

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tfcompress.compat.litert_schema import schema
from tfcompress.tflite import operations
from tfcompress.tflite.editing import Editor, share_buffers
from tfcompress.tflite.flatbuffer import OPERATIONS, TENSOR_TYPES

INTEGER_TYPES = ("INT2", "INT4", "INT8", "UINT8", "INT16", "INT32", "INT64")
PORT_TYPES = ("INT8", "UINT8", "INT16", "FLOAT32")
_PACKED_BITS = {"INT4": 4, "INT2": 2}
_NUMPY_TYPES = {"FLOAT16": np.float16, "FLOAT32": np.float32, "INT4": np.int8, "INT2": np.int8}
_UINT8_OFFSET = 128  # between an INT8 and the UINT8 of the same real value


@dataclasses.dataclass(frozen=True, eq=False)
class Storage:
    """How a tensor is stored: ``real = scale * (integer - zero_point)``.

    Attributes:
        dtype: the schema's type: one of "INT2", "INT4", "INT8", "UINT8", "INT16", "INT32",
            "INT64", "FLOAT16", "FLOAT32".
        scales: float32, one, or one for each index along ``axis``; none for float types.
        zero_points: as many as ``scales``; empty means zeros.
        axis: the dimension that the scales run along.
        values: a constant's integers or floats in the tensor's shape, one to an element (4-bit and
            2-bit values are packed when they are written); None for what is computed or fed.
    """

    dtype: str
    scales: Sequence[float] | np.ndarray = ()
    zero_points: Sequence[int] | np.ndarray = ()
    axis: int = 0
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
    """What a float file is filled with; indices are those of the float file.

    Attributes:
        storages: by (subgraph, tensor), the stored form. Tensors not named stay as they are.
        reads: by (subgraph, operation, input position), the form that the operation reads the
            input in, where it is not the stored one. With ``values``, the operation gets a constant
            of its own. Without, the stored tensor is converted: QUANTIZE to integers, DEQUANTIZE
            to FLOAT32; all who want one form of a tensor share one conversion.
        outputs: by (subgraph, output position), the form that the graph gives, where it is not
            the stored one.
        intermediates: by (subgraph, operation), the inner tensors of an
            UNIDIRECTIONAL_SEQUENCE_LSTM: four gates and the hidden state.
    """

    storages: Mapping[tuple[int, int], Storage]
    reads: Mapping[tuple[int, int, int], Storage] = dataclasses.field(default_factory=dict)
    outputs: Mapping[tuple[int, int], Storage] = dataclasses.field(default_factory=dict)
    intermediates: Mapping[tuple[int, int], Sequence[Storage]] = dataclasses.field(
        default_factory=dict
    )


def fill(
    editor: Editor, filling: Filling, input_dtype: str = "INT8", output_dtype: str = "INT8"
) -> None:
    """Fill a float file with integers, in place.

    Tensors keep their indices, signatures their names and the order of their ports. Versions and
    options of the operations whose tensors change follow ``operations``; an operation that its
    table does not know keeps its own. Equal constants are stored once, and values that nothing uses
    any more are dropped: the same filling always gives the same bytes.

    Args:
        editor: the float file; call its ``packed`` afterwards.
        filling: the form of each tensor.
        input_dtype: the type of inputs that are stored quantized: "INT8", "UINT8", "INT16", or
            "FLOAT32". Other inputs keep their type.
        output_dtype: the same for outputs.

    Raises:
        ValueError: a form does not fit its tensor, or a type cannot be had.

    Example:
    ```python
    from tfcompress.tflite.constants import constant_value

    with open("model_float.tflite", "rb") as file:
        editor = Editor(file.read())
    (graph,) = editor.model.subgraphs
    dense = next(each for each in graph.operations if each.name == "FULLY_CONNECTED")
    weights = constant_value(editor.model, graph.tensors[dense.inputs[1]])
    storages = {(0, dense.inputs[1]): Storage("FLOAT16", values=weights)}
    fill(editor, Filling(storages, reads={(0, dense.index, 1): Storage("FLOAT32")}))
    content = editor.packed()
    ```
    """
    for dtype in (input_dtype, output_dtype):
        if dtype not in PORT_TYPES:
            raise ValueError(
                f"A file takes and gives quantized values as one of {list(PORT_TYPES)}. "
                f"Received: {dtype!r}"
            )
    entries = editor.model.entry_subgraphs()
    graphs = [_Graph(editor, index, filling) for index in range(len(editor.tree.subgraphs or ()))]
    for graph in graphs:
        graph.store()
        graph.convert_reads()
        graph.convert_outputs()
        if graph.index in entries:
            graph.give_ports(input_dtype, output_dtype)
    for graph in graphs:
        graph.set_versions()
        graph.empty_unused_constants()
    share_buffers(editor.tree)


def pack_bits(values: np.ndarray, bits: int) -> np.ndarray:
    """Let values share bytes, the first value in the lowest bits.

    Args:
        values: integers that ``bits`` bits hold, any shape.
        bits: 2 or 4.

    Returns:
        uint8 bytes, shape (ceil(values.size * bits / 8),): what ``unpack_bits`` undoes.

    Example:
    ```python
    pack_bits(np.array([1, -1], np.int8), bits=4)  # [0xF1]
    ```
    """
    each = 8 // bits
    flat = values.reshape(-1).astype(np.int8).view(np.uint8) & (2**bits - 1)
    flat = np.pad(flat, (0, -flat.size % each)).reshape(-1, each)
    return np.bitwise_or.reduce(flat << np.arange(0, 8, bits, dtype=np.uint8), axis=1).astype("u1")


class _Graph:
    """One subgraph while it is filled."""

    def __init__(self, editor: Editor, index: int, filling: Filling):
        self.editor, self.index, self.filling = editor, index, filling
        self.record = editor.tree.subgraphs[index]
        self.read = editor.model.subgraphs[index]
        self.operators = list(self.record.operators or ())
        self.names = {tensor.name for tensor in self.read.tensors}
        self.forms = {t: s for (graph, t), s in filling.storages.items() if graph == index}
        self.converted: dict[tuple, int] = {}
        self.changed = set(self.forms)

    def store(self) -> None:
        """Give the tensors their stored forms."""
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

    def set_form(self, tensor: int, storage: Storage) -> None:
        """Give one tensor its type, its scales and, if it is a constant, its bytes."""
        record = self.record.tensors[tensor]
        _require_fit(record, storage)
        record.type = getattr(schema.TensorType, storage.dtype)
        record.quantization = _quantization(storage)
        record.sparsity = None
        if storage.values is not None:
            record.buffer = self.add_buffer(storage)
        self.changed.add(tensor)

    def add_buffer(self, storage: Storage) -> int:
        """Add a constant's bytes."""
        buffer = schema.BufferT()
        buffer.data = _bytes(storage)
        self.editor.tree.buffers.append(buffer)
        return len(self.editor.tree.buffers) - 1

    def add_tensor(self, like: int, name: str, storage: Storage) -> int:
        """Add a tensor of another's shape."""
        source, record = self.record.tensors[like], schema.TensorT()
        record.name = self.free_name(name)
        record.shape, record.shapeSignature = source.shape, source.shapeSignature
        record.hasRank = source.hasRank
        self.record.tensors.append(record)
        self.set_form(len(self.record.tensors) - 1, storage)
        return len(self.record.tensors) - 1

    def free_name(self, name: str) -> str:
        """Number a name that is taken."""
        numbered = (f"{name}_{number}" for number in itertools.count(2))
        free = next(each for each in itertools.chain([name], numbered) if each not in self.names)
        self.names.add(free)
        return free

    def set_intermediates(self, operator: schema.OperatorT, storages: Sequence[Storage]) -> None:
        """Give a fused LSTM its inner tensors their scales; add the tensors if it has none."""
        present = [] if operator.intermediates is None else [int(i) for i in operator.intermediates]
        if present and len(present) != len(storages):
            raise ValueError(
                f"An operation of subgraph {self.index} has {len(present)} inner tensors. "
                f"Received: storages for {len(storages)}"
            )
        output = _text(self.record.tensors[operator.outputs[0]].name)
        for place, storage in enumerate(storages):
            if present:
                self.set_form(present[place], storage)
                continue
            record = schema.TensorT()
            record.name, record.shape = self.free_name(f"{output}:inner{place}"), [0]
            self.record.tensors.append(record)
            self.set_form(len(self.record.tensors) - 1, storage)
        if not present:
            end = len(self.record.tensors)
            operator.intermediates = list(range(end - len(storages), end))

    def form(self, tensor: int) -> Storage:
        """Tell the stored form of a tensor."""
        dtype = TENSOR_TYPES[self.record.tensors[tensor].type]
        return self.forms.get(tensor) or Storage(dtype)

    def convert_reads(self) -> None:
        """Let operations read the forms that they want."""
        for (graph, operation, position), storage in sorted(
            self.filling.reads.items(), key=lambda item: item[0]
        ):
            if graph != self.index:
                continue
            operator = self.operators[operation]
            inputs = [int(i) for i in operator.inputs]
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
        """Return a constant in another form than the stored one: one for all who want it."""
        key = source, storage.key, _bytes(storage).tobytes()
        if key not in self.converted:
            name = f"{_text(self.record.tensors[source].name)}:{storage.dtype.lower()}"
            self.converted[key] = self.add_tensor(source, name, storage)
        return self.converted[key]

    def conversion(self, source: int, storage: Storage, before: schema.OperatorT | None) -> int:
        """Return a tensor in another form, computed once, before its first reader."""
        if storage.key == self.form(source).key:
            return source
        key = source, storage.key
        if key not in self.converted:
            name = f"{_text(self.record.tensors[source].name)}:{storage.dtype.lower()}"
            target = self.add_tensor(source, name, storage)
            operator = self.converter(source, target, storage)
            operators = self.record.operators
            place = len(operators)
            if before is not None:
                place = next(i for i, other in enumerate(operators) if other is before)
            operators.insert(place, operator)
            self.converted[key] = target
        return self.converted[key]

    def converter(self, source: int, target: int, storage: Storage) -> schema.OperatorT:
        """Make the operation that computes one form from another."""
        name = "DEQUANTIZE" if storage.dtype == "FLOAT32" else "QUANTIZE"
        if storage.dtype not in ("INT8", "UINT8", "INT16", "FLOAT32"):
            raise ValueError(
                f"No operation converts {_text(self.record.tensors[source].name)!r} to "
                f"{storage.dtype}: a constant needs values of its own."
            )
        operator = schema.OperatorT()
        operator.inputs, operator.outputs = [source], [target]
        options = getattr(schema, f"{name.capitalize()}OptionsT")()
        operator.builtinOptionsType = getattr(schema.BuiltinOptions, f"{name.capitalize()}Options")
        operator.builtinOptions = options
        operator.opcodeIndex = self.editor.code(name, 1)
        return operator

    def convert_outputs(self) -> None:
        """Let the graph give the forms that are asked for."""
        for (graph, position), storage in sorted(
            self.filling.outputs.items(), key=lambda item: item[0]
        ):
            if graph == self.index:
                source = int(self.record.outputs[position])
                self.replace_output(position, self.conversion(source, storage, before=None))

    def give_ports(self, input_dtype: str, output_dtype: str) -> None:
        """Let the graph take and give the user's types."""
        for tensor in dict.fromkeys(int(i) for i in self.record.inputs):
            port = self.port_storage(tensor, input_dtype, "input")
            if port is not None:
                self.add_input_port(tensor, port)
        for tensor in dict.fromkeys(int(i) for i in self.record.outputs):
            port = self.port_storage(tensor, output_dtype, "output")
            if port is None:
                continue
            outer = self.conversion(tensor, port, before=None)
            self.swap_names(tensor, outer)
            for position, output in enumerate(self.record.outputs):
                if output == tensor:
                    self.replace_output(position, outer)

    def port_storage(self, tensor: int, dtype: str, what: str) -> Storage | None:
        """Tell the form of a port; None if the tensor itself is the port."""
        record = self.record.tensors[tensor]
        stored = TENSOR_TYPES[record.type]
        quantized = record.quantization is not None and record.quantization.scale is not None
        if not quantized or stored not in ("INT8", "INT16") or stored == dtype:
            return None
        if dtype == "FLOAT32":
            return Storage("FLOAT32")
        if (stored, dtype) != ("INT8", "UINT8"):
            raise ValueError(
                f"The {what} {_text(record.name)!r} is stored as {stored}, so that the file "
                f"{'takes' if what == 'input' else 'gives'} {stored} or FLOAT32"
                f"{', or UINT8' if stored == 'INT8' else ''}. Received: {dtype!r}"
            )
        zero_point = int(record.quantization.zeroPoint[0]) + _UINT8_OFFSET
        return Storage("UINT8", np.asarray(record.quantization.scale), (zero_point,))

    def add_input_port(self, tensor: int, port: Storage) -> None:
        """Put a QUANTIZE between an input of the user's type and the stored tensor."""
        stored = TENSOR_TYPES[self.record.tensors[tensor].type]
        name = f"{_text(self.record.tensors[tensor].name)}:{stored.lower()}"
        outer = self.add_tensor(tensor, name, port)
        self.swap_names(tensor, outer)
        operator = self.converter(outer, tensor, Storage(stored))
        self.record.operators = [operator, *(self.record.operators or ())]
        self.record.inputs = [outer if i == tensor else int(i) for i in self.record.inputs]
        for signature in self.signatures():
            for entry in signature.inputs or ():
                if entry.tensorIndex == tensor:
                    entry.tensorIndex = outer

    def replace_output(self, position: int, tensor: int) -> None:
        """Make another tensor an output, in the graph and in its signatures."""
        old = int(self.record.outputs[position])
        outputs = [int(i) for i in self.record.outputs]
        outputs[position] = tensor
        self.record.outputs = outputs
        for signature in self.signatures():
            for entry in signature.outputs or ():
                if entry.tensorIndex == old:
                    entry.tensorIndex = tensor

    def swap_names(self, one: int, other: int) -> None:
        """Let the port keep the name that the tensor had."""
        first, second = self.record.tensors[one], self.record.tensors[other]
        first.name, second.name = second.name, first.name

    def signatures(self) -> list[schema.SignatureDefT]:
        """List the signatures that enter this graph."""
        return [s for s in self.editor.tree.signatureDefs or () if s.subgraphIndex == self.index]

    def set_versions(self) -> None:
        """Give the operations whose tensors changed their options and their versions."""
        codes = self.editor.tree.operatorCodes
        for operator in self.record.operators or ():
            code = codes[operator.opcodeIndex]
            name = OPERATIONS[max(code.builtinCode, code.deprecatedBuiltinCode)]
            used = [*operator.inputs, *operator.outputs]
            known = operations.support(name) is not None
            if not known or not self.changed.intersection(int(i) for i in used):
                continue
            inputs, outputs = (
                tuple(self.describe(int(i)) for i in indices)
                for indices in (operator.inputs, operator.outputs)
            )
            _set_options(name, operator.builtinOptions, inputs)
            version = operations.version(name, inputs, outputs, operator.builtinOptions)
            operator.opcodeIndex = self.editor.code(name, version)

    def empty_unused_constants(self) -> None:
        """Drop the values of constants that nobody reads any more; tensors keep their places."""
        ends = [self.record.inputs, self.record.outputs]
        for operator in self.record.operators or ():
            ends += [operator.inputs, operator.outputs, operator.intermediates]
        used = {int(tensor) for indices in ends if indices is not None for tensor in indices}
        for index, record in enumerate(self.record.tensors):
            if index not in used:
                record.buffer, record.sparsity = 0, None

    def describe(self, tensor: int) -> operations.Operand | None:
        """Describe what an operation reads or writes, as the table of operations wants it."""
        if tensor < 0:
            return None
        record = self.record.tensors[tensor]
        quantization = record.quantization
        scales = () if quantization is None or quantization.scale is None else quantization.scale
        return operations.Operand(
            TENSOR_TYPES[record.type],
            () if record.shape is None else tuple(int(size) for size in record.shape),
            tuple(float(scale) for scale in scales),
            record.sparsity is not None,
        )


def _set_options(name: str, options: Any, inputs: Sequence[operations.Operand | None]) -> None:
    """Set those of an operation's options that go with the types of its tensors."""
    fields = vars(options) if options is not None else {}
    support = operations.support(name)
    types = [None if operand is None else operand.dtype for operand in inputs]
    data = types[support.data]
    if "asymmetricQuantizeInputs" in fields:
        integers = _PACKED_BITS.keys() | {"INT8"}
        options.asymmetricQuantizeInputs = data == "FLOAT32" and not integers.isdisjoint(types)
    if "quantizedBiasType" in fields:
        narrow = data == "INT16" and "INT32" in types[support.bias : support.bias + 1]
        options.quantizedBiasType = schema.TensorType.INT32 if narrow else 0
    if "potScaleInt16" in fields and data == "INT16":
        options.potScaleInt16 = False


def _require_fit(record: schema.TensorT, storage: Storage) -> None:
    """Check that a form can be a tensor's."""
    name, shape = _text(record.name), [int(size) for size in record.shape]
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
    """Tell the least and the greatest integer of a type."""
    bits = _PACKED_BITS.get(dtype)
    if bits:
        return -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    limits = np.iinfo(dtype.lower())
    return int(limits.min), int(limits.max)


def _bytes(storage: Storage) -> np.ndarray:
    """Lay out a constant's values as the file holds them."""
    values = np.asarray(storage.values)
    if storage.dtype in _PACKED_BITS:
        return pack_bits(values, _PACKED_BITS[storage.dtype])
    stored = values.astype(_NUMPY_TYPES.get(storage.dtype, storage.dtype.lower()))
    return np.frombuffer(stored.tobytes(), np.uint8)


def _quantization(storage: Storage) -> schema.QuantizationParametersT | None:
    """Make the schema's record of scales and zero points."""
    if not storage.quantized:
        return None
    record = schema.QuantizationParametersT()
    record.scale = np.asarray(storage.scales, np.float32)
    zero_points = storage.zero_points if len(storage.zero_points) else np.zeros(len(record.scale))
    record.zeroPoint = np.asarray(zero_points, np.int64)
    record.quantizedDimension = storage.axis if len(record.scale) > 1 else 0
    return record


def _text(name: bytes | str | None) -> str:
    """Read a name that the schema's objects hold as bytes, or as text once it was set."""
    return name.decode("utf-8", errors="replace") if isinstance(name, bytes) else name or ""


FUSED_LSTM = "UNIDIRECTIONAL_SEQUENCE_LSTM"
INPUT_WEIGHTS = (1, 2, 3, 4)
STATE_WEIGHTS = (5, 6, 7, 8)
BIASES = (12, 13, 14, 15)
HIDDEN_STATE, CELL_STATE = 18, 19
# The kernel's hyperbolic tangent takes cell states in these steps.
CELL_STEPS = tuple(2.0**exponent for exponent in range(-15, -8))
_GATE = Storage("INT16", (2.0**-12,), (0,))


def inner_storages(output: Storage) -> tuple[Storage, ...]:
    """Return the forms of an integer LSTM's inner tensors.

    Args:
        output: the form of its output, INT8.

    Returns:
        The four gates and the hidden state, as ``Filling.intermediates`` has them.

    Example:
    ```python
    inner_storages(Storage("INT8", (1 / 128,), (0,)))[4].scales  # (0.0078125,)
    ```
    """
    return *(_GATE,) * 4, output
