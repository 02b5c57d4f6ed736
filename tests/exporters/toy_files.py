"""One small Keras model and its .tflite files, made once for all tests of a process."""

import functools

import keras
import numpy as np
import tensorflow as tf

from tfcompress.compat.tensorflow_graphs import freeze_variables

CLASSES = 5


@functools.cache
def model() -> keras.Model:
    """Convolutions with batch normalization in a nested model, a skip, pooling, dense."""
    keras.utils.set_random_seed(3)
    encoder = keras.Sequential(
        [
            keras.Input((6, 6, 8)),
            keras.layers.DepthwiseConv2D(3, padding="same", use_bias=False, name="depthwise"),
            keras.layers.BatchNormalization(name="norm"),
            keras.layers.ReLU(6.0, name="act"),
        ],
        name="encoder",
    )
    image = keras.Input((12, 12, 3), name="image")
    x = keras.layers.Conv2D(8, 3, 2, padding="same", activation="relu", name="stem")(image)
    x = keras.layers.Add(name="skip")([x, encoder(x)])
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    x = keras.layers.Dense(CLASSES, name="head", kernel_initializer="orthogonal")(x)
    return keras.Model(image, x, name="toy")


@functools.cache
def images(count: int = 64) -> np.ndarray:
    """Random images between 0 and 1."""
    return np.random.default_rng(0).random((count, 12, 12, 3), np.float32)


@functools.cache
def content(kind: str) -> bytes:
    """The file as "float32", "dynamic", "int8", or "int8 float io" (float in and out)."""
    spec = tf.TensorSpec((1, 12, 12, 3), tf.float32, name="image")
    function = tf.function(lambda image: model()(image, training=False))
    concrete = freeze_variables(function.get_concrete_function(spec))
    converter = tf.lite.TFLiteConverter.from_concrete_functions([concrete], model())
    if kind != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if kind.startswith("int8"):
        converter.representative_dataset = lambda: ([image[None]] for image in images())
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    if kind == "int8":
        converter.inference_input_type = converter.inference_output_type = tf.int8
    return converter.convert()


def converted(function, *shape: int) -> bytes:
    """The float file of a function of one tensor."""
    holder = tf.Module()
    holder.call = tf.function(function, input_signature=[tf.TensorSpec(shape, tf.float32)])
    concrete = holder.call.get_concrete_function()
    return tf.lite.TFLiteConverter.from_concrete_functions([concrete], holder).convert()
