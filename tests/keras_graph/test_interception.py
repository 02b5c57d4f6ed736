import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers as kl

from tfcompress.keras_graph.hooks import HookedCalls, HookPoint, walk_operations
from tfcompress.keras_graph.interception import VariableSwap, intercepted_calls


def test_calls_are_replaced_only_inside_the_block():
    layer = kl.Dense(2, kernel_initializer="ones")
    x = np.ones((1, 3), "float32")
    before = layer(x).numpy()
    with intercepted_calls([layer], lambda layer, call: lambda x: call(x) * 10):
        assert (layer(x).numpy() == before * 10).all()
    assert (layer(x).numpy() == before).all()
    assert "call" not in vars(layer)


def test_calls_are_restored_after_an_error():
    layer = kl.Dense(2)

    def fail(_):
        raise RuntimeError("inside")

    with (
        pytest.raises(RuntimeError, match="inside"),
        intercepted_calls([layer], lambda layer, call: fail),
    ):
        layer(np.ones((1, 3), "float32"))
    assert "call" not in vars(layer)


def test_interceptions_nest():
    layer = kl.Dense(1, kernel_initializer="ones")
    x = np.ones((1, 1), "float32")

    def add(number):
        return intercepted_calls([layer], lambda layer, call: lambda x: call(x) + number)

    with add(10):
        with add(100):
            assert layer(x).numpy() == 111
        assert layer(x).numpy() == 11


def test_swapped_variable_reads_as_the_tensor_and_others_can_be_assigned():
    swapped, other = keras.Variable([1.0, 2.0]), keras.Variable([3.0])
    with VariableSwap([(swapped, tf.constant([7.0, 8.0]))]):
        assert swapped.numpy().tolist() == [7.0, 8.0]
        other.assign([4.0])
    assert swapped.numpy().tolist() == [1.0, 2.0]
    assert other.numpy().tolist() == [4.0]


def test_swaps_nest():
    first, second = keras.Variable([1.0]), keras.Variable([2.0])
    with VariableSwap([(first, [10.0])]), VariableSwap([(second, [20.0])]):
        assert (first.numpy(), second.numpy()) == (10.0, 20.0)


def test_dropout_draws_new_numbers_inside_a_swap():
    dropout, unrelated = kl.Dropout(0.5), keras.Variable([1.0])
    x = np.ones((1, 64), "float32")
    draws = []
    for _ in range(2):
        with VariableSwap([(unrelated, [2.0])]):
            draws.append(dropout(x, training=True).numpy())
    assert (draws[0] != draws[1]).any()


def test_taps_show_outputs_preactivations_and_repeated_calls():
    inputs = keras.Input((2,))
    shared = kl.Dense(2, activation="relu", name="shared")
    hidden = shared(inputs)
    model = keras.Model(inputs, keras.ops.add(shared(hidden), hidden))
    add = model.operations[-1].name
    assert [path for path, _ in walk_operations(model)] == ["shared", add]
    seen = {}
    with HookedCalls(model).active(seen.setdefault):
        outputs = model(np.ones((1, 2), "float32"))
    assert [str(point) for point in seen] == [
        "shared:preactivation",
        "shared:output",
        "shared:preactivation[1,0]",
        "shared:output[1,0]",
        f"{add}:output",
    ]
    relu = tf.nn.relu(seen[HookPoint("shared", "preactivation")])
    assert (seen[HookPoint("shared")].numpy() == relu.numpy()).all()
    assert (seen[HookPoint(add)].numpy() == outputs.numpy()).all()


def test_what_a_tap_returns_is_what_the_model_goes_on_with():
    model = keras.Sequential(
        [keras.Input((2,)), kl.Dense(2, name="a"), kl.Dense(1, name="b", kernel_initializer="ones")]
    )

    def hook(point, x):
        return tf.zeros_like(x) + 3.0 if point.path == "a" else x

    with HookedCalls(model).active(hook):
        assert model(np.ones((1, 2), "float32")).numpy().tolist() == [[6.0]]
