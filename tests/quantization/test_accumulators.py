"""Biases on the grid of the device's sums."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers as kl
from operation_parity import compare_operations

import tfcompress as tfc
from exporters.converting import convert_model
from tfcompress.quantization.accumulators import AccumulatorUnits, round_to_unit
from tfcompress.tflite.constants import constant_value


def test_rounding_to_a_unit_by_hand():
    values = tf.constant([0.24, -0.26, 0.75])
    with tf.GradientTape() as tape:
        tape.watch(values)
        rounded = round_to_unit(values, tf.constant([0.5, 0.5, 0.25]))
    np.testing.assert_allclose(rounded, [0.0, -0.5, 0.75])
    np.testing.assert_allclose(tape.gradient(rounded, values), [1.0, 1.0, 1.0])


def test_a_bias_is_a_multiple_of_input_step_times_weight_step():
    layer = kl.Dense(2)
    layer.build((1, 2))
    layer.bias.assign([0.24, -0.26])
    x = tf.constant([[0.0, 0.0]])
    grid = (tf.constant(0.5), tf.constant(0.0))
    steps = tf.constant([0.2, 0.1])
    units = AccumulatorUnits(lambda tensor: lambda: grid, lambda layer: lambda: steps)
    np.testing.assert_allclose(units.wrap(layer, layer.call, False)(x), [[0.2, -0.25]], rtol=1e-6)
    np.testing.assert_allclose(layer.bias, [0.24, -0.26])


def test_a_folded_shift_is_a_multiple_of_the_scaled_unit():
    conv, norm = kl.Conv2D(1, 1, use_bias=False), kl.BatchNormalization(epsilon=0.0)
    x = tf.zeros((1, 1, 1, 1))
    norm.build(conv(x).shape)
    norm.set_weights([np.float32([v]) for v in (2.0, 0.33, 0.1, 4.0)])  # scale 1, shift 0.23
    known = {id(x): lambda: (tf.constant(0.5), tf.constant(0.0))}
    units = AccumulatorUnits(
        lambda tensor: known.get(id(tensor)),
        lambda layer: (lambda: tf.constant([0.2])) if layer is conv else None,
    )
    y = units.wrap(conv, conv.call, False)(x)
    folded = units.wrap(norm, norm.call, False)(y, training=False)
    np.testing.assert_allclose(folded, 0.2, rtol=1e-6)
    with_batch_statistics = units.wrap(norm, norm.call, True)(y, training=False)
    np.testing.assert_allclose(with_batch_statistics, 0.23, rtol=1e-6)


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).random((64, 12, 12, 3), dtype="float32")


def make_net(first):
    return keras.Sequential(
        [
            keras.Input((12, 12, 3)),
            *first,
            kl.MaxPooling2D(),
            kl.Conv2D(8, 3, activation="relu", bias_initializer="normal"),
            kl.Flatten(),
            kl.Dense(5, bias_initializer="normal"),
        ]
    )


def test_halves_of_averages_go_away_from_the_integer_zero():
    x = tf.reshape(tf.constant([0.0, 0.5, 2.0, 2.5]), (1, 2, 2, 1))
    for middle, expected in ((1.0, 0.0), (0.2, 0.5)):
        grid = (tf.constant(0.5), tf.constant(middle))
        units = AccumulatorUnits(lambda tensor, grid=grid: lambda: grid, lambda layer: None)
        pool = kl.AveragePooling2D((1, 2))
        first, second = units.wrap(pool, pool.call, False)(x).numpy().ravel()
        assert 0.5 * np.floor(first / 0.5 + 0.5) == expected
        assert 0.5 * np.floor(second / 0.5 + 0.5) == 2.5


@pytest.mark.parametrize("kind", ["normalized", "with a bias", "averaged"])
def test_the_default_kernels_compute_what_keras_does(kind, images):
    first = {
        "normalized": [kl.Conv2D(8, 3, use_bias=False), kl.BatchNormalization(), kl.ReLU()],
        "with a bias": [kl.Conv2D(8, 3, bias_initializer="normal"), kl.BatchNormalization()],
        "averaged": [kl.Conv2D(8, 3), kl.AveragePooling2D(3, 1, "same"), kl.AveragePooling2D(2, 1)],
    }[kind]
    net = make_net(first)
    for layer in first:
        if isinstance(layer, kl.BatchNormalization):
            layer.set_weights([np.random.default_rng(i).uniform(0.5, 1.5, 8) for i in range(4)])
    quantized = tfc.quantize_aware(net).calibrate(images)
    converted = convert_model(quantized)
    for entry in compare_operations(quantized, converted.flatbuffer, images, ("xnnpack",)):
        # What is left is the rounding of float32 sums: some values in ten thousand.
        assert entry.alone["xnnpack"].share <= 3e-4, entry
        assert entry.alone["xnnpack"].largest <= 1


def test_the_file_holds_the_biases_of_the_simulation(images):
    net = make_net([kl.Conv2D(8, 3, bias_initializer="normal")])
    quantized = tfc.quantize_aware(net).calibrate(images)
    content = convert_model(quantized).content
    graph = content.subgraphs[0]
    first = next(op for op in graph.operations if op.name == "CONV_2D")
    data, kernel, bias = (graph.tensors[index] for index in first.inputs)
    unit = data.quantization.scales[0] * np.array(kernel.quantization.scales)
    float_bias = keras.ops.convert_to_numpy(net.layers[0].bias)
    np.testing.assert_array_equal(constant_value(content, bias), np.round(float_bias / unit))
