"""Filling float files with integers, on files whose every byte is known, and on real models."""

import handmade
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from one_operation import DEFAULT_KERNELS, PLAIN, REFERENCE_KERNELS, run

from tfcompress.compat.litert_schema import schema
from tfcompress.tflite.constants import constant_value, pack_bits, unpack_bits
from tfcompress.tflite.editing import Editor
from tfcompress.tflite.filling import Filling, Storage, fill
from tfcompress.tflite.flatbuffer import read_model

UNIT = Storage("INT8", (0.5,), (-1,))
WIDE = Storage("INT8", (1.0,), (3,))
WEIGHTS = np.arange(-4, 4, dtype=np.float32).reshape(2, 4)
BIAS = np.array([1.0, -1.0], np.float32)


def _filled(content, filling, *ports):
    editor = Editor(content)
    fill(editor, filling, *ports)
    return editor.packed()


def _fully_connected(bias=True):
    """A file of a dense layer: x (1, 4) @ weights (2, 4)."""
    options = schema.FullyConnectedOptionsT()
    tensors = [
        handmade.tensor("x", (1, 4)),
        handmade.tensor("w", (2, 4), value=WEIGHTS),
        handmade.tensor("b", (2,), value=BIAS),
        handmade.tensor("y", (1, 2)),
    ]
    inputs = [0, 1, 2] if bias else [0, 1, -1]
    dense = handmade.operation("FULLY_CONNECTED", inputs, [3], options=options)
    signature = ("serving_default", 0, {"x": 0}, {"y": 3})
    return handmade.file(handmade.graph(tensors, [dense], [0], [3]), signatures=[signature])


def _dense_storages(weights="INT8"):
    return {
        (0, 0): UNIT,
        (0, 1): Storage(weights, (1.0, 1.0), (0, 0), 0, WEIGHTS.astype(np.int8)),
        (0, 2): Storage("INT32", (0.5, 0.5), (0, 0), 0, np.array([2, -2])),
        (0, 3): WIDE,
    }


def test_tensors_get_their_types_scales_and_integers():
    model = read_model(_filled(_fully_connected(), Filling(_dense_storages())))
    (graph,) = model.subgraphs
    assert [tensor.dtype for tensor in graph.tensors] == ["INT8", "INT8", "INT32", "INT8"]
    assert graph.tensors[0].quantization.scales == (0.5,)
    assert graph.tensors[0].quantization.zero_points == (-1,)
    assert graph.tensors[1].quantization.scales == (1.0, 1.0)
    assert graph.tensors[1].quantization.axis == 0
    assert constant_value(model, graph.tensors[1]).tolist() == WEIGHTS.tolist()
    assert constant_value(model, graph.tensors[2]).tolist() == [2, -2]
    assert [(op.name, op.version) for op in graph.operations] == [("FULLY_CONNECTED", 4)]
    # The empty buffer, 8 bytes of weights and 8 of biases: the floats are gone.
    assert [len(buffer) for buffer in model.buffers] == [0, 8, 8]


@pytest.mark.parametrize("kernels", [*DEFAULT_KERNELS, REFERENCE_KERNELS])
def test_the_file_computes_with_its_integers(kernels):
    content = _filled(_fully_connected(), Filling(_dense_storages()))
    (result,) = run(content, [np.array([[1, 3, 5, -3]], np.int8)], kernels)
    # Reals 1, 2, 3, -1: sums -4 - 6 - 6 + 1 + 1 and 0 + 2 + 6 - 3 - 1, then the zero point 3.
    assert result.tolist() == [[-14 + 3, 4 + 3]]


def test_bits_share_bytes():
    values = np.array([[1, -1, 7], [-8, 0, 3]], np.int8)
    assert pack_bits(values, 4).tolist() == [0xF1, 0x87, 0x30]
    assert pack_bits(np.array([1, -1, -2, 0, 1], np.int8), 2).tolist() == [0b00101101, 0b01]
    for bits in (2, 4):
        low = -(2 ** (bits - 1))
        given = np.arange(low, -low, dtype=np.int8).repeat(3)[1:]
        packed = pack_bits(given, bits)
        assert unpack_bits(packed, bits, signed=True)[: given.size].tolist() == given.tolist()


