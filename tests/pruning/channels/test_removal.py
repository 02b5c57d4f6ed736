import keras
import numpy as np
import pytest
from keras import layers as kl

import tfcompress as tfc
from tfcompress.keras_graph.channels import read_channels
from tfcompress.pruning.channels.importance import CRITERIA


def two_layers():
    """Two inputs, four hidden units of growing size, one output."""
    model = keras.Sequential([keras.Input((2,)), kl.Dense(4, name="hidden"), kl.Dense(1)])
    kernel = np.float32([[1, 2, 3, 4], [1, -2, 3, -4]])
    model.set_weights([kernel, np.zeros(4), np.ones((4, 1)), np.zeros(1)])
    return model


def convolutions():
    inputs = keras.Input((8, 8, 3))
    x = kl.ReLU()(kl.BatchNormalization(name="bn")(kl.Conv2D(32, 3, name="a")(inputs)))
    x = kl.Conv2D(20, 3, activation="relu", name="b")(x)
    return keras.Model(inputs, kl.Dense(4, name="head")(kl.GlobalAveragePooling2D()(x)))


def hidden(model):
    return model.get_layer("hidden").kernel.numpy()


@pytest.mark.parametrize("criterion", ["l1", "l2"])
def test_the_smallest_filters_go(criterion):
    smaller = tfc.remove_channels(two_layers(), ratio=0.5, criterion=criterion)
    np.testing.assert_array_equal(hidden(smaller), [[3, 4], [3, -4]])


def test_geometric_median_removes_the_most_central():
    # Distances to (1,1), (2,-2), (3,3), (4,-4): the sums are 11.8, 10.5, 15.0 and 15.2.
    smaller = tfc.remove_channels(two_layers(), ratio=0.25, criterion="geometric_median")
    np.testing.assert_array_equal(hidden(smaller), [[1, 3, 4], [1, 3, -4]])


def test_taylor_removes_what_the_loss_does_not_feel():
    model = two_layers()
    model.layers[1].kernel.assign([[1.0], [0.0], [1.0], [0.0]])  # two units reach no output
    model.compile("sgd", "mse")
    x = np.float32([[1, 2], [3, -1]])
    smaller = tfc.remove_channels(model, ratio=0.5, criterion="taylor", data=(x, np.zeros((2, 1))))
    np.testing.assert_array_equal(hidden(smaller), [[1, 3], [1, 3]])


def test_gamma_follows_the_normalization():
    model = convolutions()
    gamma = np.arange(32.0)
    model.get_layer("bn").gamma.assign(gamma)
    smaller = tfc.remove_channels(model, ratio=0.25, criterion="gamma")
    np.testing.assert_array_equal(smaller.get_layer("bn").gamma, gamma[8:])
    assert smaller.get_layer("b").filters == 20  # nothing normalizes it


def test_random_depends_on_the_seed_alone():
    kernels = [
        hidden(tfc.remove_channels(two_layers(), ratio=0.5, criterion="random", seed=seed))
        for seed in (1, 1, 2, 3, 4)
    ]
    np.testing.assert_array_equal(kernels[0], kernels[1])
    assert any(not np.array_equal(kernels[0], other) for other in kernels[2:])


def test_ratio_rounds_to_what_the_target_likes():
    def filters(**how):
        smaller = tfc.remove_channels(convolutions(), **how)
        return [smaller.get_layer(name).filters for name in "ab"]

    assert filters(ratio=0.5) == [16, 10]
    assert filters(ratio=0.5, round_to=8) == [16, 8]
    assert filters(ratio=0.4, round_to=8) == [16, 16]
    assert filters(ratio=0.99, round_to=8) == [8, 8]
    assert filters(ratio=0.99) == [1, 1]
    assert filters(ratio=0.0) == [32, 20]
    assert filters(ratio=0.5, layers="^b$") == [32, 10]
    assert filters(keep={"a": 6, "b": 0.25}) == [6, 5]


def test_global_scope_takes_the_least_important_of_the_model():
    model = keras.Sequential(
        [keras.Input((1,)), kl.Dense(4, name="a"), kl.Dense(4, name="b"), kl.Dense(1)]
    )
    # In units of its layer's mean, "a" spreads widely and "b" hardly.
    model.get_layer("a").kernel.assign([[0.1, 0.2, 0.3, 3.4]])
    model.get_layer("b").kernel.assign(np.ones((4, 4)) * [0.9, 1.0, 1.0, 1.1])
    smaller = tfc.remove_channels(model, ratio=3 / 8, scope="global")
    assert [layer.units for layer in smaller.layers] == [1, 4, 1]


