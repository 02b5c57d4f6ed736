"""The values of a .tflite file's constants, packed and sparse encodings undone."""

import itertools
import math
from typing import Any

import numpy as np

from tfcompress.tflite.model import FlatbufferError, Sparsity, Tensor, TFLiteModel

_NUMPY_TYPES = {
    name: np.dtype(name.lower())
    for name in (
        *("FLOAT16", "FLOAT32", "FLOAT64", "COMPLEX64", "COMPLEX128", "BOOL"),
        *(f"{sign}INT{bits}" for sign in ("", "U") for bits in (8, 16, 32, 64)),
    )
}
# Bounds the memory that a hostile sparse tensor can ask for.
_DENSE_PER_STORED = 64
PACKED_BITS = {"INT4": 4, "UINT4": 4, "INT2": 2}


def bits_per_value(dtype: str) -> int:
    """Bits that one value of a schema type takes in the file; 0 for types without a fixed size."""
    if dtype in PACKED_BITS:
        return PACKED_BITS[dtype]
    if dtype == "BFLOAT16":
        return 16
    if dtype.startswith("FLOAT8"):
        return 8
    return _NUMPY_TYPES[dtype].itemsize * 8 if dtype in _NUMPY_TYPES else 0


def numpy_type(dtype: str) -> np.dtype:
    """Find the NumPy type in which a runtime takes and gives a schema type."""
    if dtype == "STRING":
        return np.dtype(object)
    if dtype in PACKED_BITS:
        return np.dtype(np.int8 if dtype.startswith("INT") else np.uint8)
    if dtype not in _NUMPY_TYPES:
        raise FlatbufferError(f"NumPy has no type for {dtype}")
    return _NUMPY_TYPES[dtype]


def constant_value(model: TFLiteModel, tensor: Tensor) -> np.ndarray:
    """Read the value that a file holds for a tensor.

    Returns:
        An array of the tensor's shape: integers as they are stored (not multiplied by the
        scale), 4-bit and 2-bit values widened to int8 or uint8, bfloat16 widened to float32,
        strings as an object array of bytes, sparse tensors filled up with zeros.
    """
    what = f"tensor {tensor.index} ({tensor.name!r})"
    if not tensor.constant:
        raise FlatbufferError(f"{what} has no value in the file: it is computed or fed")
    data = model.buffers[tensor.buffer] if model.buffers else memoryview(b"")
    if tensor.dtype == "STRING":
        return _strings(data, what)
    values = _stored_values(data, tensor.dtype, what)
    if tensor.sparsity is not None:
        return _filled_up(values, tensor.sparsity, tensor.shape, what)
    count = math.prod(tensor.shape)
    if tensor.dtype in PACKED_BITS:
        values = values[:count]
    if count != values.size:
        raise FlatbufferError(
            f"{what}: shape {tensor.shape} asks for {count} values. Received: {values.size}"
        )
    return values.reshape(tensor.shape)


def pack_bits(values: np.ndarray, bits: int) -> np.ndarray:
    """Return uint8 bytes in which 2-bit or 4-bit integers share bytes: see ``unpack_bits``.

    Example:
    ```python
    pack_bits(np.array([1, -1], np.int8), bits=4)  # [0xF1]
    ```
    """
    each = 8 // bits
    flat = values.reshape(-1).astype(np.int8).view(np.uint8) & (2**bits - 1)
    flat = np.pad(flat, (0, -flat.size % each)).reshape(-1, each)
    return np.bitwise_or.reduce(flat << np.arange(0, 8, bits, dtype=np.uint8), axis=1).astype("u1")


def unpack_bits(data: np.ndarray, bits: int, signed: bool) -> np.ndarray:
    """Widen values that share bytes, the first value in the lowest bits.

    Returns:
        int8 (uint8 if unsigned) values, shape (n * 8 / bits,).
    """
    shifts = np.arange(0, 8, bits, dtype=np.uint8)
    values = (data[:, None] >> shifts & (2**bits - 1)).reshape(-1)
    if not signed:
        return values
    half = 2 ** (bits - 1)
    return ((values.astype(np.int16) + half) % (2 * half) - half).astype(np.int8)


