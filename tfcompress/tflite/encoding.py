"""Kernels that a microcontroller decodes as it runs: zeros and repeated values take less flash.

TensorFlow Lite for Microcontrollers has an operation DECODE, before the operation that reads a
kernel. It fills the kernel, in the arena, from encoded bytes and from ancillary data that say how
they are encoded: 16 bytes of metadata, then a table of values.

Source: "TFLM DECODE Operator Design" and tensorflow/lite/micro/kernels/decode_state*.cc of
https://github.com/tensorflow/tflite-micro.
"""

import collections
import dataclasses
from typing import NamedTuple

import numpy as np

from tfcompress.compat.litert_schema import schema
from tfcompress.tflite.constants import constant_value
from tfcompress.tflite.editing import Editor, indices, record, share_buffers
from tfcompress.tflite.model import Quantization, Tensor

DECODE = "TFLM_DECODE"
# The input that holds the kernel.
_KERNELS = {"CONV_2D": 1, "DEPTHWISE_CONV_2D": 1, "FULLY_CONNECTED": 1, "TRANSPOSE_CONV": 1}
_LOOKUP, _HUFFMAN, _PRUNED = 0, 1, 2  # kinds of decoding
_METADATA_BYTES = 16
_VERSION = 1
_MAX_BITS, _MAX_VALUES = 7, 128
_ONE_TABLE = 15  # instead of the axis of channels that have a table each
_LONGEST_CODE = 12  # bits; the table of codes has 2 ** 12 entries of 2 bytes then
_WORD = 4  # bytes
_FOUND, _LENGTH_SHIFT = 0x8000, 11  # of an entry that holds a code's value and length
# What the flatbuffer takes for one more operation, two more tensors and their names.
_OVERHEAD = 320


class _Encoding(NamedTuple):
    name: str
    parts: tuple[bytes, bytes]  # the encoded bytes, and the ancillary data

    @property
    def size(self) -> int:
        """The bytes of both."""
        return sum(map(len, self.parts))


@dataclasses.dataclass(frozen=True)
class EncodedKernel:
    """A kernel in its encoded form.

    Attributes:
        name: the tensor's name in the file.
        encoding: "lookup", indices into a table of values; "pruned", a bit for each value that
            tells zeros from the values that follow; or "huffman", a code for each value, the
            shorter the more frequent it is.
        dense_size: bytes of the kernel.
        encoded_size: bytes of the encoded kernel and its ancillary data.
    """

    name: str
    encoding: str
    dense_size: int
    encoded_size: int


def encode_pruned(values: np.ndarray, zero_points: np.ndarray) -> tuple[bytes, bytes]:
    r"""Encode integers of which many are zero: a bit for each, then the others in order.

    Args:
        values: int8, of any shape.
        zero_points: the integers that stand for zero, of a shape that broadcasts to ``values``.

    Returns:
        The encoded bytes, the first value in the highest bit, and the ancillary data.

    Example:
    ```python
    encode_pruned(np.array([0, 5, 0, 0, 0, 0, 0, 7], np.int8), np.int8(0))[0]  # b"\x41"
    ```
    """
    kept = values != zero_points
    return np.packbits(kept).tobytes(), _metadata(_PRUNED) + values[kept].tobytes()


def encode_lookup(values: np.ndarray, axis: int | None) -> tuple[bytes, bytes] | None:
    r"""Encode integers that repeat: an index for each, into a table of values.

    Args:
        values: int8, of any shape.
        axis: the axis whose entries have a table each; None for one table.

    Returns:
        The encoded bytes, the first index in the highest bits, and the ancillary data; None if a
        table would have more than 128 values.

    Example:
    ```python
    encode_lookup(np.array([3, -3, 3, 3], np.int8), None)[0]  # b"\xb0", the bits 1011
    ```
    """
    rows = values.reshape(1, -1) if axis is None else np.moveaxis(values, axis, 0)
    found = [np.unique(row, return_inverse=True) for row in rows]
    longest = max(table.size for table, _ in found)
    if longest > _MAX_VALUES:
        return None
    places = np.stack([inverse.reshape(rows[0].shape) for _, inverse in found])
    places = places if axis is None else np.moveaxis(places, 0, axis)
    bits = max(1, int(longest - 1).bit_length())
    shifts = np.arange(bits - 1, -1, -1)
    packed = np.packbits((places.reshape(-1, 1) >> shifts & 1).astype(np.uint8))
    tables = b"".join(np.pad(table, (0, longest - table.size)).tobytes() for table, _ in found)
    where = _ONE_TABLE if axis is None else axis
    return packed.tobytes(), _metadata(_LOOKUP, where << 4 | bits, longest) + tables


