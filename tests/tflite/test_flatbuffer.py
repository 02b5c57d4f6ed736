import struct
import sys

import numpy as np
import pytest
from handmade import file, graph, operation, tensor

from tfcompress.compat.litert_schema import schema
from tfcompress.tflite.flatbuffer import read_model
from tfcompress.tflite.model import FlatbufferError, Quantization


def dense_file(**changes):
    """A dense layer: int8 input 0, kernel 1, int32 bias 2, output 3."""
    options = schema.FullyConnectedOptionsT()
    options.fusedActivationFunction = schema.ActivationFunctionType.RELU6
    tensors = [
        tensor("x", (1, 3), "INT8", scales=[0.5], zero_points=[-1], shapeSignature=[-1, 3]),
        tensor("w", (2, 3), "INT8", np.arange(6, dtype=np.int8), [0.1, 0.2], [0, 0], axis=0),
        tensor("b", (2,), "INT32", np.array([1, 2], np.int32), [0.05, 0.1], [0, 0]),
        tensor("net/dense/Relu6", (1, 2), "INT8", scales=[0.25], zero_points=[3]),
    ]
    operations = [operation("FULLY_CONNECTED", [0, 1, 2], [3], version=4, options=options)]
    main = graph(tensors, operations, changes.get("inputs", [0]), changes.get("outputs", [3]))
    return file(main, signatures=[("serve", 0, {"image": 0}, {"score": 3})])


def test_reads_what_the_file_says():
    content = dense_file()
    model = read_model(content)
    assert (model.version, model.description, model.size) == (3, "handmade", len(content))
    (subgraph,) = model.subgraphs
    assert (subgraph.inputs, subgraph.outputs) == ((0,), (3,))
    x, w, b, y = subgraph.tensors
    assert (x.shape, x.shape_signature, x.dtype, x.constant) == ((1, 3), (-1, 3), "INT8", False)
    assert x.quantization == Quantization((0.5,), (-1,), 0)
    assert (w.constant, w.size, w.sparse) == (True, 6, False)
    assert w.quantization.scales == pytest.approx((0.1, 0.2))
    assert (b.size, y.name, y.size) == (8, "net/dense/Relu6", 0)
    (dense,) = subgraph.operations
    assert (dense.name, dense.version) == ("FULLY_CONNECTED", 4)
    assert (dense.inputs, dense.outputs) == ((0, 1, 2), (3,))
    assert dense.options["fused_activation_function"] == "RELU6"
    assert dense.options["weights_format"] == "DEFAULT"
    (signature,) = model.signatures
    assert (signature.key, signature.inputs, signature.outputs) == (
        "serve",
        {"image": 0},
        {"score": 3},
    )


def test_reads_a_path_as_it_reads_bytes(tmp_path):
    path = tmp_path / "model.tflite"
    path.write_bytes(dense_file())
    assert read_model(path) == read_model(str(path)) == read_model(dense_file())


def test_a_custom_operation_goes_by_its_code():
    main = graph(
        [tensor("x", (1,)), tensor("y", (1,))],
        [operation("CUSTOM", [0], [1], custom_code="Sinh")],
        [0],
        [1],
    )
    (sinh,) = read_model(file(main)).subgraphs[0].operations
    assert (sinh.name, sinh.custom, sinh.label) == ("Sinh", True, "CUSTOM:Sinh")


def test_entry_subgraphs_are_the_main_one_and_those_of_signatures():
    empty = graph([tensor("x", (1,))], [], [0], [0])
    model = read_model(file(empty, empty, empty, signatures=[("b", 2, {"x": 0}, {"x": 0})]))
    assert model.entry_subgraphs() == (0, 2)


@pytest.mark.parametrize("content", [b"", b"TFL3", b"\0" * 100, b"PK\3\4" + b"\0" * 60])
def test_refuses_what_is_no_tflite_file(content):
    with pytest.raises(FlatbufferError, match=r"not a \.tflite file"):
        read_model(content)


def test_names_the_file_that_it_refuses(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("not a model")
    with pytest.raises(FlatbufferError, match=r"notes\.txt: not a \.tflite file"):
        read_model(path)


@pytest.mark.parametrize("inputs", [[9], [-2]])
def test_refuses_an_index_outside_its_table(inputs):
    with pytest.raises(FlatbufferError, match="points at"):
        read_model(dense_file(inputs=inputs))


def test_refuses_every_truncation():
    content = dense_file()
    for length in range(8, len(content) - 8):
        # The builder writes the root last, at the front: what is cut off is tables and data.
        try:
            read_model(content[:length])
        except FlatbufferError:
            continue
        pytest.fail(f"accepted the first {length} of {len(content)} bytes")


def test_refuses_vectors_that_share_their_data_to_multiply_it():
    """Every tensor points at one long name: 2,000 names of 100,000 bytes in a 250 KB file."""
    name = "n" * 100_000
    content = bytearray(file(graph([tensor(name, ())] + [tensor("m", ())] * 2000, [], [], [])))
    long, short = content.index(name.encode()) - 4, content.index(b"\1\0\0\0m\0")
    model = schema.Model.GetRootAs(bytes(content), 0)
    for place in range(1, 2001):
        table = model.Subgraphs(0).Tensors(place)._tab
        field = table.Pos + table.Offset(10)  # the offset of the name
        assert field + struct.unpack_from("<I", content, field)[0] >= short - 4
        struct.pack_into("<I", content, field, (long - field) % 2**32)
    with pytest.raises(FlatbufferError):
        read_model(bytes(content))


def test_random_damage_is_refused_or_read_but_never_fatal():
    content = dense_file()
    generator = np.random.default_rng(0)
    refused = 0
    for _ in range(2000):
        damaged = bytearray(content)
        for place in generator.integers(8, len(content), 4):
            damaged[place] = generator.integers(256)
        try:
            read_model(bytes(damaged))
        except FlatbufferError:
            refused += 1
    assert 200 < refused < 2000


def test_needs_no_tensorflow():
    import subprocess

    code = (
        "import sys, tfcompress.tflite.flatbuffer, tfcompress.tflite.model, "
        "tfcompress.tflite.constants; print([m for m in ('tensorflow', 'keras') if m in "
        "sys.modules])"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert answer.stdout.strip() == "[]"


def test_reads_every_file_of_the_runtimes_own_tests(shared):
    refused = []
    for path in sorted((shared / "models" / "litert_testdata").glob("*.bin")):
        try:
            read_model(path)
        except FlatbufferError:
            refused.append(path.name)
    assert refused == ["test_model_broken.bin"]
