"""Pruning after training: least squares with zeros, and models that keep what they compute."""

import itertools
import warnings

import keras
import numpy as np
import pytest
from keras import layers as kl

import tfcompress as tfc
from exporters import export_tflite, load
from tfcompress.post_training.weight_pruning import sparse_least_squares
from tfcompress.pruning.masks import smallest
from tfcompress.tflite.numerics import sqnr


def correlated(generator, count, inputs):
    """Return inputs that share directions, as activations do."""
    mixing = np.eye(inputs) + generator.normal(size=(inputs, inputs))
    return generator.normal(size=(count, inputs)) @ mixing


def error(products, dense, found):
    """Return the mean squared difference of the outputs, summed over outputs."""
    difference = found - dense
    return float(np.sum(difference * (products @ difference)))


@pytest.mark.parametrize("seed", range(5))
def test_the_zeros_are_near_the_best_of_all(seed):
    generator = np.random.default_rng(seed)
    rows = correlated(generator, 200, 6)
    products = (rows.T @ rows / len(rows))[None]
    dense = generator.normal(size=(1, 6, 1))
    found = sparse_least_squares(
        products, products @ dense, dense, lambda w: smallest(np.abs(w), 3)
    )
    assert np.count_nonzero(found) == 3
    errors = []
    for kept in map(list, itertools.combinations(range(6), 3)):
        best = np.zeros_like(dense)
        part = products[0][np.ix_(kept, kept)]
        best[0, kept] = np.linalg.solve(part, (products[0] @ dense[0])[kept])
        errors.append(error(products, dense, best))
        if set(kept) == set(np.flatnonzero(found)):
            # What stays is the least-squares solution of its support.
            np.testing.assert_allclose(found, best, rtol=1e-5)
    # Of the 20 ways to keep three of six weights it is among the best three.
    assert error(products, dense, found) <= sorted(errors)[2] * (1 + 1e-9)


def test_weights_that_stay_carry_those_that_go():
    products = np.array([[[1.0, 0.9], [0.9, 1.0]]])
    dense = np.array([[[1.0], [0.9]]])
    found = sparse_least_squares(
        products, products @ dense, dense, lambda w: smallest(np.abs(w), 1)
    )
    np.testing.assert_allclose(found, [[[1.81], [0.0]]])


def test_groups_are_solved_apart():
    generator = np.random.default_rng(0)
    rows = [correlated(generator, 200, 4) for _ in range(3)]
    products = np.stack([part.T @ part / len(part) for part in rows])
    dense = generator.normal(size=(3, 4, 2))
    zeros = np.abs(dense) < np.median(np.abs(dense), axis=1, keepdims=True)
    together = sparse_least_squares(products, products @ dense, dense, lambda w: zeros)
    for i in range(3):
        h, w, of_group = products[i, None], dense[i, None], zeros[i, None]
        alone = sparse_least_squares(h, h @ w, w, lambda _, of_group=of_group: of_group)
        np.testing.assert_allclose(together[i], alone[0], rtol=1e-6)


