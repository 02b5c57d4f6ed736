"""Small networks, trained with the kernel set "micro", against TFLite Micro's interpreter."""

import importlib.util

import keras
import numpy as np
import pytest
from keras import layers as kl

import tfcompress as tfc
from exporters import load
from exporters.converting import convert_model

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("tflite_micro") is None,
    reason="tflite-micro is not installed: pip install '.[micro]'",
)
EXAMPLES = 32


def rectified(x, limit=None):
    return kl.ReLU(limit)(kl.BatchNormalization(momentum=0.5)(x))


def sign_net():
    inputs = keras.Input((16, 16, 3))
    x = rectified(kl.Conv2D(8, 3, 2, padding="same", use_bias=False)(inputs), 6.0)
    for channels, stride in ((16, 2), (16, 1)):
        x = rectified(kl.DepthwiseConv2D(3, stride, padding="same", use_bias=False)(x), 6.0)
        x = rectified(kl.Conv2D(channels, 1, use_bias=False)(x), 6.0)
    return keras.Model(inputs, kl.Dense(10)(kl.GlobalAveragePooling2D()(x)))


def lenet():
    layers = [
        *(kl.Conv2D(6, 5, padding="same", activation="relu"), kl.MaxPooling2D()),
        *(kl.Conv2D(16, 5, activation="relu"), kl.MaxPooling2D(), kl.Flatten()),
        *(kl.Dense(60, activation="relu"), kl.Dense(40, activation="relu"), kl.Dense(10)),
    ]
    return keras.Sequential([keras.Input((20, 20, 1)), *layers])


def residual_net():
    inputs = keras.Input((12, 12, 3))
    x = rectified(kl.Conv2D(8, 3, padding="same", use_bias=False)(inputs))
    for channels, stride in ((8, 1), (16, 2)):
        branch = rectified(kl.Conv2D(channels, 3, stride, padding="same", use_bias=False)(x))
        branch = kl.BatchNormalization()(kl.Conv2D(channels, 3, padding="same")(branch))
        shortcut = x if stride == 1 else kl.Conv2D(channels, 1, stride)(x)
        x = kl.ReLU()(kl.Add()([branch, shortcut]))
    return keras.Model(inputs, kl.Dense(10)(kl.GlobalAveragePooling2D()(x)))


def perceptron():
    layers = [kl.Flatten(), kl.Dense(64, activation="relu"), kl.Dense(32, activation="tanh")]
    return keras.Sequential([keras.Input((14, 14, 1)), *layers, kl.Dense(10)])


def keyword_net():
    inputs = keras.Input((20, 10, 1))
    x = rectified(kl.Conv2D(12, (5, 3), 2, padding="same", use_bias=False)(inputs))
    x = rectified(kl.DepthwiseConv2D(3, padding="same", use_bias=False)(x))
    x = kl.AveragePooling2D(2)(rectified(kl.Conv2D(16, 1, use_bias=False)(x)))
    return keras.Model(inputs, kl.Dense(10, activation="softmax")(kl.Flatten()(x)))


def u_net():
    def block(x, channels):
        return rectified(kl.Conv2D(channels, 3, padding="same", use_bias=False)(x))

    inputs = keras.Input((8, 8, 3))
    first = block(inputs, 8)
    x = block(kl.MaxPooling2D()(first), 16)
    x = block(kl.Concatenate()([kl.Conv2DTranspose(8, 2, 2)(x), first]), 8)
    return keras.Model(inputs, kl.Conv2D(2, 1)(x))


NETWORKS = [sign_net, lenet, residual_net, perceptron, keyword_net, u_net]
SCHEMES = {
    "int8": tfc.Scheme(kernels="micro"),
    "int16x8": tfc.Scheme(activation_bits=16, symmetric_activations=True, kernels="micro"),
}


def trained(network, scheme, images):
    keras.utils.set_random_seed(0)
    q = tfc.quantize_aware(network(), scheme)
    q.compile(keras.optimizers.Adam(1e-3), "mse")
    zeros = np.zeros((EXAMPLES, *q.model.output_shape[1:]))
    q.fit(images, zeros, batch_size=8, epochs=2, verbose=0)
    return q


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("network", NETWORKS)
def test_inference_equals_the_microcontroller_in_every_value(network, scheme):
    shape = network().input_shape[1:]
    images = np.random.default_rng(0).normal(size=(EXAMPLES, *shape)).astype("float32")
    q = trained(network, SCHEMES[scheme], images)
    (found,) = load(convert_model(q).flatbuffer, kernels="micro").predict(images)
    assert np.unique(found).size > 10  # the network says more than one thing
    np.testing.assert_array_equal(q.predict(images, verbose=0), found)