def test_targets_are_met_and_not_overdone():
    model = convolutions()
    flow = read_channels(model)
    smaller = tfc.remove_channels(model, target_macs=0.5)
    assert 0.45 * flow.macs() < read_channels(smaller).macs() <= 0.5 * flow.macs()
    smaller = tfc.remove_channels(model, target_size=3000)
    assert 2700 < smaller.count_params() <= 3000
    smaller = tfc.remove_channels(model, target_cost=(lambda m: m.get_layer("b").filters, 7))
    assert smaller.get_layer("b").filters == 7


def test_the_model_stays_and_the_smaller_one_trains():
    model = convolutions()
    before = [w.copy() for w in model.get_weights()]
    smaller = tfc.remove_channels(model, ratio=0.5)
    smaller.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    x = np.random.default_rng(0).normal(size=(16, 8, 8, 3)).astype("float32")
    smaller.fit(x, np.arange(16) % 4, epochs=1, verbose=0)
    for one, other in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert set(CRITERIA) >= {"l1", "l2", "gamma", "taylor", "geometric_median", "random"}


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({}, "exactly one of"),
        ({"ratio": 0.5, "target_macs": 0.5}, "exactly one of"),
        ({"ratio": 1.0}, r"no layer would have any.*ratio=1.0"),
        ({"ratio": -0.1}, "ratio=-0.1"),
        ({"keep": {"a": 0}}, "at least one channel"),
        ({"keep": {"a": 33}}, "has 32"),
        ({"keep": {"head": 2}}, "their channels are the model's outputs"),
        ({"ratio": 0.5, "layers": ["head"]}, "their channels are the model's outputs"),
        ({"ratio": 0.5, "layers": "nothing"}, "matches no layer"),
        ({"ratio": 0.5, "criterion": "best"}, "criterion='best'"),
        ({"ratio": 0.5, "criterion": "taylor"}, "compile the model"),
        ({"ratio": 0.5, "scope": "world"}, "scope='world'"),
        ({"ratio": 0.5, "round_to": 0}, "round_to=0"),
        ({"target_macs": 10}, "cannot make the model so small"),
    ],
)
def test_bad_input_is_named(how, message):
    with pytest.raises(ValueError, match=message):
        tfc.remove_channels(convolutions(), **how)


class Doubled(kl.Layer):
    def call(self, x):
        return 2.0 * x


def opaque():
    """A model whose channels all pass through a layer of one's own."""
    inputs = keras.Input((8, 8, 3))
    x = Doubled(name="mine")(kl.Conv2D(16, 3)(inputs))
    x = Doubled(name="mine_too")(kl.Conv2D(16, 3)(x))
    return keras.Model(inputs, kl.Dense(3)(kl.GlobalAveragePooling2D()(x)), name="net")


@pytest.mark.parametrize("scope", ["layer", "global"])
def test_says_that_nothing_was_removed_and_why(scope):
    said = r"removed no channel of model 'net'.*'mine' \(Doubled\), 'mine_too' \(Doubled\)"
    with pytest.warns(UserWarning, match=said):
        smaller = tfc.remove_channels(opaque(), ratio=0.25, scope=scope)
    assert smaller.count_params() == opaque().count_params()
    with pytest.raises(ValueError, match=r"so small.*through 'mine' \(Doubled\), 'mine_too'"):
        tfc.remove_channels(opaque(), target_macs=0.5)
    with pytest.raises(ValueError, match=r"'mine' \(Doubled\).*can lose channels: none"):
        tfc.remove_channels(opaque(), keep={"conv": 0.5})


def test_says_that_the_share_is_too_small():
    said = (
        r"ratio=0\.02, rounded to multiples of 1, is less than one channel: 'a' has 32, 'b' has 20"
    )
    with pytest.warns(UserWarning, match=said):
        tfc.remove_channels(convolutions(), ratio=0.02)


def test_a_ratio_of_nothing_needs_no_words(recwarn):
    tfc.remove_channels(convolutions(), ratio=0.0)
    assert not [warning for warning in recwarn if "removed" in str(warning.message)]


def test_a_model_of_outputs_alone():
    model = keras.Sequential([keras.Input((4,)), kl.Dense(3)])
    with pytest.warns(UserWarning, match="all channels are outputs of the model"):
        tfc.remove_channels(model, ratio=0.5)


def test_channels_that_padding_adds_on_one_side_stay():
    inputs = keras.Input((6,))
    hidden = kl.Dense(4, name="first")(inputs)
    hidden = keras.ops.pad(kl.Dense(4, name="second")(hidden), [(0, 0), (1, 0)])
    model = keras.Model(inputs, kl.Dense(2)(hidden))
    smaller = tfc.remove_channels(model, ratio=0.5)
    assert [smaller.get_layer(name).units for name in ("first", "second")] == [2, 2]
