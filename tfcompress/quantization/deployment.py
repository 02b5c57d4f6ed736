"""How the TFLite converter makes a file with the numerics of a scheme."""

import dataclasses
from collections.abc import Callable

import tensorflow as tf

from tfcompress.quantization.float_islands import without_barriers
from tfcompress.quantization.int16_file import quantize_to_int16
from tfcompress.quantization.scheme import Scheme


def configure(converter: tf.lite.TFLiteConverter, scheme: Scheme) -> None:
    """Set the options of a converter that are the same in training and after it.

    Args:
        converter: what makes a file of a model that computes with the scheme, or of a float model
            that is to be quantized with it.
        scheme: the numerics.
    """
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if scheme.weight_bits == 16:
        converter.target_spec.supported_types = [tf.float16]
    converter._experimental_disable_per_channel = not scheme.per_channel_weights
    # One scale per channel needs FULLY_CONNECTED version 12, which runtimes before 2.17 and the
    # Edge TPU compiler refuse.
    dense = scheme.dense_per_channel
    converter._experimental_disable_per_channel_quantization_for_dense_layers = not dense


@dataclasses.dataclass(frozen=True)
class Deployment:
    """How a file is made of a model that computes with the numerics of its deployed form.

    Attributes:
        configure: sets the converter's options.
        finish: takes the converter's file and returns the one to deploy.
    """

    configure: Callable[[tf.lite.TFLiteConverter], None]
    finish: Callable[[bytes], bytes]


def deployment_of(model) -> Deployment:
    """Return how a file is made of a quantization-aware model.

    Args:
        model: what ``quantize_aware`` made.

    Returns:
        What is done before and after the conversion.
    """
    if model.scheme.activation_bits == 16:
        return Deployment(lambda converter: None, quantize_to_int16)
    return Deployment(
        lambda converter: configure(converter, model.scheme),
        without_barriers if model.float_layers else lambda file: file,
    )
