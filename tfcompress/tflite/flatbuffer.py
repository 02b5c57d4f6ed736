"""Reading a .tflite file as plain frozen data, without an interpreter.

The schema that ai-edge-litert carries names the fields; this module bounds them. A file is data
from anywhere: every length is charged against the size of the file, every index is checked against
the table that it points into, and whatever is wrong ends in one exception, ``FlatbufferError``.

Source: https://ai.google.dev/edge/litert/conversion/tensorflow/schema (schema.fbs).
"""

import os
import pathlib
import re
import struct
from typing import Any

import numpy as np

from tfcompress.compat.litert_schema import schema
from tfcompress.tflite.model import (
    FlatbufferError,
    Operation,
    Quantization,
    Signature,
    SparseDimension,
    Sparsity,
    Subgraph,
    Tensor,
    TFLiteModel,
)

IDENTIFIER = b"TFL3"

# What the accessors of the schema raise when they follow an offset to nowhere.
DAMAGE = (struct.error, IndexError, TypeError, ValueError, OverflowError, MemoryError)

# A shared vector may be read more than once, a bomb of vectors that point at each other may not.
_BYTES_READ_PER_BYTE = 4
_BYTES_READ_ALWAYS = 1 << 16

_ARCHIVES = (b"PK\3\4", b"\x89HDF")  # of Keras: zip, HDF5


def read_content(source: bytes | str | os.PathLike) -> tuple[bytes, str | None]:
    """Return the bytes of a file and its path; None as the path of bytes."""
    if isinstance(source, bytes | bytearray | memoryview):
        return bytes(source), None
    return pathlib.Path(source).read_bytes(), os.fspath(source)


def read_model(source: bytes | str | os.PathLike, name: str | None = None) -> TFLiteModel:
    """Read a .tflite file."""
    data, path = read_content(source)
    origin = name or path or "the bytes given"
    if data.startswith(_ARCHIVES):
        raise FlatbufferError(
            f"{origin}: an archive, such as a .keras file, is not a .tflite file: export the model "
            "first"
        )
    if data[4:8] != IDENTIFIER:
        raise FlatbufferError(
            f"{origin}: not a .tflite file: bytes 4 to 7 must be {IDENTIFIER!r}. "
            f"Received: {len(data)} bytes that start with {data[:8]!r}"
        )
    try:
        return _Reader(data).model()
    except FlatbufferError as error:
        raise FlatbufferError(f"{origin}: {error}") from error
    except DAMAGE as error:
        raise FlatbufferError(
            f"{origin}: damaged .tflite file: an offset or a length points outside its "
            f"{len(data)} bytes ({type(error).__name__}: {error})"
        ) from error


def _words(enumeration: type) -> dict[int, str]:
    return {code: word for word, code in vars(enumeration).items() if isinstance(code, int)}


TENSOR_TYPES = _words(schema.TensorType)
OPERATIONS = _words(schema.BuiltinOperator)
_OPTIONS = _words(schema.BuiltinOptions)
_OPTIONS_2 = _words(schema.BuiltinOptions2)
_OPTION_WORDS = {
    "padding": _words(schema.Padding),
    "fused_activation_function": _words(schema.ActivationFunctionType),
    "weights_format": _words(schema.FullyConnectedOptionsWeightsFormat),
    "in_data_type": TENSOR_TYPES,
    "out_data_type": TENSOR_TYPES,
    "quantized_bias_type": TENSOR_TYPES,
}


def _word(words: dict[int, str], code: int, what: str) -> str:
    try:
        return words[code]
    except KeyError:
        raise FlatbufferError(
            f"{what} has code {code}, which the schema of the installed ai-edge-litert does not "
            "have: the file is damaged, or newer than the schema"
        ) from None


def _checked(
    indices: tuple[int, ...], count: int, what: str, optional: bool = False
) -> tuple[int, ...]:
    lowest = -1 if optional else 0
    for index in indices:
        if not lowest <= index < count:
            raise FlatbufferError(f"{what} points at {index}, but there are only {count}")
    return indices


