"""From ranges and weights to integers, on numbers that a reader can check."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers as kl

import tfcompress as tfc
from exporters.converting import convert_model
from exporters.running.runtime import load
from tfcompress.quantization.arithmetic.fake_quantization import (
    fake_quantize_activations,
    fake_quantize_weights,
)
from tfcompress.quantization.integers import _widened, nearest_integers, range_grid


def test_the_grid_of_a_range_by_hand():
    # 255 steps from -1 to 1.55 are 0.01 each; zero is the 100th, -28 among int8.
    grid = range_grid(tf.constant(-1.0), tf.constant(1.55), "INT8", symmetric=False)
    np.testing.assert_allclose(grid.scale, 0.01, rtol=1e-6)
    assert int(grid.zero_point) == -28
    symmetric = range_grid(tf.constant(-1.0), tf.constant(3.2767), "INT16", symmetric=True)
    np.testing.assert_allclose(symmetric.scale, 0.0001, rtol=1e-6)
    assert int(symmetric.zero_point) == 0


def test_grids_of_many_ranges_at_once_are_those_of_each():
    ranges = np.float32([[-1.0, 1.55], [0.0, 6.0], [-0.3, 0.0], [0.0, 0.0]])
    together = range_grid(ranges[:, 0], ranges[:, 1], "INT8", symmetric=False)
    for row, (smallest, largest) in enumerate(ranges):
        alone = range_grid(tf.constant(smallest), tf.constant(largest), "INT8", symmetric=False)
        assert (float(alone.scale), int(alone.zero_point)) == (
            float(together.scale[row]),
            int(together.zero_point[row]),
        )


@pytest.mark.parametrize("symmetric", [False, True])
def test_training_rounds_to_the_grid_of_the_file(symmetric):
    smallest, largest = -0.7, 2.3
    grid = range_grid(tf.constant(smallest), tf.constant(largest), "INT8", symmetric)
    integers = np.arange(-127 if symmetric else -128, 128) - int(grid.zero_point)
    stored = np.float32(grid.scale) * integers.astype("float32")
    rounded = fake_quantize_activations(
        tf.constant(stored), tf.constant([smallest, largest]), 8, symmetric
    )
    np.testing.assert_allclose(rounded, stored, atol=1e-6)


def test_the_integers_of_weights_by_hand():
    weights = tf.constant([[1.27, -0.014], [0.016, -2.54]])
    one = nearest_integers(weights, 8, None)
    assert one.values.numpy().tolist() == [[64.0, -1.0], [1.0, -127.0]]  # 63.5 goes to even
    many = nearest_integers(weights, 8, 1)
    assert many.values.numpy().tolist() == [[127.0, -1.0], [2.0, -127.0]]
    np.testing.assert_allclose(many.grid.scale, [0.01, 0.02], rtol=1e-6)


def test_channels_of_zeros_have_a_scale():
    integers = nearest_integers(tf.constant([[0.0, 1.0], [0.0, 0.6]]), 4, 1)
    assert (integers.grid.scale.numpy() > 0).all()
    assert integers.values.numpy().tolist() == [[0.0, 7.0], [0.0, 4.0]]


@pytest.mark.parametrize(("shape", "axis"), [((3, 3, 4, 2), 3), ((3, 3, 5, 2), 2), ((4, 6), None)])
@pytest.mark.parametrize("bits", [4, 8])
def test_files_hold_the_weights_that_training_rounds_to(shape, axis, bits):
    weights = tf.constant(np.random.default_rng(0).normal(size=shape).astype("float32"))
    values, grid = nearest_integers(weights, bits, axis)
    scale = tf.reshape(grid.scale, [-1 if other == axis else 1 for other in range(len(shape))])
    trained = fake_quantize_weights(weights, bits, None if axis is None else (axis,))
    np.testing.assert_allclose(values * scale, trained, atol=1e-6)


def test_steps_that_are_too_fine_are_widened_one_after_another():
    # The second reads the first, times 0.5; the third the square of the second; the fourth is wide.
    steps, read, made = [1.0, 0.1, 0.2, 9.0], [0, 1, 2], [1, 2, 3]
    found = _widened(steps, read, made, [0.5, 1.0, 0.5], [1.0, 2.0, 1.0])
    second = 0.5 * 1.004
    np.testing.assert_allclose(found, [1.0, second, second**2 * 1.004, 9.0], rtol=1e-6)


def test_weights_have_steps_with_which_their_bias_fits():
    weights = tf.constant([[1.27, 1.27], [-0.5, 0.5]])
    fine = nearest_integers(weights, 8, 1, least=[0.02, 0.001])
    np.testing.assert_allclose(fine.grid.scale, [0.02, 0.01], rtol=1e-6)
    assert fine.values.numpy().tolist() == [[64.0, 127.0], [-25.0, 50.0]]
    one = nearest_integers(weights, 8, None, least=[0.02, 0.001])
    np.testing.assert_allclose(one.grid.scale, 0.02, rtol=1e-6)


ALL_BUT_ZERO = {
    "dense": ((64,), lambda: kl.Dense(8, "relu")),
    "convolution": ((6, 6, 3), lambda: kl.Conv2D(4, 3, activation="relu")),
    "depthwise": ((6, 6, 3), lambda: kl.DepthwiseConv2D(3, activation="relu")),
    "transposed": ((4, 4, 3), lambda: kl.Conv2DTranspose(3, 2, 2, activation="relu")),
}


@pytest.mark.parametrize("before", ["linear", "sigmoid"])
@pytest.mark.parametrize("name", ALL_BUT_ZERO)
def test_a_layer_whose_outputs_are_all_but_zero_runs_with_xnnpack(name, before):
    keras.utils.set_random_seed(0)
    shape, make = ALL_BUT_ZERO[name]
    inputs, layer = keras.Input(shape), make()
    model = keras.Model(inputs, layer(kl.Activation(before)(inputs)))
    x = np.random.default_rng(0).uniform(0, 3, (16, *shape)).astype("float32")
    kernel, bias = layer.get_weights()
    layer.set_weights([kernel, bias - np.max(model(x)) + 4e-6])
    aware = tfc.quantize_aware(model).calibrate(x)
    files = convert_model(model, "int8", representative_data=x), convert_model(aware)
    found = []
    for file in files:
        with load(file.flatbuffer) as loaded:
            found.append(loaded.predict(x)[0])
    np.testing.assert_array_equal(found[1], aware(x))
    np.testing.assert_allclose(found[0], model(x), atol=1e-3)
