import numpy as np
from ai_edge_litert.interpreter import Interpreter
from handmade import file, graph, operation, tensor

from tfcompress.tflite.editing import OperationCutter
from tfcompress.tflite.flatbuffer import read_model


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
