"""A file is filled with the numbers that inference computes with, down to the last bit."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers as kl

import tfcompress as tfc


@pytest.mark.parametrize("bits", [8, 16])
def test_scales_and_biases_are_those_of_inference(bits):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((6, 6, 8))
    hidden = kl.BatchNormalization()(kl.Conv2D(256, 3, use_bias=False)(inputs))
    model = keras.Model(inputs, kl.Dense(3)(kl.GlobalAveragePooling2D()(hidden)))
    random = np.random.default_rng(0)
    for variable in model.layers[2].variables:
        variable.assign(random.uniform(0.5, 1.5, variable.shape))
    q = tfc.quantize_aware(
        model, tfc.Scheme(activation_bits=bits, symmetric_activations=bits == 16)
    )
    q.calibrate(random.normal(size=(8, 6, 6, 8)).astype("float32"))
    held = q.deployed.numbers().tensors()
    used = tf.function(lambda: q.deployed._numbers().tensors())()
    assert max(tensor.shape.num_elements() for tensor in held) >= 256
    for ours, theirs in zip(held, used, strict=True):
        np.testing.assert_array_equal(ours, theirs)
