import keras
import numpy as np
import tensorflow as tf
from keras import layers as kl

import tfcompress as tfc
from exporters import export_tflite
from tfcompress.quantization.placing.repeated import repeated


def test_finds_what_is_computed_twice():
    with tf.Graph().as_default() as graph:
        x = tf.compat.v1.placeholder(tf.float32, [2], name="x")
        y = tf.compat.v1.placeholder(tf.float32, [2], name="y")
        first = tf.nn.relu(tf.add(x, y, name="sum"), name="first")
        second = tf.nn.relu(tf.add(x, y, name="sum_again"), name="second")
        tf.nn.relu6(first, name="other_operation")
        tf.add(y, x, name="other_order")
        tf.nn.leaky_relu(first, alpha=0.1, name="steep")
        tf.nn.leaky_relu(second, alpha=0.2, name="other_attribute")
        tf.nn.leaky_relu(second, alpha=0.1, name="steep_again")
    assert repeated(graph.as_graph_def()) == {
        "sum_again": "sum",
        "second": "first",
        "steep_again": "steep",
    }


def test_constants_are_told_apart_by_value():
    with tf.Graph().as_default() as graph:
        for name, value in (("one", 1.0), ("two", 2.0), ("one_again", 1.0)):
            tf.constant(value, name=name)
    assert repeated(graph.as_graph_def()) == {"one_again": "one"}


def test_rectifiers_of_one_tensor_share_a_range(tmp_path):
    inputs = keras.Input((8, 8, 3))
    x = kl.Conv2D(4, 3, padding="same", name="stem")(inputs)
    left = kl.DepthwiseConv2D(3, padding="same", name="left")(kl.ReLU(name="relu_left")(x))
    right = kl.Conv2D(4, 3, padding="same", name="right")(kl.ReLU(name="relu_right")(x))
    model = keras.Model(inputs, kl.Add(name="sum")([kl.Add(name="both")([left, right]), x]))
    images = np.random.default_rng(0).normal(size=(32, 8, 8, 3)).astype("float32")
    quantized = tfc.quantize_aware(model).calibrate(images)
    rows = {point.path: row for point, row in quantized.placement.rows().items()}
    assert rows["relu_left"] == rows["relu_right"]
    report = export_tflite(quantized, tmp_path / "m.tflite", validation_data=images).report
    assert not report.float_operations
    assert report.agreement.within_one == 1.0