def encode_huffman(values: np.ndarray) -> tuple[bytes, bytes]:
    r"""Encode integers by a code for each, the shorter the more frequent it is.

    The longest code is limited: the decoder has a table with an entry for all bits that may follow.

    Args:
        values: int8, of any shape.

    Returns:
        The codes, the first one in the highest bits, and the ancillary data.

    Example:
    ```python
    encode_huffman(np.array([5, 5, 7, 5], np.int8))[0][:1]  # b"\x20", the bits 0010
    ```

    Source: Larmore and Hirschberg, "A Fast Algorithm for Optimal Length-Limited Huffman Codes",
    1990 (package-merge).
    """
    symbols, places, counts = np.unique(
        values.reshape(-1).view(np.uint8), return_inverse=True, return_counts=True
    )
    shortest = max(1, int(symbols.size - 1).bit_length())
    found = {bits: _code_lengths(counts, bits) for bits in range(shortest, _LONGEST_CODE + 1)}
    limit = min(found, key=lambda bits: int(counts @ found[bits]) // 8 + 2 * 2**bits)
    lengths = found[limit]
    table, codes = np.full(2**limit, _FOUND, "<u2"), np.zeros(symbols.size, np.int64)
    start = 0
    for place in np.lexsort((symbols, lengths)):
        end = start + 2 ** (limit - lengths[place])
        table[start:end] = _FOUND | lengths[place] << _LENGTH_SHIFT | symbols[place]
        codes[place], start = start, end
    shifts = np.arange(limit - 1, -1, -1)
    bits = (codes[:, None] >> shifts & 1).astype(np.uint8)[places]
    data = np.packbits(bits[np.arange(limit) < lengths[places][:, None]]).tobytes()
    # The decoder reads whole words, and past the last code.
    data = data.ljust(-(-len(data) // _WORD) * _WORD + _WORD, b"\0")
    return data, _metadata(_HUFFMAN, limit - 1 << 4) + table.tobytes()


def _code_lengths(counts: np.ndarray, limit: int) -> np.ndarray:
    """Return the bits of each value's code: the shortest codes of at most ``limit`` bits."""
    if counts.size == 1:
        return np.ones(1, np.int64)
    leaves = list(zip(counts.tolist(), np.eye(counts.size, dtype=np.int64), strict=True))
    packages: list[tuple[int, np.ndarray]] = []
    for _ in range(limit):
        ordered = sorted(leaves + packages, key=lambda each: each[0])
        pairs = zip(ordered[::2], ordered[1::2], strict=False)
        packages = [(first + second, a + b) for (first, a), (second, b) in pairs]
    return np.sum([uses for _, uses in ordered[: 2 * counts.size - 2]], axis=0)


def _metadata(kind: int, *parameters: int) -> bytes:
    """Return the 16 bytes that ancillary data begin with."""
    return bytes([kind, _VERSION, 0, 0, _VERSION, *parameters]).ljust(_METADATA_BYTES, b"\0")


def encode_kernels(content: bytes) -> tuple[bytes, tuple[EncodedKernel, ...]]:
    """Encode each int8 kernel of the main graph that becomes smaller so.

    Args:
        content: a .tflite file.

    Returns:
        The file for TensorFlow Lite for Microcontrollers, which computes the same, and what was
        encoded; the same file and nothing if no kernel becomes smaller.

    Raises:
        FlatbufferError: the file is damaged.
    """
    editor = Editor(content)
    graph, *others = editor.model.subgraphs
    uses = collections.Counter(each.buffer for g in (graph, *others) for each in g.tensors)
    kernels = []
    for tensor in graph.tensors:
        readers = graph.readers.get(tensor.index, [])
        read_as_kernel = all(_KERNELS.get(reader.name) == place for reader, place in readers)
        alone = uses[tensor.buffer] == 1 and tensor.index not in graph.outputs
        grid = _decodable_grid(tensor)
        if readers and read_as_kernel and alone and grid is not None:
            found = _smallest(constant_value(editor.model, tensor), grid)
            if found.size + _OVERHEAD < tensor.size:
                kernels.append(EncodedKernel(tensor.name, found.name, tensor.size, found.size))
                _decode(editor, tensor, found, [reader.index for reader, _ in readers])
    if not kernels:
        return content, ()
    share_buffers(editor.tree)
    return editor.packed(), tuple(kernels)


def _decodable_grid(tensor: Tensor) -> Quantization | None:
    """Return the grid of an int8 constant, None if the decoder does not take the tensor."""
    grid = tensor.quantization
    if not tensor.constant or tensor.sparse or tensor.dtype != "INT8" or not grid:
        return None
    last = grid.axis == len(tensor.shape) - 1 and len(grid.scales) > 1
    return grid if grid.scales and (grid.axis == 0 or last) else None


def _smallest(values: np.ndarray, grid: Quantization) -> _Encoding:
    """Return the smallest encoding of a kernel."""
    axis, zero_points = None, np.array(grid.zero_points, np.int8)
    if len(grid.scales) > 1:
        axis = grid.axis
        zero_points = zero_points.reshape([-1 if i == axis else 1 for i in range(values.ndim)])
    found = {
        "lookup": encode_lookup(values, axis),
        "pruned": encode_pruned(values, zero_points),
        "huffman": encode_huffman(values),
    }
    encodings = [_Encoding(name, parts) for name, parts in found.items() if parts is not None]
    return min(encodings, key=lambda each: each.size)


def _decode(editor: Editor, tensor: Tensor, encoding: _Encoding, readers: list[int]) -> None:
    """Store a kernel encoded, and decode it before each operation that reads it.

    What is decoded lives until the next operation only: every reader has its own.
    """
    data, ancillary = (np.frombuffer(part, np.uint8) for part in encoding.parts)
    dense = editor.graph.tensors[tensor.index]
    inputs = [
        tensor.index,
        editor.add_constant(f"{tensor.name}/ancillary", ancillary, "UINT8"),
    ]
    editor.graph.tensors[tensor.index] = record(
        "Tensor",
        name=f"{tensor.name}/encoded",
        shape=[data.size],
        type=schema.TensorType.UINT8,
        buffer=editor.add_buffer(data),
    )
    for index in readers:
        decoded = editor.add_tensor(f"{tensor.name}/decoded", tensor.shape, tensor.dtype)
        editor.graph.tensors[decoded].quantization = dense.quantization
        reader = editor.records[index]
        reader.inputs = [decoded if i == tensor.index else i for i in indices(reader.inputs)]
        code = editor.code("CUSTOM", 1, DECODE)
        operator = record("Operator", opcodeIndex=code, inputs=inputs, outputs=[decoded])
        place = next(i for i, each in enumerate(editor.graph.operators) if each is reader)
        editor.graph.operators.insert(place, operator)