@pytest.fixture(scope="module")
def trained():
    """A small convolutional network with weights that inputs share, and its inputs."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((12, 12, 3))
    x = kl.Conv2D(16, 3, padding="same", use_bias=False, name="first")(inputs)
    x = kl.ReLU()(kl.BatchNormalization(name="normal")(x))
    x = kl.DepthwiseConv2D(3, padding="same", name="depthwise")(x)
    x = kl.Conv2D(24, 1, activation="relu", name="pointwise")(x)
    x = kl.Conv2D(24, 3, strides=2, groups=2, activation="relu", name="grouped")(x)
    x = kl.Dense(10, name="scores")(kl.GlobalAveragePooling2D()(x))
    model = keras.Model(inputs, x, name="net")
    x = np.random.default_rng(0).normal(size=(160, 12, 12, 3)).astype("float32")
    x = (x + np.roll(x, 1, 1) + np.roll(x, 1, 2)) / 2  # neighbors are alike
    model.layers[2].moving_mean.assign(np.linspace(-0.2, 0.2, 16))
    model.layers[2].moving_variance.assign(np.linspace(0.5, 2.0, 16))
    return model, x


def kernels(model, *names):
    return [np.asarray(model.get_layer(name).kernel) for name in names]


def by_magnitude(model, sparsity, names):
    """Return a copy whose smallest weights of each kernel are zero."""
    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    for name in names:
        kernel = copy.get_layer(name).kernel
        weights = np.asarray(kernel)
        zeros = smallest(np.abs(weights), round(weights.size * sparsity))
        kernel.assign(np.where(zeros, 0.0, weights))
    return copy


def test_a_sparse_copy_computes_what_the_model_does(trained, tmp_path):
    model, x = trained
    before = model.get_weights()
    names = ["first", "pointwise", "grouped", "scores"]
    pruned = tfc.prune_weights(model, x[:128], 0.6, sparsity_distribution="uniform")
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    for weights in kernels(pruned, *names):
        assert np.mean(weights == 0) == pytest.approx(0.6, abs=0.5 / weights.size)
    np.testing.assert_array_equal(*(kernels(m, "depthwise")[0] for m in (model, pruned)))
    wanted = model.predict(x[128:], verbose=0)
    found = pruned.predict(x[128:], verbose=0)
    plain = by_magnitude(model, 0.6, names).predict(x[128:], verbose=0)
    # On inputs that it has not seen; 6 dB less are a quarter of the noise.
    assert sqnr(wanted, found) > sqnr(wanted, plain) + 6
    report = pruned.pruning_report
    assert [layer.path for layer in report.layers] == names
    assert [round(layer.sparsity, 2) for layer in report.layers] == [0.6] * 4
    assert all(layer.decibels > 5 for layer in report.layers)
    assert "pointwise" in str(report)
    export_tflite(pruned, tmp_path / "pruned.tflite", "float32")
    with load(tmp_path / "pruned.tflite") as file:
        np.testing.assert_allclose(file.predict(x[128:])[0], found, rtol=1e-4, atol=1e-5)


def test_the_sparsity_holds_over_the_model(trained):
    model, x = trained
    pruned = tfc.prune_weights(model, x[:64], 0.75)
    weights = np.concatenate(
        [w.ravel() for w in kernels(pruned, "first", "pointwise", "grouped", "scores")]
    )
    assert np.count_nonzero(weights == 0) == round(0.75 * weights.size)
    # Small kernels at the ends stay denser.
    first, grouped = kernels(pruned, "first", "grouped")
    assert np.mean(first == 0) < np.mean(grouped == 0)


def test_patterns_and_layers(trained):
    model, x = trained
    pruned = tfc.prune_weights(model, x[:64], 0.5, ["pointwise"], pattern="2:4")
    (kernel,) = kernels(pruned, "pointwise")
    neighbors = kernel.reshape(4, 4, 24)
    np.testing.assert_array_equal(np.count_nonzero(neighbors, 1), 2)
    for old, new in zip(*(kernels(m, "first", "grouped") for m in (model, pruned)), strict=True):
        np.testing.assert_array_equal(old, new)
    blocks = tfc.prune_weights(model, x[:64], 0.5, ["grouped"], pattern=tfc.Block((1, 4)))
    (kernel,) = kernels(blocks, "grouped")
    zero = np.all(kernel.reshape(-1, 4) == 0, -1)
    assert np.count_nonzero(zero) == len(zero) // 2
    assert np.count_nonzero(kernel == 0) == 4 * np.count_nonzero(zero)


def test_nothing_removed_changes_nothing(trained):
    model, x = trained
    same = tfc.prune_weights(model, x[:32], 0.0)
    assert sqnr(model.predict(x, verbose=0), same.predict(x, verbose=0)) > 90


def test_a_layer_that_is_called_twice_is_fitted_to_both_calls():
    keras.utils.set_random_seed(0)
    shared = kl.Dense(32, activation="relu", name="shared")
    inputs = keras.Input((32,))
    model = keras.Model(inputs, kl.Dense(4, name="end")(shared(shared(inputs))))
    x = correlated(np.random.default_rng(0), 256, 32).astype("float32")
    pruned = tfc.prune_weights(model, x[:192], 0.5, ["shared"])
    wanted = model.predict(x[192:], verbose=0)
    plain = by_magnitude(model, 0.5, ["shared"]).predict(x[192:], verbose=0)
    assert np.mean(np.asarray(pruned.get_layer("shared").kernel) == 0) == 0.5
    assert sqnr(wanted, pruned.predict(x[192:], verbose=0)) > sqnr(wanted, plain) + 3


def test_a_layer_that_stays_dense_is_said():
    model = keras.Sequential(
        [keras.Input((6, 8)), kl.GRU(8, name="gru"), kl.Dense(8, name="middle"), kl.Dense(2)]
    )
    x = np.random.default_rng(0).normal(size=(32, 6, 8)).astype("float32")
    with pytest.warns(UserWarning, match="does not prune 'gru/.*layers of type GRU") as caught:
        pruned = tfc.prune_weights(model, x)
    assert [w.filename for w in caught if "does not prune" in str(w.message)] == [__file__]
    assert np.count_nonzero(np.asarray(pruned.get_layer("middle").kernel) == 0) > 0
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "prune_weights")
        tfc.prune_weights(model, x, layers=["middle"])
    with pytest.raises(ValueError, match=r"that can be pruned after training, .*gru"):
        tfc.prune_weights(model, x, layers=["gru"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sparsity": 1.0}, "`sparsity` of prune_weights"),
        ({"sparsity": 75}, "must lie in"),
        ({"layers": "nothing"}, "nothing"),
        ({"pattern": "5:4"}, "1 <= n < m"),
        ({"pattern": "2:4", "sparsity": 0.75}, "2:4"),
        ({"pattern": "2:4", "layers": "point", "sparsity_distribution": "lamp"}, "uniform"),
        ({"sparsity_distribution": "even"}, "sparsity_distribution"),
        ({"max_examples": 0}, "max_examples"),
        ({"representative_data": None}, "representative data"),
    ],
)
def test_wrong_arguments(trained, arguments, message):
    model, x = trained
    with pytest.raises(ValueError, match=message):
        tfc.prune_weights(model, **{"representative_data": x[:8], **arguments})
