import handmade
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from handmade import file, graph, operation, tensor

from tfcompress.tflite.constants import constant_value
from tfcompress.tflite.editing import OperationCutter, compact
from tfcompress.tflite.flatbuffer import read_model
from tfcompress.tflite.names import layer_scopes, short_name


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("net/conv/BiasAdd;net/conv/convolution;net/norm/mul", "/conv/BiasAdd;/norm/"),
        ("net/block/conv/Relu;net/block/norm/add", "/block/conv/Relu;/block/norm/"),
        ("net/conv/BiasAdd/ReadVariableOp", "/conv/BiasAdd/ReadVariableOp"),
        ("serving_default_x:0", "serving_default_x:0"),
        ("", ""),
        ("net/act", "net/act"),
        ("PartitionedCall:0;net/conv/add", "PartitionedCall:0;/conv/"),
    ],
)
def test_short_names_tell_the_same_layers(name, expected):
    assert short_name(name) == expected
    assert layer_scopes(expected) == layer_scopes(name)
    assert short_name(expected) == expected


def test_the_content_stays():
    kernel = np.arange(4, dtype=np.int8)
    content = handmade.file(
        handmade.graph(
            [
                handmade.tensor("net/a/x", (4,), "INT8", scales=[0.5], zero_points=[3]),
                handmade.tensor("net/a/kernel", (4,), "INT8", kernel),
                handmade.tensor("net/a/add;net/a/mul;net/b/sub", (4,), "INT8"),
                handmade.tensor("other/a/x", (4,), "INT8"),  # would be called like the first
            ],
            [handmade.operation("ADD", [0, 1], [2]), handmade.operation("NEG", [2], [3])],
            [0],
            [3],
        ),
        signatures=[("default", 0, {"x": 0}, {"y": 3})],
    )
    before, after = read_model(content), read_model(compact(content))
    graph = after.subgraphs[0]
    names = [tensor.name for tensor in graph.tensors]
    assert names == ["/a/x", "/a/kernel", "/a/add;/b/", "/a/x_2"]
    np.testing.assert_array_equal(constant_value(after, graph.tensors[1]), kernel)
    assert graph.tensors[0].quantization == before.subgraphs[0].tensors[0].quantization
    assert graph.operations == before.subgraphs[0].operations
    assert after.signatures == before.signatures
    assert after.size < before.size
    assert compact(compact(content)) == compact(content)


def test_an_operation_runs_alone():
    """y = W x + b, then relu; W = [[1, -1]], b = [-3]."""
    main = graph(
        [
            tensor("unused", (7,)),
            tensor("x", (1, 2)),
            tensor("w", (1, 2), "FLOAT32", np.array([[1, -1]], np.float32)),
            tensor("b", (1,), "FLOAT32", np.array([-3], np.float32)),
            tensor("h", (1, 1)),
            tensor("y", (1, 1)),
        ],
        [operation("FULLY_CONNECTED", [1, 2, 3], [4]), operation("RELU", [4], [5])],
        [1],
        [5],
    )
    content = file(main)
    cutter = OperationCutter(content, read_model(content))
    for index, fed, expected in ((0, [[5, 1]], [[1]]), (1, [[-2]], [[0]])):
        cut = cutter.cut(index)
        assert len(read_model(cut).subgraphs[0].operations) == 1
        interpreter = Interpreter(model_content=cut)
        interpreter.allocate_tensors()
        interpreter.set_tensor(0, np.array(fed, np.float32))
        interpreter.invoke()
        output = interpreter.get_output_details()[0]["index"]
        np.testing.assert_array_equal(interpreter.get_tensor(output), expected)


def test_a_loop_cannot_be_cut(shared):
    content = (shared / "models" / "litert_testdata" / "nested_while.bin").read_bytes()
    assert OperationCutter(content, read_model(content)).cut(0) is None
