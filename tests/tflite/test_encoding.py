"""Kernels encoded for microcontrollers, decoded here as the format says."""

import numpy as np
import pytest
from handmade import file, graph, operation, tensor

from tfcompress.tflite.constants import constant_value
from tfcompress.tflite.encoding import (
    DECODE,
    _code_lengths,
    encode_huffman,
    encode_kernels,
    encode_lookup,
    encode_pruned,
)
from tfcompress.tflite.flatbuffer import read_model

METADATA = 16


def bits_of(data):
    return np.unpackbits(np.frombuffer(data, np.uint8))


def decoded(data, ancillary, shape, zero_points=0):
    """Decode a kernel value by value."""
    kind, version, parameters, stride = (ancillary[i] for i in (0, 1, 5, 6))
    assert version == ancillary[4] == 1
    count, bits, tables = np.prod(shape), bits_of(data), ancillary[METADATA:]
    if kind == 2:
        others = iter(np.frombuffer(tables, np.int8))
        zeros = np.broadcast_to(zero_points, shape).reshape(-1)
        found = [next(others) if bits[i] else zeros[i] for i in range(count)]
        assert next(others, None) is None
    elif kind == 0:
        width, axis = parameters & 7, parameters >> 4
        places = bits[: count * width].reshape(-1, width) @ (1 << np.arange(width)[::-1])
        table = np.frombuffer(tables, np.int8).reshape(-1, stride)
        rows = 0 if axis == 15 else np.indices(shape)[axis].reshape(-1)
        found = table[rows, places]
    else:
        first, at, found = (parameters >> 4) + 1, 0, []
        table = np.frombuffer(tables, "<u2")
        assert table.size == 2**first
        for _ in range(count):
            entry = int(table[bits[at : at + first] @ (1 << np.arange(first)[::-1])])
            found.append(np.uint8(entry & 0xFF).view(np.int8))
            at += entry >> 11 & 15
    return np.array(found, np.int8).reshape(shape)


def sparse(shape, seed=0):
    random = np.random.default_rng(seed)
    return (random.integers(-128, 128, shape) * (random.random(shape) < 0.2)).astype(np.int8)


def test_a_bit_tells_zeros_from_the_values_that_follow():
    data, ancillary = encode_pruned(np.array([0, 5, 0, 0, 0, 0, 0, 7, -1], np.int8), np.int8(0))
    assert data == b"\x41\x80"
    assert ancillary == b"\x02\x01\0\0\x01".ljust(METADATA, b"\0") + b"\x05\x07\xff"


def test_indices_point_into_a_table():
    data, ancillary = encode_lookup(np.array([3, -3, 3, 3], np.int8), None)
    assert data == b"\xb0"
    assert ancillary == b"\0\x01\0\0\x01\xf1\x02".ljust(METADATA, b"\0") + b"\xfd\x03"


def test_frequent_values_have_short_codes():
    data, ancillary = encode_huffman(np.array([5, 5, 7, 5], np.int8))
    assert data == b"\x20".ljust(8, b"\0")
    assert ancillary[:6] == b"\x01\x01\0\0\x01\0"
    assert ancillary[METADATA:] == b"\x05\x88\x07\x88"  # found, one bit, and the value


@pytest.mark.parametrize("axis", [0, 3])
def test_every_channel_has_a_table(axis):
    values = np.random.default_rng(axis).integers(-3, 4, (3, 2, 5, 4)).astype(np.int8)
    values += np.arange(values.shape[axis], dtype=np.int8).reshape(
        [-1 if i == axis else 1 for i in range(4)]
    )
    parts = encode_lookup(values, axis)
    np.testing.assert_array_equal(decoded(*parts, values.shape), values)
    assert len(parts[1]) == METADATA + values.shape[axis] * 7


def test_too_many_values_for_a_table():
    values = np.arange(-128, 128).astype(np.int8)
    assert encode_lookup(values[:129], None) is None
    np.testing.assert_array_equal(decoded(*encode_lookup(values[:128], None), (128,)), values[:128])


def test_zero_points_of_channels():
    zero_points = np.array([[3], [-4]], np.int8)
    values = np.array([[3, 3, 0, 3], [-4, 3, -4, -4]], np.int8)
    data, ancillary = encode_pruned(values, zero_points)
    assert len(ancillary) == METADATA + 2
    np.testing.assert_array_equal(decoded(data, ancillary, (2, 4), zero_points), values)


@pytest.mark.parametrize("size", [1, 31, 2000])
@pytest.mark.parametrize("values", [1, 2, 256])
def test_codes_are_decoded(size, values):
    random = np.random.default_rng(values)
    given = np.minimum(random.geometric(0.03, size), values).astype(np.uint8).view(np.int8)
    np.testing.assert_array_equal(decoded(*encode_huffman(given), (size,)), given)


@pytest.mark.parametrize(
    ("limit", "expected"), [(4, [1, 2, 3, 4, 4]), (3, [1, 3, 3, 3, 3]), (12, [1, 2, 3, 4, 4])]
)
def test_the_longest_code_is_limited(limit, expected):
    np.testing.assert_array_equal(_code_lengths(np.array([16, 8, 4, 2, 2]), limit), expected)


def layers(kernel, readers=1, **others):
    """Return a file of dense layers that read one kernel; ``others`` go to its tensor."""
    rows, columns = kernel.shape
    tensors = [
        tensor("x", (1, columns), "INT8", scales=[1.0], zero_points=[0]),
        tensor(
            "kernel", kernel.shape, "INT8", kernel, **{"scales": [0.5], "zero_points": [0]} | others
        ),
    ]
    operations = []
    for index in range(readers):
        tensors.append(tensor(f"y{index}", (1, rows), "INT8", scales=[1.0], zero_points=[0]))
        operations.append(operation("FULLY_CONNECTED", [0, 1, -1], [index + 2]))
    return file(graph(tensors, operations, [0], range(2, readers + 2)))


@pytest.mark.parametrize("readers", [1, 2])
def test_each_reader_has_its_kernel_decoded(readers):
    kernel = sparse((64, 64))
    content = layers(kernel, readers)
    encoded, (found,) = encode_kernels(content)
    assert (found.name, found.encoding, found.dense_size) == ("kernel", "pruned", 4096)
    assert found.encoded_size == 512 + METADATA + np.count_nonzero(kernel)
    model = read_model(encoded)
    (main,) = model.subgraphs
    assert [operation.name for operation in main.operations] == [
        DECODE,
        "FULLY_CONNECTED",
    ] * readers
    for decode, reader in zip(main.operations[::2], main.operations[1::2], strict=True):
        data, ancillary = (constant_value(model, main.tensors[i]).tobytes() for i in decode.inputs)
        np.testing.assert_array_equal(decoded(data, ancillary, kernel.shape), kernel)
        (made,) = decode.outputs
        assert reader.inputs == (0, made, -1)
        assert main.tensors[made].quantization.scales == (0.5,)
        assert not main.tensors[made].constant
    assert len(encoded) < len(content) - 2000


def test_what_does_not_become_smaller_stays():
    random = np.random.default_rng(0).integers(-128, 128, (64, 64)).astype(np.int8)
    content = layers(random)
    assert encode_kernels(content) == (content, ())


@pytest.mark.parametrize(
    "grid",
    [
        {"scales": [], "zero_points": []},
        {"axis": 1, "scales": [0.5], "zero_points": [0]},
    ],
)
def test_grids_that_the_decoder_refuses_stay(grid):
    content = layers(sparse((64, 64)), **grid)
    assert encode_kernels(content) == (content, ())