@pytest.mark.parametrize(("dtype", "version", "size"), [("INT4", 10, 4), ("INT2", 14, 2)])
def test_narrow_weights(dtype, version, size):
    storages = _dense_storages(dtype)
    low = {"INT4": -8, "INT2": -2}[dtype]
    values = np.clip(WEIGHTS, low, -low - 1).astype(np.int8)
    storages[0, 1] = Storage(dtype, (1.0, 1.0), (0, 0), 0, values)
    content = _filled(_fully_connected(), Filling(storages))
    model = read_model(content)
    weights = model.subgraphs[0].tensors[1]
    assert (weights.dtype, weights.size) == (dtype, size)
    assert constant_value(model, weights).tolist() == values.tolist()
    assert model.subgraphs[0].operations[0].version == version
    (result,) = run(content, [np.array([[1, 3, 5, -3]], np.int8)], PLAIN)
    reals = np.array([1, 2, 3, -1])
    assert result.tolist() == [(values @ reals + BIAS + 3).astype(int).tolist()]


@pytest.mark.parametrize(
    ("bias", "version", "kind"), [("INT64", 7, 0), ("INT32", 11, schema.TensorType.INT32)]
)
def test_16_bit_activations(bias, version, kind):
    storages = _dense_storages()
    storages[0, 0] = Storage("INT16", (0.5,), (0,))
    storages[0, 2] = Storage(bias, (0.5, 0.5), (0, 0), 0, np.array([2, -2]))
    storages[0, 3] = Storage("INT16", (0.25,), (0,))
    content = _filled(_fully_connected(), Filling(storages), "INT16", "INT16")
    operator = Editor(content).graph.operators[0]
    assert operator.builtinOptions.quantizedBiasType == kind
    assert read_model(content).subgraphs[0].operations[0].version == version
    (result,) = run(content, [np.array([[2, 4, 6, -2]], np.int16)], PLAIN)
    assert result.tolist() == [[-14 * 4, 4 * 4]]


def test_16_bit_sums_take_any_scale():
    options = schema.AddOptionsT()
    tensors = [handmade.tensor(name, (1, 2)) for name in ("x", "y", "z")]
    add = handmade.operation("ADD", [0, 1], [2], options=options)
    content = handmade.file(handmade.graph(tensors, [add], [0, 1], [2]))
    storages = {(0, i): Storage("INT16", (scale,), (0,)) for i, scale in enumerate((0.3, 0.7, 1.3))}
    content = _filled(content, Filling(storages), "INT16", "INT16")
    assert Editor(content).graph.operators[0].builtinOptions.potScaleInt16 is False
    (result,) = run(content, [np.array([[10, 20]], np.int16)] * 2, PLAIN)
    assert result.tolist() == [[round(10 / 1.3), round(20 / 1.3)]]


def _two_readers():
    """x is read by RELU and, twice, by ADD."""
    tensors = [handmade.tensor(name, (1, 4)) for name in ("x", "relu", "sum")]
    tensors.append(handmade.tensor("c", (1, 4), value=np.ones((1, 4), np.float32)))
    relu = handmade.operation("RELU", [0], [1])
    add = handmade.operation("ADD", [0, 3], [2], options=schema.AddOptionsT())
    return handmade.file(handmade.graph(tensors, [relu, add], [0], [1, 2]))


def test_one_requantization_for_two_readers():
    one = np.ones((1, 4), np.int8)
    storages = {
        (0, 0): UNIT,
        (0, 1): WIDE,
        (0, 2): WIDE,
        (0, 3): Storage("INT8", (1.0,), (0,), 0, one),
    }
    reads = {(0, 0, 0): WIDE, (0, 1, 0): WIDE}
    content = _filled(_two_readers(), Filling(storages, reads))
    (graph,) = read_model(content).subgraphs
    assert [op.name for op in graph.operations] == ["QUANTIZE", "RELU", "ADD"]
    quantize, relu, add = graph.operations
    assert (quantize.inputs, quantize.version) == ((0,), 1)
    assert relu.inputs[0] == add.inputs[0] == quantize.outputs[0]
    new = graph.tensors[quantize.outputs[0]]
    assert (new.name, new.quantization.scales) == ("x:int8", (1.0,))
    outputs = run(content, [np.array([[-5, -1, 1, 7]], np.int8)], PLAIN)  # -2, 0, 1, 4
    assert [each.tolist() for each in outputs] == [[[3, 3, 4, 7]], [[2, 4, 5, 8]]]


