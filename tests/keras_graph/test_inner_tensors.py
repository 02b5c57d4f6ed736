import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers as kl

from tfcompress.keras_graph.hooks import HookedCalls, HookPoint
from tfcompress.keras_graph.inner_tensors import InnerTensors, is_inner_role, unwatched


class Gate(kl.Layer):
    """Computes x * sigmoid(x) + x * x."""

    def call(self, x):
        return x * keras.ops.sigmoid(x) + x * x


def traced(function, *arguments):
    return tf.function(function, autograph=False)(*arguments)


def test_every_operation_is_offered_under_its_type_and_number():
    roles = []

    def run(x):
        inner = InnerTensors()
        with inner.within(lambda role, tensor: roles.append(role) or tensor):
            return tf.add(x * tf.sigmoid(x), x * x)

    traced(run, tf.constant([2.0]))
    # The sum is read by nothing inside.
    assert roles == ["tf.Sigmoid", "tf.Mul", "tf.Mul_1"]
    assert all(map(is_inner_role, roles))


def test_readers_get_what_the_tap_returns_and_gradients_pass_through_it():
    def run(x):
        inner = InnerTensors()
        with (
            tf.GradientTape() as tape,
            inner.within(lambda role, tensor: tensor * 3.0 if role == "tf.Mul" else tensor),
        ):
            tape.watch(x)
            y = x * x
            z = y + 1.0
        return z, tape.gradient(z, x)

    z, gradient = traced(run, tf.constant(2.0))
    assert z.numpy() == 13.0  # 3 * 2 * 2 + 1
    assert gradient.numpy() == 12.0  # 3 * 2 * 2


def test_what_is_unwatched_is_neither_offered_nor_counted():
    roles = []

    def run(x):
        inner = InnerTensors()
        with inner.within(lambda role, tensor: roles.append(role) or tensor):
            return tf.abs(unwatched(lambda x: x * x)(x) * x)

    traced(run, tf.constant([2.0]))
    assert roles == ["tf.Mul"]


def test_the_graph_is_left_as_it_was():
    def run(x):
        graph = tf.compat.v1.get_default_graph()
        make = graph._create_op_internal
        with pytest.raises(ZeroDivisionError), InnerTensors().within(failing):
            tf.abs(x * x)
        assert graph._create_op_internal == make
        return x

    def failing(role, tensor):
        raise ZeroDivisionError

    traced(run, tf.constant(1.0))


def test_nothing_is_offered_eagerly():
    with InnerTensors().within(pytest.fail):
        assert tf.add(1.0, 2.0).numpy() == 3.0


def test_taps_reach_inside_layers_and_between_them():
    inputs = keras.Input((3,))
    gate = Gate(name="gate")
    model = keras.Model(inputs, gate(gate(inputs)))
    seen = {}

    def hook(point, tensor):
        seen[point] = tensor
        return tensor

    @tf.function(autograph=False)
    def run(x):
        seen.clear()
        with HookedCalls(model).active(hook):
            outputs = model(x)
        return outputs, [seen[HookPoint("gate", "tf.Mul_1", call)] for call in (0, 1)]

    x = np.array([[1.0, -2.0, 0.5]], "float32")
    outputs, (first, second) = run(x)
    np.testing.assert_allclose(first, x * x)
    np.testing.assert_allclose(second, gate(x).numpy() ** 2)
    np.testing.assert_allclose(outputs, gate(gate(x)), rtol=1e-6)


def test_a_tensor_handed_out_twice_is_tapped_once():
    class Twice(kl.Layer):
        def call(self, x):
            y = x + 1.0
            return y, [y, x * 2.0]

    inputs = keras.Input((2,))
    model = keras.Model(inputs, Twice(name="twice")(inputs))

    def hook(point, tensor):
        return tensor * 10.0 if point == HookPoint("twice") else tensor

    with HookedCalls(model).active(hook):
        first, (second, third) = model(np.ones((1, 2), "float32"))
    assert first.numpy().tolist() == second.numpy().tolist() == [[20.0, 20.0]]
    assert third.numpy().tolist() == [[2.0, 2.0]]


def test_each_use_of_an_activation_has_a_role():
    class Twofold(kl.Layer):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.activation = keras.activations.relu

        def call(self, x):
            return self.activation(x) + self.activation(-x)

    inputs = keras.Input((2,))
    model = keras.Model(inputs, Twofold(name="layer")(inputs))
    roles = []
    with HookedCalls(model).active(lambda point, x: roles.append(point.role) or x):
        model(np.ones((1, 2), "float32"))
    assert roles[:2] == ["preactivation", "preactivation_1"]
