from handmade import file, graph, operation, tensor

from tfcompress.tflite.flatbuffer import read_model
from tfcompress.tflite.model import float_operations


def int8(name):
    return tensor(name, (1, 4), "INT8", scales=[0.1], zero_points=[0])


def test_an_integer_file_with_float_edges_has_none():
    main = graph(
        [tensor("x", (1, 4)), int8("q"), int8("r"), tensor("y", (1, 4))],
        [
            operation("QUANTIZE", [0], [1]),
            operation("RELU", [1], [2]),
            operation("DEQUANTIZE", [2], [3]),
        ],
        [0],
        [3],
    )
    assert float_operations(read_model(file(main))) == ()


def test_an_island_shows_with_its_edges():
    main = graph(
        [int8("x"), tensor("f", (1, 4)), tensor("g", (1, 4)), int8("y")],
        [
            operation("DEQUANTIZE", [0], [1]),
            operation("NEG", [1], [2]),
            operation("QUANTIZE", [2], [3]),
        ],
        [0],
        [3],
    )
    names = [op.name for op in float_operations(read_model(file(main)))]
    assert names == ["DEQUANTIZE", "NEG", "QUANTIZE"]


def test_a_hybrid_operation_counts():
    main = graph(
        [
            tensor("x", (1, 2)),
            tensor("w", (1, 2), "INT8", b"\1\2", [0.1], [0]),
            tensor("y", (1, 1)),
        ],
        [operation("FULLY_CONNECTED", [0, 1, -1], [2])],
        [0],
        [2],
    )
    assert [op.name for op in float_operations(read_model(file(main)))] == ["FULLY_CONNECTED"]


def test_the_edge_of_a_loop_body_is_no_edge_of_the_model():
    body = graph([tensor("x", (1, 4)), int8("q")], [operation("QUANTIZE", [0], [1])], [0], [1])
    main = graph([int8("x"), int8("y")], [operation("RELU", [0], [1])], [0], [1])
    model = read_model(file(main, body))
    assert [(op.name, op.subgraph) for op in float_operations(model)] == [("QUANTIZE", 1)]
    entry = read_model(file(main, body, signatures=[("s", 1, {"x": 0}, {"y": 1})]))
    assert float_operations(entry) == ()


def test_published_int8_models_have_none(shared):
    for path in sorted((shared / "models" / "mlperf_tiny").glob("*.tflite")):
        assert float_operations(read_model(path)) == (), path.name