def test_a_read_of_the_stored_form_adds_nothing():
    filling = Filling({(0, 0): UNIT, (0, 1): UNIT}, {(0, 0, 0): Storage("INT8", [0.5], [-1])})
    (graph,) = read_model(_filled(_two_readers(), filling)).subgraphs
    assert [op.name for op in graph.operations] == ["RELU", "ADD"]


def test_an_operation_left_in_float():
    """RELU computes in float between DEQUANTIZE and the QUANTIZE that the next one asks for."""
    tensors = [handmade.tensor(name, (1, 4)) for name in ("x", "relu", "abs")]
    steps = [
        handmade.operation("RELU", [0], [1]),
        handmade.operation("ABS", [1], [2], options=schema.AbsOptionsT()),
    ]
    content = handmade.file(handmade.graph(tensors, steps, [0], [2]))
    filling = Filling(
        {(0, 0): UNIT, (0, 2): WIDE}, {(0, 0, 0): Storage("FLOAT32"), (0, 1, 0): WIDE}
    )
    content = _filled(content, filling)
    (graph,) = read_model(content).subgraphs
    names = [(op.name, op.version) for op in graph.operations]
    assert names == [("DEQUANTIZE", 2), ("RELU", 1), ("QUANTIZE", 1), ("ABS", 2)]
    (result,) = run(content, [np.array([[-5, -1, 1, 7]], np.int8)], PLAIN)
    assert result.tolist() == [[3, 3, 4, 7]]


def test_a_reader_with_a_constant_of_its_own():
    tensors = [handmade.tensor(name, (1, 4)) for name in ("x", "a", "b")]
    tensors.append(handmade.tensor("c", (1, 4), value=np.ones((1, 4), np.float32)))
    steps = [
        handmade.operation("ADD", [0, 3], [1], options=schema.AddOptionsT()),
        handmade.operation("ADD", [0, 3], [2], options=schema.AddOptionsT()),
    ]
    content = handmade.file(handmade.graph(tensors, steps, [0], [1, 2]))
    own = Storage("INT8", (0.5,), (0,), 0, np.full((1, 4), 2, np.int8))
    filling = Filling({(0, 0): UNIT, (0, 1): UNIT}, {(0, 0, 1): own})
    (graph,) = (model := read_model(_filled(content, filling))).subgraphs
    first, second = graph.operations
    assert second.inputs == (0, 3)
    assert graph.tensors[3].dtype == "FLOAT32"
    assert constant_value(model, graph.tensors[first.inputs[1]]).tolist() == [[2, 2, 2, 2]]


def test_a_constant_that_nobody_reads_any_more_is_dropped():
    own = Storage("INT8", (1.0,), (0,), 0, np.ones((1, 4), np.int8))
    storages = {(0, 0): UNIT, (0, 1): WIDE, (0, 2): WIDE}
    model = read_model(_filled(_two_readers(), Filling(storages, {(0, 1, 1): own})))
    assert [len(buffer) for buffer in model.buffers] == [0, 4]
    assert [tensor.name for tensor in model.subgraphs[0].tensors] == [
        "x",
        "relu",
        "sum",
        "c",
        "c:int8",
    ]


@pytest.mark.parametrize(
    ("dtype", "given", "expected"),
    [
        ("INT8", np.array([[1, 3, 5, -3]], np.int8), [[-11, 7]]),
        ("UINT8", np.array([[129, 131, 133, 125]], np.uint8), [[117, 135]]),
        ("FLOAT32", np.array([[1, 2, 3, -1]], np.float32), [[-14.0, 4.0]]),
    ],
)
def test_ports_have_the_type_of_the_user(dtype, given, expected):
    content = _filled(_fully_connected(), Filling(_dense_storages()), dtype, dtype)
    interpreter = Interpreter(model_content=content)
    assert interpreter.get_signature_list() == {
        "serving_default": {"inputs": ["x"], "outputs": ["y"]}
    }
    result = interpreter.get_signature_runner()(x=given)["y"]
    assert result.dtype == given.dtype
    assert result.tolist() == expected
    model = read_model(content)
    (graph,) = model.subgraphs
    names = [op.name for op in graph.operations]
    ends = {"INT8": [], "UINT8": ["QUANTIZE"], "FLOAT32": ["QUANTIZE"]}[dtype]
    assert names[: len(ends)] == ends
    assert len(names) == 1 + 2 * len(ends)
    # The ports keep their names; what lies behind them has new ones.
    assert [graph.tensors[i].name for i in (*graph.inputs, *graph.outputs)] == ["x", "y"]
    assert [graph.tensors[i].dtype for i in (*graph.inputs, *graph.outputs)] == [dtype] * 2
    assert model.signatures[0].inputs == {"x": graph.inputs[0]}
    assert model.signatures[0].outputs == {"y": graph.outputs[0]}