def _stored_values(data: memoryview, dtype: str, what: str) -> np.ndarray:
    raw = np.frombuffer(data, np.uint8)
    if dtype in PACKED_BITS:
        return unpack_bits(raw, PACKED_BITS[dtype], signed=dtype.startswith("INT"))
    size = bits_per_value(dtype) // 8
    if not size or dtype.startswith("FLOAT8"):
        raise FlatbufferError(f"{what}: values of type {dtype} cannot be read")
    if raw.size % size:
        raise FlatbufferError(f"{what}: {raw.size} bytes are no whole number of {dtype} values")
    if dtype == "BFLOAT16":
        return (raw.view(np.uint16).astype(np.uint32) << 16).view(np.float32)
    return np.frombuffer(data, _NUMPY_TYPES[dtype])


def _strings(data: memoryview, what: str) -> np.ndarray:
    """Split a string buffer: a count, count + 1 offsets, then the characters (int32s)."""
    count = int.from_bytes(data[:4], "little")
    if 4 * (count + 2) > len(data):
        raise FlatbufferError(f"{what}: claims {count} strings in {len(data)} bytes")
    offsets = np.frombuffer(data, np.int32, count + 1, 4)
    strings = [bytes(data[a:b]) for a, b in itertools.pairwise(offsets)]
    return np.array(strings, dtype=object)


def _filled_up(
    values: np.ndarray, sparsity: Sparsity, shape: tuple[int, ...], what: str
) -> np.ndarray:
    """Undo a sparse encoding (Chou et al. 2018, TACO's level formats, as TFLite stores them).

    Each traversed dimension extends the coordinates of all entries at once, so that the work is
    proportional to the stored values. Dimensions past the tensor's own are positions in a block.
    """
    rank = len(shape)
    if len(sparsity.traversal_order) != len(sparsity.dimensions) or rank > len(sparsity.dimensions):
        raise FlatbufferError(f"{what}: its sparse encoding does not fit rank {rank}")
    size = math.prod(shape)
    if size > _DENSE_PER_STORED * max(values.size, 1 << 20):
        raise FlatbufferError(f"{what}: {values.size} stored values do not justify shape {shape}")
    coordinates = np.zeros((1, len(sparsity.dimensions)), np.int64)
    for dimension, level in zip(sparsity.traversal_order, sparsity.dimensions, strict=True):
        if not 0 <= dimension < coordinates.shape[1]:
            raise FlatbufferError(f"{what}: its sparse encoding names dimension {dimension}")
        parents, positions = _level_entries(level, len(coordinates), size, what)
        coordinates = coordinates[parents]
        coordinates[:, dimension] = positions
    if len(coordinates) != values.size:
        raise FlatbufferError(
            f"{what}: its sparse encoding places {len(coordinates)} values of {values.size}"
        )
    places = coordinates[:, :rank]
    for block, dimension in enumerate(sparsity.block_map):
        level = sparsity.dimensions[sparsity.traversal_order.index(rank + block)]
        places[:, dimension] = places[:, dimension] * level.size + coordinates[:, rank + block]
    if (places < 0).any() or (places >= shape).any():
        raise FlatbufferError(f"{what}: its sparse encoding does not fit shape {shape}")
    dense = np.zeros(shape, values.dtype)
    dense[tuple(places.T)] = values
    return dense


def _level_entries(
    level: Any, parents: int, limit: int, what: str
) -> tuple[np.ndarray, np.ndarray]:
    if level.segments is None:
        entries = parents * level.size
        if level.size < 0 or entries > limit:
            raise FlatbufferError(f"{what}: its sparse encoding has more entries than the tensor")
        return np.divmod(np.arange(entries), max(level.size, 1))
    segments = np.asarray(level.segments)
    lengths = np.diff(segments)
    if len(lengths) != parents or (lengths < 0).any() or lengths.sum() != len(level.indices):
        raise FlatbufferError(f"{what}: its sparse encoding's segments do not fit its indices")
    return np.repeat(np.arange(parents), lengths), np.asarray(level.indices)
