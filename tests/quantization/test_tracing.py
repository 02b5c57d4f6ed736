import keras
import numpy as np
import pytest
from keras import layers as kl

import tfcompress as tfc
from exporters.converting import convert_model
from exporters.inspection import inspect

DATA = np.random.default_rng(0).random((8, 4), dtype=np.float32)


class Twice(keras.Model):
    """Two layers, the first of them called twice."""

    def __init__(self, name):
        super().__init__(name=name)
        self.first, self.second = kl.Dense(4, name="a"), kl.Dense(4, name="a_1")

    def call(self, x):
        return keras.ops.tanh(self.second(self.first(self.first(x))))


@pytest.fixture(scope="module")
def model():
    """Layers, models and operations whose names differ from others' by a number."""
    keras.backend.clear_session()  # Keras counts the names of operations anew
    keras.utils.set_random_seed(0)
    x = inputs = keras.Input((4,), name="numbers")
    x = kl.Dense(4, name="a")(x)
    x = keras.ops.sigmoid(kl.Dense(4, name="a_1")(x))
    nested = keras.Sequential([keras.Input((4,)), kl.Dense(4, name="a_1")], name="nested")
    x = Twice("twice")(nested(nested(x)))
    return keras.Model(inputs, kl.Dense(3, name="nested_1")(x), name="a")


@pytest.mark.parametrize("dtype", ["float32", "int8", "quantization-aware"])
def test_tensors_are_named_after_the_layers_that_make_them(model, dtype):
    if dtype == "quantization-aware":
        content = convert_model(tfc.quantize_aware(model).calibrate(DATA)).flatbuffer
    else:
        content = convert_model(model, dtype, representative_data=DATA).flatbuffer
    found = inspect(content)
    layers = dict.fromkeys(operation.layer for operation in found.operations)
    assert list(layers) == [
        *("a", "a_1", "sigmoid", "nested/a_1"),
        *("twice/a", "twice/a_1", "twice", "nested_1"),
    ]
    assert [tensor.name for tensor in found.inputs] == ["numbers"]


def test_a_function_belongs_to_the_layer_that_calls_it():
    import tensorflow as tf

    @tf.function
    def arctangent(x):
        return tf.atan(x)

    inputs = keras.Input((4,))
    x = kl.Lambda(arctangent, name="a", output_shape=(4,))(kl.Dense(4, name="a_1")(inputs))
    with pytest.raises(RuntimeError, match="\n  a: Atan"):
        convert_model(keras.Model(inputs, x), "float32")


def test_a_model_without_operations_is_wrapped_and_exported():
    inputs = keras.Input((4,))
    quantized = tfc.quantize_aware(keras.Model(inputs, inputs)).calibrate(DATA)
    assert inspect(convert_model(quantized).flatbuffer).operations == ()