def test_integer_inputs_stay_as_they_are():
    table = np.arange(12, dtype=np.float32).reshape(4, 3)
    tensors = [
        handmade.tensor("ids", (2,), "INT32"),
        handmade.tensor("table", (4, 3), value=table),
        handmade.tensor("y", (2, 3)),
    ]
    look_up = handmade.operation("EMBEDDING_LOOKUP", [0, 1], [2])
    content = handmade.file(handmade.graph(tensors, [look_up], [0], [2]))
    form = Storage("INT8", (0.5,), (-10,))
    stored = Storage("INT8", (0.5,), (-10,), 0, (table * 2 - 10).astype(np.int8))
    content = _filled(content, Filling({(0, 1): stored, (0, 2): form}), "UINT8", "FLOAT32")
    (graph,) = read_model(content).subgraphs
    assert [graph.tensors[i].dtype for i in (*graph.inputs, *graph.outputs)] == ["INT32", "FLOAT32"]
    (result,) = run(content, [np.array([3, 1], np.int32)], PLAIN)
    assert result.tolist() == table[[3, 1]].tolist()


def test_an_output_that_is_read_again_and_one_that_is_an_input():
    content = _two_readers()
    editor = Editor(content)
    editor.graph.outputs = [0, 1, 2]
    one = Storage("INT8", (1.0,), (0,), 0, np.ones((1, 4), np.int8))
    storages = {(0, 0): UNIT, (0, 1): WIDE, (0, 2): WIDE, (0, 3): one}
    fill(editor, Filling(storages), "FLOAT32", "FLOAT32")
    outputs = run(editor.packed(), [np.array([[-2, 0, 1, 4]], np.float32)], PLAIN)
    assert [each.tolist() for each in outputs] == [[[-2, 0, 1, 4]], [[0, 0, 1, 4]], [[-1, 1, 2, 5]]]


def test_float_activations_with_integer_weights():
    values = np.clip(WEIGHTS * 31, -127, 127).astype(np.int8)
    weights = Storage("INT8", (1 / 31, 1 / 31), (0, 0), 0, values)
    content = _filled(_fully_connected(), Filling({(0, 1): weights}))
    (graph,) = read_model(content).subgraphs
    assert [tensor.dtype for tensor in graph.tensors] == ["FLOAT32", "INT8", "FLOAT32", "FLOAT32"]
    assert graph.operations[0].version == 12
    assert graph.operations[0].options["asymmetric_quantize_inputs"] is True
    (result,) = run(content, [np.array([[1, 2, 3, -1]], np.float32)], PLAIN)
    np.testing.assert_allclose(result, [[-14, 4]], atol=0.1)


def test_float16_constants_are_widened_when_they_are_read():
    storages = {
        (0, 1): Storage("FLOAT16", values=WEIGHTS / 3),
        (0, 2): Storage("FLOAT16", values=BIAS),
    }
    reads = {(0, 0, 1): Storage("FLOAT32"), (0, 0, 2): Storage("FLOAT32")}
    content = _filled(_fully_connected(), Filling(storages, reads))
    model = read_model(content)
    (graph,) = model.subgraphs
    names = [(op.name, op.version) for op in graph.operations]
    assert names == [("DEQUANTIZE", 3), ("DEQUANTIZE", 3), ("FULLY_CONNECTED", 1)]
    assert [len(buffer) for buffer in model.buffers] == [0, 16, 4]
    for kernels in DEFAULT_KERNELS:
        (result,) = run(content, [np.array([[1, 2, 3, -1]], np.float32)], kernels)
        np.testing.assert_allclose(result, [[-5 + 1, 5 / 3 - 1]], rtol=1e-3)