class _Reader:
    """One pass over the tables of a file, with a budget of bytes."""

    def __init__(self, data: bytes):
        self.data = data
        self.budget = _BYTES_READ_PER_BYTE * len(data) + _BYTES_READ_ALWAYS

    def spend(self, size: int) -> None:
        self.budget -= size
        if self.budget < 0:
            raise FlatbufferError(
                f"its vectors claim more data than the {len(self.data)} bytes of the file can hold"
            )

    def tables(self, parent: Any, field: str) -> list[Any]:
        count = getattr(parent, field + "Length")()
        if count > len(self.data) // 4:
            raise FlatbufferError(f"{field} claims {count} entries in {len(self.data)} bytes")
        self.spend(4 * count)
        return [getattr(parent, field)(index) for index in range(count)]

    def numbers(self, parent: Any, field: str) -> tuple:
        values = getattr(parent, field + "AsNumpy")()
        if not isinstance(values, np.ndarray):  # the generated accessor returns 0 for "absent"
            return ()
        self.spend(values.nbytes)
        return tuple(values.tolist())

    def text(self, value: bytes | None) -> str:
        self.spend(len(value or b""))
        return (value or b"").decode("utf-8", errors="replace")

    def model(self) -> TFLiteModel:
        model = schema.Model.GetRootAs(self.data, 0)
        buffers = tuple(self.buffer(table) for table in self.tables(model, "Buffers"))
        codes = [self.operation_code(table) for table in self.tables(model, "OperatorCodes")]
        subgraphs = tuple(
            self.subgraph(index, table, codes, buffers)
            for index, table in enumerate(self.tables(model, "Subgraphs"))
        )
        metadata = {}
        for entry in self.tables(model, "Metadata"):
            name = self.text(entry.Name())
            _checked((entry.Buffer(),), len(buffers), f"the metadata {name!r}")
            self.spend(len(buffers[entry.Buffer()]))
            metadata[name] = bytes(buffers[entry.Buffer()])
        return TFLiteModel(
            subgraphs=subgraphs,
            signatures=tuple(
                self.signature(table, subgraphs) for table in self.tables(model, "SignatureDefs")
            ),
            metadata=metadata,
            version=model.Version(),
            description=self.text(model.Description()),
            size=len(self.data),
            buffers=buffers,
        )

    def buffer(self, table: schema.Buffer) -> memoryview:
        if table.Offset() > 1:  # a file above 2 GB keeps its constants behind the flatbuffer
            end = table.Offset() + table.Size()
            if end > len(self.data):
                raise FlatbufferError(
                    f"a buffer ends at byte {end}, past the file's {len(self.data)} bytes"
                )
            return memoryview(self.data)[table.Offset() : end]
        values = table.DataAsNumpy()
        return values.data if isinstance(values, np.ndarray) else memoryview(b"")

    def operation_code(self, table: schema.OperatorCode) -> tuple[str, int, bool]:
        # Codes up to 127 were once a byte; files fill both fields, old files the first alone.
        code = max(table.BuiltinCode(), table.DeprecatedBuiltinCode())
        name = _word(OPERATIONS, code, "an operation")
        if name == "CUSTOM":
            return self.text(table.CustomCode()) or "CUSTOM", table.Version(), True
        return name, table.Version(), False

    def subgraph(self, index: int, table: schema.SubGraph, codes: Any, buffers: Any) -> Subgraph:
        tensors = tuple(
            self.tensor(place, entry, buffers)
            for place, entry in enumerate(self.tables(table, "Tensors"))
        )
        what = f"subgraph {index}"
        return Subgraph(
            index=index,
            name=self.text(table.Name()),
            tensors=tensors,
            operations=tuple(
                self.operation(place, index, entry, codes, len(tensors))
                for place, entry in enumerate(self.tables(table, "Operators"))
            ),
            inputs=_checked(self.numbers(table, "Inputs"), len(tensors), f"{what}: an input"),
            outputs=_checked(self.numbers(table, "Outputs"), len(tensors), f"{what}: an output"),
        )

    def tensor(self, index: int, table: schema.Tensor, buffers: Any) -> Tensor:
        name = self.text(table.Name())
        what = f"tensor {index} ({name!r})"
        shape = self.numbers(table, "Shape")
        if any(size < -1 for size in shape):
            raise FlatbufferError(f"{what} has a negative dimension: {shape}")
        _checked((table.Buffer(),), max(1, len(buffers)), f"{what}: its buffer")
        size = len(buffers[table.Buffer()]) if buffers else 0
        sparsity = table.Sparsity()
        return Tensor(
            index=index,
            name=name,
            shape=shape,
            dtype=_word(TENSOR_TYPES, table.Type(), what),
            quantization=self.quantization(table.Quantization(), what),
            constant=size > 0 or table.ExternalBuffer() > 0,
            size=size,
            sparse=sparsity is not None,
            shape_signature=self.numbers(table, "ShapeSignature") or shape,
            variable=table.IsVariable(),
            buffer=table.Buffer(),
            sparsity=None if sparsity is None else self.sparsity(sparsity, what),
        )

    def quantization(
        self, table: schema.QuantizationParameters | None, what: str
    ) -> Quantization | None:
        if table is None:
            return None
        scales = self.numbers(table, "Scale")
        block_size, place = 0, table.Details()
        blockwise = schema.QuantizationDetails.BlockwiseQuantization
        if place is not None and table.DetailsType() == blockwise:
            details = schema.BlockwiseQuantization()
            details.Init(place.Bytes, place.Pos)
            block_size = details.BlockSize()
        if not scales and not block_size:
            return None
        zero_points = self.numbers(table, "ZeroPoint") or (0,) * len(scales)
        if len(zero_points) == 1:
            zero_points *= max(1, len(scales))
        if scales and len(zero_points) != len(scales):
            raise FlatbufferError(f"{what}: {len(scales)} scales, {len(zero_points)} zero points")
        return Quantization(scales, zero_points, table.QuantizedDimension(), block_size)

    def sparsity(self, table: schema.SparsityParameters, what: str) -> Sparsity:
        dimensions = []
        for entry in self.tables(table, "DimMetadata"):
            if entry.Format() == schema.DimensionType.DENSE:
                dimensions.append(SparseDimension(entry.DenseSize()))
                continue
            segments = self.sparse_indices(entry.ArraySegmentsType(), entry.ArraySegments(), what)
            indices = self.sparse_indices(entry.ArrayIndicesType(), entry.ArrayIndices(), what)
            dimensions.append(SparseDimension(0, segments, indices))
        return Sparsity(
            self.numbers(table, "TraversalOrder"),
            self.numbers(table, "BlockMap"),
            tuple(dimensions),
        )

    def sparse_indices(self, kind: int, table: Any, what: str) -> tuple[int, ...]:
        vectors = {1: schema.Int32Vector, 2: schema.Uint16Vector, 3: schema.Uint8Vector}
        if kind not in vectors or table is None:
            raise FlatbufferError(f"{what}: its sparse encoding lacks indices")
        vector = vectors[kind]()
        vector.Init(table.Bytes, table.Pos)
        return self.numbers(vector, "Values")

    def operation(
        self, index: int, subgraph: int, table: schema.Operator, codes: Any, tensors: Any
    ) -> Operation:
        what = f"operation {index} of subgraph {subgraph}"
        _checked((table.OpcodeIndex(),), len(codes), f"{what}: its code")
        name, version, custom = codes[table.OpcodeIndex()]
        what = f"{what} ({name})"
        return Operation(
            index=index,
            name=name,
            version=version,
            inputs=_checked(self.numbers(table, "Inputs"), tensors, f"{what}: an input", True),
            outputs=_checked(self.numbers(table, "Outputs"), tensors, f"{what}: an output", True),
            options=self.options(table, what),
            custom=custom,
            subgraph=subgraph,
            intermediates=_checked(
                self.numbers(table, "Intermediates"), tensors, f"{what}: an intermediate", True
            ),
        )

    def options(self, table: schema.Operator, what: str) -> dict[str, Any]:
        options: dict[str, Any] = {}
        if not table.CustomOptionsIsNone():
            custom_options = np.asarray(table.CustomOptionsAsNumpy(), np.uint8)
            self.spend(custom_options.nbytes)
            options["custom_options"] = custom_options.tobytes()
        for kind, words, union in (
            (table.BuiltinOptionsType(), _OPTIONS, table.BuiltinOptions),
            (table.BuiltinOptions2Type(), _OPTIONS_2, table.BuiltinOptions2),
        ):
            place = union() if kind else None
            if place is None:
                continue
            unpacked = getattr(schema, _word(words, kind, what) + "T")
            fields = vars(unpacked.InitFromBuf(place.Bytes, place.Pos))
            for field, value in fields.items():
                key = re.sub(r"(?<!^)(?=[A-Z])", "_", field).lower()
                options[key] = self.option(key, value, what)
        return options

    def option(self, key: str, value: Any, what: str) -> Any:
        if key in _OPTION_WORDS:
            return _word(_OPTION_WORDS[key], value, f"{what}: {key}")
        if isinstance(value, np.ndarray):
            self.spend(value.nbytes)
            return tuple(value.tolist())
        return self.text(value) if isinstance(value, bytes) else value

    def signature(self, table: schema.SignatureDef, subgraphs: Any) -> Signature:
        key = self.text(table.SignatureKey())
        what = f"signature {key!r}"
        _checked((table.SubgraphIndex(),), len(subgraphs), f"{what}: its subgraph")
        tensors = len(subgraphs[table.SubgraphIndex()].tensors)

        def names(field: str) -> dict[str, int]:
            found = {}
            for entry in self.tables(table, field):
                _checked((entry.TensorIndex(),), tensors, f"{what}: one of its {field.lower()}")
                found[self.text(entry.Name())] = entry.TensorIndex()
            return found

        return Signature(key, table.SubgraphIndex(), names("Inputs"), names("Outputs"))
