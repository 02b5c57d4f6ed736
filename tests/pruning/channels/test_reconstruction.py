import keras
import numpy as np
import pytest
from keras import layers as kl

import tfcompress as tfc
from tfcompress.keras_graph.linear_layers import collect_rows, linear_layers
from tfcompress.pruning.channels.reconstruction import entry_order, least_squares

pytest.importorskip("sklearn", reason="the criterion 'lasso' needs the extra 'structure'")


def test_the_larger_of_independent_summands_is_needed_first():
    # Orthogonal columns of lengths 1, 3 and 2: LASSO takes them at penalties of 1, 9 and 4.
    columns = np.eye(3) * [1.0, 3.0, 2.0]
    np.testing.assert_allclose(entry_order(columns), np.array([1.0, 9.0, 4.0]) / 9.0)


def test_of_two_equal_summands_one_is_enough():
    generator = np.random.default_rng(0)
    one, other = generator.normal(size=(2, 50))
    order = entry_order(np.stack([one, one, 0.5 * other], 1))
    assert order[2] > min(order[0], order[1])


def test_least_squares_finds_what_was_lost():
    generator = np.random.default_rng(0)
    rows = generator.normal(size=(200, 3))
    matrix, constant = generator.normal(size=(3, 2)), np.array([0.5, -1.0])
    found, shift = least_squares(rows, rows @ matrix + constant)
    np.testing.assert_allclose(found, matrix, atol=1e-4)
    np.testing.assert_allclose(shift, constant, atol=1e-4)


@pytest.mark.parametrize(
    "layer",
    [
        kl.Conv2D(5, 3, padding="same"),
        kl.Conv2D(5, (2, 3), strides=2),
        kl.Conv2D(5, 3, dilation_rate=2),
    ],
)
def test_rows_times_matrix_is_what_the_convolution_computes(layer):
    x = np.random.default_rng(0).normal(size=(2, 8, 8, 3)).astype("float32")
    _rows_agree(layer, x, (8, 8, 3))


@pytest.mark.parametrize(
    "layer",
    [kl.Conv1D(5, 3, padding="causal", dilation_rate=2), kl.Conv1D(5, 4, strides=2), kl.Dense(5)],
)
def test_rows_times_matrix_is_what_the_layer_computes(layer):
    x = np.random.default_rng(0).normal(size=(2, 12, 3)).astype("float32")
    _rows_agree(layer, x, (12, 3))


def _rows_agree(layer, x, shape):
    inputs = keras.Input(shape)
    middle = (kl.Conv2D if len(shape) == 3 else kl.Conv1D)(4, 1)(inputs)
    model = keras.Model(inputs, kl.Flatten()(layer(middle)))
    (linear,) = [found for found in linear_layers(model)[0] if found.layer is layer]
    rows = collect_rows([linear], [x], 10**6, model)[layer.name]
    product = rows[:, 0] @ linear.kernel.numpy().reshape(-1, 5)
    np.testing.assert_allclose(product.ravel(), model(x).numpy().ravel(), rtol=1e-4, atol=1e-5)


def redundant():
    """A network whose second half of hidden channels are mixtures of the first."""
    inputs = keras.Input((6, 6, 2))
    x = kl.Conv2D(8, 3, padding="same", use_bias=False, name="hidden")(inputs)
    model = keras.Model(inputs, kl.Conv2D(3, 3, padding="same", name="reader")(x))
    generator = np.random.default_rng(0)
    kernel = generator.normal(size=(3, 3, 2, 8)).astype("float32")
    kernel[..., 4:] = kernel[..., :4] @ generator.normal(size=(4, 4)).astype("float32")
    model.get_layer("hidden").kernel.assign(kernel)
    return model


def test_reconstruction_makes_up_for_channels_that_others_can_replace():
    model = redundant()
    x = np.random.default_rng(1).normal(size=(64, 6, 6, 2)).astype("float32")
    wanted = model.predict(x, verbose=0)

    def error(**how):
        smaller = tfc.remove_channels(model, ratio=0.5, criterion="lasso", data=x, **how)
        return np.square(smaller.predict(x, verbose=0) - wanted).mean() / np.square(wanted).mean()

    assert error() > 0.05
    assert error(reconstruction=True) < 1e-4


def test_data_is_asked_for():
    with pytest.raises(ValueError, match="data=None"):
        tfc.remove_channels(redundant(), ratio=0.5, criterion="lasso")
    with pytest.raises(ValueError, match="data=None"):
        tfc.remove_channels(redundant(), ratio=0.5, reconstruction=True)
