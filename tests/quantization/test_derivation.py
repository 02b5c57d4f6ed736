"""Every weight that a model's outputs depend on is found again in its float file."""

import keras
import numpy as np
import pytest
from keras import layers as kl
from keras import ops

import tfcompress as tfc
from tfcompress.quantization.derivation import derive
from tfcompress.quantization.float_file import ConversionError, float_file
from tfcompress.quantization.tracing import made_up_weights, trace


@pytest.fixture(name="derived")
def _derived():
    """Return what derives the constants of three layers' file, with some of other weights."""
    layers = [kl.Dense(3, "relu", name=name) for name in "abc"]
    model = keras.Sequential([keras.Input((4,)), *layers])
    traced = trace(model)
    weights = made_up_weights(traced)

    def run(*others):
        replaced = {
            name: np.float32(value + 0.5 * np.arange(value.size).reshape(value.shape))
            for name, value in weights.items()
            if traced.weights[name].path.removeprefix(f"{model.name}/") in others
        }
        assert len(replaced) == len(others)
        _, file = float_file(traced, weights | replaced)
        return derive(traced, weights, file, {})

    return run


def test_kernels_and_biases_are_explained(derived):
    operands = {name for explanation in derived().values() for name in explanation.operands}
    assert operands >= {f"weight_{i}:0" for i in range(6)}


def test_a_kernel_that_no_constant_follows_from_is_refused_by_its_layer(derived):
    with pytest.raises(ConversionError, match=r"these layers .* change them: b\. export_tflite"):
        derived("b/kernel")


def test_a_bias_that_no_constant_follows_from_is_refused_with_its_kernel(derived):
    with pytest.raises(ConversionError, match=r"change them: a, c\."):
        derived("a/bias", "c/bias")


class Codes(kl.Layer):
    """Reads its weights twice, once transposed, and squared."""

    def build(self, shape):
        self.codes = self.add_weight(shape=(shape[-1], 6), name="codes")

    def call(self, x):
        near = ops.sum(self.codes**2, axis=0) - ops.matmul(x, self.codes)
        return ops.matmul(ops.softmax(near), ops.transpose(self.codes))


def test_weights_that_are_read_in_two_orders_are_explained():
    assert tfc.quantize_aware(keras.Sequential([keras.Input((4,)), Codes()]))


def test_weights_that_no_output_depends_on_need_no_constant():
    inputs = keras.Input((4,))
    layer = kl.LSTM(3, return_state=True, return_sequences=True)
    _, hidden, _ = layer(kl.Reshape((2, 2))(inputs))
    assert tfc.quantize_aware(keras.Model(inputs, kl.Dense(2)(hidden)))