@pytest.mark.parametrize(
    ("dtype", "version", "size"), [("INT8", 5, 8), ("INT4", 6, 4), ("INT2", 7, 2)]
)
def test_narrow_constants_are_widened_when_they_are_read(dtype, version, size):
    largest = {"INT8": 127, "INT4": 7, "INT2": 1}[dtype]
    values = np.clip(WEIGHTS, -largest, largest).astype(np.int8)
    storages = {(0, 1): Storage(dtype, (1.0, 0.5), (0, 0), 0, values)}
    content = _filled(_fully_connected(), Filling(storages, {(0, 0, 1): Storage("FLOAT32")}))
    model = read_model(content)
    names = [(op.name, op.version) for op in model.subgraphs[0].operations]
    assert names == [("DEQUANTIZE", version), ("FULLY_CONNECTED", 1)]
    assert model.subgraphs[0].tensors[1].size == size
    (result,) = run(content, [np.array([[1, 2, 3, -1]], np.float32)], PLAIN)
    assert result.tolist() == [(values @ [1, 2, 3, -1] * [1.0, 0.5] + BIAS).tolist()]


def test_8_and_16_bits_in_one_graph():
    deep = Storage("INT16", (0.01,), (0,))
    storages = {(0, 0): UNIT, (0, 1): deep, (0, 2): WIDE}
    own = Storage("INT8", (1.0,), (0,), 0, np.ones((1, 4), np.int8))
    filling = Filling(storages, {(0, 0, 0): deep, (0, 1, 1): own})
    content = _filled(_two_readers(), filling, "INT8", "FLOAT32")
    (graph,) = read_model(content).subgraphs
    names = [(op.name, op.version) for op in graph.operations[:3]]
    assert names == [("QUANTIZE", 2), ("RELU", 3), ("ADD", 2)]
    relu, total = run(content, [np.array([[-5, -1, 1, 7]], np.int8)], PLAIN)
    np.testing.assert_allclose(relu, [[0, 0, 1, 4]], atol=0.005)
    assert total.tolist() == [[-1, 1, 2, 5]]


def test_graphs_that_nobody_enters_have_no_ports():
    editor = Editor(_two_signatures())
    editor.tree.signatureDefs.pop()
    content = editor.packed()
    storages = _dense_storages() | {(1, tensor): s for (_, tensor), s in _dense_storages().items()}
    model = read_model(_filled(content, Filling(storages), "FLOAT32", "FLOAT32"))
    given = [[graph.tensors[i].dtype for i in graph.inputs] for graph in model.subgraphs]
    assert given == [["FLOAT32"], ["INT8"]]


def _two_signatures():
    """Two graphs with the same weights, each with its own input."""
    graphs, signatures = [], []
    for index, name in enumerate(("first", "second")):
        tensors = [
            handmade.tensor(f"{name}/x", (1, 4)),
            handmade.tensor("w", (2, 4), value=WEIGHTS),
            handmade.tensor("b", (2,), value=BIAS),
            handmade.tensor(f"{name}/y", (1, 2)),
        ]
        options = schema.FullyConnectedOptionsT()
        dense = handmade.operation("FULLY_CONNECTED", [0, 1, 2], [3], options=options)
        graphs.append(handmade.graph(tensors, [dense], [0], [3], name))
        signatures.append((name, index, {"x": 0}, {"y": 3}))
    return handmade.file(*graphs, signatures=signatures)


def test_signatures_share_their_weights():
    storages = _dense_storages() | {(1, tensor): s for (_, tensor), s in _dense_storages().items()}
    content = _filled(_two_signatures(), Filling(storages), "FLOAT32", "UINT8")
    model = read_model(content)
    assert [len(buffer) for buffer in model.buffers] == [0, 8, 8]
    assert [entry.key for entry in model.signatures] == ["first", "second"]
    interpreter = Interpreter(model_content=content)
    for key in ("first", "second"):
        result = interpreter.get_signature_runner(key)(x=np.array([[1, 2, 3, -1]], np.float32))
        assert result["y"].tolist() == [[117, 135]]


def test_the_same_filling_gives_the_same_bytes():
    storages = _dense_storages()
    backwards = dict(reversed(storages.items()))
    given = [
        _filled(_fully_connected(), Filling(each), "UINT8", "FLOAT32")
        for each in (storages, storages, backwards)
    ]
    assert given[0] == given[1] == given[2]


