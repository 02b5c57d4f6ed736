import numpy as np
import pytest
from handmade import file, graph, tensor

from tfcompress.compat.litert_schema import schema
from tfcompress.tflite.constants import bits_per_value, constant_value, numpy_type, unpack_bits
from tfcompress.tflite.flatbuffer import read_model
from tfcompress.tflite.model import FlatbufferError


def value_of(*args, **fields):
    model = read_model(file(graph([tensor(*args, **fields)], [], [], [])))
    return constant_value(model, model.subgraphs[0].tensors[0])


@pytest.mark.parametrize(
    "array",
    [
        np.array([[1.5, -2.0]], np.float32),
        np.array([1, -128, 127], np.int8),
        np.array([2**40], np.int64),
        np.array([True, False]),
        np.array([0.5, 3], np.float16),
    ],
)
def test_plain_values_come_back(array):
    names = {"float32": "FLOAT32", "float16": "FLOAT16", "bool": "BOOL"}
    dtype = names.get(array.dtype.name, array.dtype.name.upper())
    found = value_of("c", array.shape, dtype, array)
    np.testing.assert_array_equal(found, array)
    assert found.dtype == array.dtype


def test_four_bits_unpack_lowest_first_with_sign():
    # 1, -1, 7 in nibbles: 0xF1, 0x07; the last nibble is padding.
    found = value_of("c", (3,), "INT4", bytes([0xF1, 0x07]))
    np.testing.assert_array_equal(found, [1, -1, 7])


def test_unpack_bits_by_hand():
    np.testing.assert_array_equal(unpack_bits(np.uint8([0b11100100]), 2, True), [0, 1, -2, -1])
    np.testing.assert_array_equal(unpack_bits(np.uint8([0xF1]), 4, False), [1, 15])


def test_bfloat16_widens_to_float32():
    np.testing.assert_array_equal(value_of("c", (1,), "BFLOAT16", bytes([0xC0, 0x3F])), [1.5])


def test_strings_are_bytes():
    raw = np.array([2, 16, 18, 21], np.int32).tobytes() + b"abcde"
    assert value_of("c", (2,), "STRING", raw).tolist() == [b"ab", b"cde"]


def sparse_tensor():
    """[[1, 0], [0, 2], [0, 0]] as rows dense, columns compressed."""
    rows, columns = schema.DimensionMetadataT(), schema.DimensionMetadataT()
    rows.format, rows.denseSize = schema.DimensionType.DENSE, 3
    columns.format = schema.DimensionType.SPARSE_CSR
    for field, values in (("arraySegments", [0, 1, 2, 2]), ("arrayIndices", [0, 1])):
        vector = schema.Int32VectorT()
        vector.values = values
        setattr(columns, field, vector)
        setattr(columns, field + "Type", schema.SparseIndexVector.Int32Vector)
    sparsity = schema.SparsityParametersT()
    sparsity.traversalOrder, sparsity.dimMetadata = [0, 1], [rows, columns]
    return tensor("c", (3, 2), "INT8", np.array([1, 2], np.int8), sparsity=sparsity)


def test_sparse_values_are_filled_up():
    model = read_model(file(graph([sparse_tensor()], [], [], [])))
    (found,) = model.subgraphs[0].tensors
    assert (found.sparse, found.size) == (True, 2)
    np.testing.assert_array_equal(constant_value(model, found), [[1, 0], [0, 2], [0, 0]])


def test_block_sparse_values_are_filled_up(shared):
    model = read_model(shared / "models" / "litert_testdata" / "sparse_tensor.bin")
    expected = [[1, 0, 2, 3], [0, 4, 0, 0], [0, 0, 5, 0], [0, 0, 0, 6]]
    np.testing.assert_array_equal(constant_value(model, model.subgraphs[0].tensors[0]), expected)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("c", (3,), "FLOAT32", b"\0" * 8), "asks for 3 values"),
        (("c", (2,), "FLOAT32", b"\0" * 7), "no whole number"),
        (("c", (2**30, 2**30), "INT8", b"\0"), "asks for"),
        (("c", (1,), "STRING", b"\xff\xff\xff\x7f"), "strings in 4 bytes"),
        (("c", (1,), "RESOURCE", b"\0"), "cannot be read"),
        (("c", (1,), "FLOAT32"), "no value in the file"),
    ],
)
def test_refuses_values_that_do_not_fit(args, message):
    with pytest.raises(FlatbufferError, match=message):
        value_of(*args)


def test_refuses_a_hostile_sparse_shape():
    record, raw = sparse_tensor()
    record.shape = [2**30, 2**30]
    model = read_model(file(graph([(record, raw)], [], [], [])))
    with pytest.raises(FlatbufferError, match="do not justify"):
        constant_value(model, model.subgraphs[0].tensors[0])


def test_types():
    assert (bits_per_value("INT4"), bits_per_value("FLOAT32"), bits_per_value("STRING")) == (
        4,
        32,
        0,
    )
    assert (numpy_type("INT4"), numpy_type("STRING")) == (np.int8, np.dtype(object))
    with pytest.raises(FlatbufferError, match="no type for VARIANT"):
        numpy_type("VARIANT")
