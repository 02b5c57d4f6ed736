"""When a float file and its model are alike, and when the file is wrong."""

import keras
import numpy as np
import pytest
from keras import layers as kl

from exporters.converting import convert_model
from tfcompress.quantization.deployed_graph import operation_layers
from tfcompress.quantization.float_file import ConversionError, float_file
from tfcompress.quantization.float_parity import are_alike, first_wrong, nudge, require_right_file
from tfcompress.quantization.tracing import trace
from tfcompress.tflite.model import Operation, Subgraph

X = np.float32([[1.0, -2.0]])


@pytest.mark.parametrize(("factor", "alike"), [(1.0, True), (1.0002, True), (1.001, False)])
def test_rounding_is_told_from_another_result(factor, alike):
    assert are_alike([factor * X], [X], lambda: [X]) is alike


def test_a_computation_that_magnifies_rounding_is_allowed_to():
    def steep(x):
        return [np.float32(x * 1e4) ** 2 % 97.0]

    nudged = nudge(X, np.random.default_rng(0))
    assert not np.array_equal(nudged, X)
    np.testing.assert_allclose(nudged, X, rtol=1.1e-6)
    assert are_alike([steep(X)[0] * 1.01], steep(X), lambda: steep(nudged))


def test_a_model_may_give_out_nothing_but_rounding():
    x = inputs = keras.Input((4,), dtype="int32")  # integers cannot be moved a little
    x = kl.Embedding(8, 6)(x)
    x = keras.ops.cumsum(x, axis=1)
    x = x - keras.ops.mean(x, axis=-1, keepdims=True)
    model = keras.Model(inputs, keras.ops.mean(x, axis=-1))
    assert convert_model(model, "float32").flatbuffer


def test_what_is_not_finite_is_left_out():
    expected = np.float32([np.nan, np.inf, 2.0])
    assert are_alike([np.float32([1.0, 3.0, 2.0])], [expected], lambda: [expected])
    assert not are_alike([np.float32([1.0, 3.0, np.nan])], [expected], lambda: [expected])


def test_a_file_with_another_kernel_is_refused_by_the_name_of_its_layer():
    model = keras.Sequential([keras.Input((4,)), *(kl.Dense(3, name=name) for name in "abc")])
    traced = trace(model)
    right = {name: value.numpy() for name, value in traced.weight_values().items()}

    def check(weights):
        content, file = float_file(traced, weights)
        layers = operation_layers(traced, file, "abc")
        require_right_file(model, traced, content, file.subgraphs[0], layers)

    check(right)
    (kernel,) = [n for n, v in traced.weights.items() if v.path.endswith("b/kernel")]
    with pytest.raises(ConversionError, match=f"{model.name!r} does not compute.*Layer 'b' is"):
        check(right | {kernel: right[kernel] + 0.5})


def _graph(*operations, outputs):
    made = [Operation(i, "ADD", 1, read, write, {}) for i, (read, write) in enumerate(operations)]
    return Subgraph(0, "", (), tuple(made), (0,), outputs)


def test_the_first_wrong_operation_is_that_behind_which_nothing_is_right():
    # 0 -> 1 -> 2 -> 4 and 0 -> 3 -> 4: no layer makes 1, 2 is wrong, and so is 4 behind it.
    graph = _graph(((0,), (1,)), ((1,), (2,)), ((0,), (3,)), ((2, 3), (4,)), outputs=(4,))
    values = {i: np.float32([i, i + 0.5]) for i in range(5)}
    right = [np.float32([3.5, 3.0]), np.float32([9.0, 9.0])]  # 3, in another order
    assert first_wrong(graph, values, right) == 0
    assert first_wrong(graph, values, [*right, values[1]]) == 1
    assert first_wrong(graph, values, [*right, values[2]]) == 3
    assert first_wrong(graph, values, [*right, values[4]]) is None