def test_equal_constants_are_stored_once_and_metadata_stays():
    editor = Editor(_two_readers())
    editor.add_metadata("note", b"kept")
    editor.add_metadata("other", b"unused")
    editor.tree.metadata.pop()
    fill(editor, Filling({}))
    model = read_model(editor.packed())
    assert model.metadata == {"note": b"kept"}
    assert [bytes(buffer) for buffer in model.buffers] == [b"", np.ones(4, "f4").tobytes(), b"kept"]


def test_operations_that_nothing_changes_keep_their_versions():
    tensors = [handmade.tensor(name, (1, 4)) for name in ("x", "a", "b")]
    steps = [
        handmade.operation("RELU", [0], [1], version=2),
        handmade.operation("ABS", [1], [2], options=schema.AbsOptionsT()),
    ]
    content = handmade.file(handmade.graph(tensors, steps, [0], [2]))
    (graph,) = read_model(_filled(content, Filling({(0, 2): UNIT}))).subgraphs
    assert [(op.name, op.version) for op in graph.operations] == [("RELU", 2), ("ABS", 1)]


def test_an_operation_that_the_table_does_not_know_keeps_its_version():
    tensors = [handmade.tensor("x", (1, 4)), handmade.tensor("y", (1, 4))]
    unknown = handmade.operation("ADD_N", [0], [1], version=7)
    content = handmade.file(handmade.graph(tensors, [unknown], [0], [1]))
    filling = Filling({(0, 0): UNIT}, {(0, 0, 0): Storage("FLOAT32")})
    (graph,) = read_model(_filled(content, filling)).subgraphs
    assert [(op.name, op.version) for op in graph.operations] == [("DEQUANTIZE", 2), ("ADD_N", 7)]


@pytest.mark.parametrize(
    ("storages", "ports", "message"),
    [
        ({(0, 1): UNIT}, (), "constant 'w' needs values"),
        ({(0, 9): UNIT}, (), "tensor 9 of subgraph 0, which has 4"),
        ({(0, 0): Storage("INT8", (0.0,), (0,))}, (), "scales above 0"),
        ({(0, 0): Storage("INT8", (1.0, 1.0), (0, 0))}, (), "one scale, or one for each index"),
        ({(0, 0): Storage("INT8", (1.0,), (0, 0))}, (), "Received: 2 zero points"),
        ({(0, 0): Storage("FLOAT32", (1.0,), (0,))}, (), "which has no scales"),
        ({(0, 0): Storage("INT7", (1.0,), (0,))}, (), "cannot be stored as 'INT7'"),
        ({(0, 1): Storage("INT8", (1.0,), (0,), 0, np.ones(8, np.int8))}, (), "values of \\(8,\\)"),
        (
            {(0, 1): Storage("INT4", (1.0,), (0,), 0, np.full((2, 4), 8))},
            (),
            "integers from -8 to 7. Received: int64 values from 8 to 8",
        ),
        ({(0, 1): Storage("INT8", (1.0,), (0,), 0, WEIGHTS)}, (), "Received: float32 values"),
        ({(0, 0): UNIT}, ("INT16", "INT8"), "'x' is stored as INT8.* Received: 'INT16'"),
        (
            {(0, 3): UNIT},
            ("INT8", "INT16"),
            "'y' is stored as INT8.* can be INT8 or FLOAT32, or UINT8",
        ),
        ({}, ("INT4", "INT8"), "must be one of .* Received: 'INT4'"),
    ],
)
def test_forms_that_do_not_fit_are_refused(storages, ports, message):
    with pytest.raises(ValueError, match=message):
        _filled(_fully_connected(), Filling(storages), *ports)


def test_no_operation_converts_to_4_bits():
    reads = {(0, 0, 0): Storage("INT4", (1.0,), (0,))}
    with pytest.raises(ValueError, match="No operation converts 'x' to INT4"):
        _filled(_fully_connected(), Filling({(0, 0): UNIT}, reads))


@pytest.mark.parametrize("position", [2, 3])
def test_an_absent_input_is_read_in_no_form(position):
    reads = {(0, 0, position): UNIT}
    with pytest.raises(ValueError, match=f"has no input {position} to read"):
        _filled(_fully_connected(bias=False), Filling({}, reads))
