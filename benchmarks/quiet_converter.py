"""The plain TFLite converter, which tells of its temporary folder, in silence."""

import contextlib
import io

import tensorflow as tf


def convert(converter):
    """Return the file that a converter makes."""
    with contextlib.redirect_stdout(io.StringIO()):
        return converter.convert()


def convert_quantized(model):
    """Return the int8 file of a tf_keras model that TFMOT has made quantization-aware."""
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    return convert(converter)
