import keras
import numpy as np
import pytest
from keras import layers as kl


@pytest.fixture
def images():
    generator = np.random.default_rng(0)
    brightness = generator.random((48, 1, 1, 1), dtype="float32")
    return brightness * generator.random((48, 10, 10, 3), dtype="float32")


@pytest.fixture
def shaken():
    """Give a model weights and statistics whose channels differ a hundredfold, as training may."""

    def shake(model, seed=0):
        generator = np.random.default_rng(seed)
        for layer in model._flatten_layers():
            if isinstance(layer, kl.BatchNormalization):
                size = layer.moving_mean.shape[0]
                layer.gamma.assign(10.0 ** generator.uniform(-1, 0.5, size))
                layer.beta.assign(generator.normal(size=size) * 0.3)
                layer.moving_mean.assign(generator.normal(size=size) * 0.3)
                layer.moving_variance.assign(10.0 ** generator.uniform(-0.5, 0.5, size))
            elif getattr(layer, "bias", None) is not None:
                layer.bias.assign(generator.normal(size=layer.bias.shape) * 0.2)
        return model

    return shake


@pytest.fixture
def mobile_net(shaken):
    """Build a small net of convolutions, depthwise ones and a head, with normalizations."""

    def build(activation="relu", head_units=4):
        inputs = x = keras.Input((10, 10, 3), name="image")
        for number, filters in enumerate((8, 12)):
            x = kl.Conv2D(filters, 3 if number == 0 else 1, name=f"conv_{number}")(x)
            x = kl.BatchNormalization(name=f"norm_{number}")(x)
            x = kl.Activation(activation, name=f"relu_{number}")(x)
            x = kl.DepthwiseConv2D(3, padding="same", use_bias=False, name=f"depthwise_{number}")(x)
            x = kl.BatchNormalization(name=f"depthwise_norm_{number}")(x)
            x = kl.Activation(activation, name=f"depthwise_relu_{number}")(x)
        x = kl.GlobalAveragePooling2D(name="pool")(x)
        outputs = kl.Dense(head_units, name="head")(x)
        return shaken(keras.Model(inputs, outputs, name="mobile"))

    return build
