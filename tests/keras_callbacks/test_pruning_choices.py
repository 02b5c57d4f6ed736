"""Patterns, criteria, scopes and sparsity distributions, through `fit`."""

import keras
import numpy as np
import pytest

from keras_callbacks import MagnitudePruning
from tfcompress.pruning import Block, ConstantSparsity, OneCycle, PolynomialDecay

SCHEDULE = PolynomialDecay(0.0, 0.5, begin_step=1, end_step=8, frequency=3)


def make_model(learning_rate=0.01):
    model = keras.Sequential(
        [
            keras.Input((8,)),
            keras.layers.Dense(16, activation="tanh", name="wide"),
            keras.layers.Dense(8, activation="tanh", name="narrow"),
            keras.layers.Dense(4, name="head"),
        ]
    )
    model.compile(keras.optimizers.Adam(learning_rate), "mse")
    return model


def fit(model, *callbacks, epochs=2):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(40, 8)).astype("float32"), rng.normal(size=(40, 4)).astype("float32")
    return model.fit(x, y, batch_size=8, epochs=epochs, verbose=0, callbacks=list(callbacks))


def kernels(model):
    return {layer.name: layer.kernel.numpy() for layer in model.layers}


def sparsities(model):
    return {name: float(np.mean(kernel == 0)) for name, kernel in kernels(model).items()}


def test_two_of_four():
    model = make_model()
    fit(model, MagnitudePruning(SCHEDULE, pattern="2:4"))
    for name, kernel in kernels(model).items():
        assert (np.count_nonzero(kernel.T.reshape(-1, 4), axis=1) == 2).all(), name


def test_blocks():
    model = make_model()
    fit(model, MagnitudePruning(SCHEDULE, pattern=Block((1, 4))))
    for name, kernel in kernels(model).items():
        blocks = np.count_nonzero(kernel.reshape(-1, 4), axis=1)
        assert sorted(set(blocks)) == [0, 4], name
        assert np.count_nonzero(blocks == 0) == round(blocks.size * 0.5), name


def test_channels():
    model = make_model()
    fit(model, MagnitudePruning(SCHEDULE, layers="wide|narrow", pattern="channel"))
    for name, channels in {"wide": 16, "narrow": 8, "head": 4}.items():
        silent = np.count_nonzero(~kernels(model)[name].any(axis=0))
        assert silent == (0 if name == "head" else channels // 2), name


@pytest.mark.parametrize("criterion", ["l1", "l2", "taylor", "movement", "random"])
def test_every_criterion_hits_the_target(criterion):
    model = make_model()
    pruning = MagnitudePruning(SCHEDULE, criterion=criterion, sparsity_distribution="uniform")
    fit(model, pruning)
    assert sparsities(model) == {"wide": 0.5, "narrow": 0.5, "head": 0.5}
    assert "update_step" not in model.optimizer.__dict__


def test_taylor_masks_inputs_that_carry_nothing():
    model = make_model()
    x = np.ones((40, 8), "float32") * [1, 0, 1, 0, 1, 0, 1, 0]
    pruning = MagnitudePruning(SCHEDULE, layers="wide", criterion="taylor")
    model.fit(x, np.ones((40, 4)), batch_size=8, epochs=2, verbose=0, callbacks=[pruning])
    rows = np.count_nonzero(kernels(model)["wide"], axis=1)
    np.testing.assert_array_equal(rows, [16, 0] * 4)


def test_movement_is_summed_over_several_fits():
    def weights(*epochs):
        keras.utils.set_random_seed(0)
        model = make_model()
        schedule = PolynomialDecay(0.0, 0.5, begin_step=12, end_step=14, frequency=100)
        pruning = MagnitudePruning(schedule, criterion="movement")
        for count in epochs:
            rng = np.random.default_rng(0)
            x, y = rng.normal(size=(40, 8)), rng.normal(size=(40, 4))
            model.fit(
                x, y, batch_size=8, epochs=count, shuffle=False, verbose=0, callbacks=[pruning]
            )
        return kernels(model)

    with pytest.warns(UserWarning, match="ends at step 14"):
        in_parts = weights(2, 1)
    for name, kernel in weights(3).items():
        np.testing.assert_array_equal(in_parts[name], kernel)


def test_global_scope_meets_the_total_within_bounds():
    model = make_model(learning_rate=0.0)
    kernel = model.get_layer("head").kernel
    kernel.assign(kernel / 100)
    pruning = MagnitudePruning(
        SCHEDULE, scope="global", min_sparsity={"wide": 0.3}, max_sparsity={"^head$": 0.75}
    )
    fit(model, pruning)
    total = sum(np.count_nonzero(kernel == 0) for kernel in kernels(model).values())
    assert total == round(0.5 * (128 + 128 + 32))
    found = sparsities(model)
    assert found["head"] == 0.75
    assert found["wide"] >= 0.3


def test_erk_spares_the_small_kernel():
    model = make_model()
    fit(model, MagnitudePruning(SCHEDULE, sparsity_distribution="erk"))
    # Densities of 24/128, 24/128 and 12/32, scaled to keep 144 of 288: 70.4, 70.4 and 3.2 zeros.
    zeros = {name: np.count_nonzero(kernel == 0) for name, kernel in kernels(model).items()}
    assert zeros == {"wide": 71, "narrow": 70, "head": 3}


@pytest.mark.parametrize("sparsity", [0.5, 0.9, 0.99])
def test_by_default_small_kernels_and_the_last_one_stay_dense(sparsity):
    model = keras.Sequential(
        [
            keras.Input((8,)),
            keras.layers.Dense(2, name="tiny"),
            keras.layers.Dense(256, name="wide"),
            keras.layers.Dense(64, name="large"),
            keras.layers.Dense(4, name="head"),
        ]
    )
    model.compile(keras.optimizers.SGD(0.0), "mse")
    # However small its weights are beside the others'.
    kernel = model.get_layer("head").kernel
    kernel.assign(kernel / 1000)
    fit(model, MagnitudePruning(ConstantSparsity(sparsity, 0)))
    sizes = {name: kernel.size for name, kernel in kernels(model).items()}
    found = sparsities(model)
    total = sum(sizes.values())
    assert sum(round(found[name] * sizes[name]) for name in sizes) == round(sparsity * total)
    assert max(found["tiny"], found["wide"], found["head"]) < sparsity < found["large"]


def test_by_default_what_is_no_single_magnitude_is_pruned_evenly():
    for arguments in ({"pattern": Block((1, 2))}, {"criterion": "random"}):
        model = make_model()
        fit(model, MagnitudePruning(SCHEDULE, **arguments))
        assert sparsities(model) == {"wide": 0.5, "narrow": 0.5, "head": 0.5}


def test_sparsities_by_layer():
    model = make_model()
    fit(model, MagnitudePruning(SCHEDULE, layer_sparsity={"head": 0.25, "wide|head": 0.75}))
    assert sparsities(model) == {"wide": 0.75, "narrow": 0.5, "head": 0.25}


FORMER = {
    "allocation": ("sparsity_distribution", "erk"),
    "targets": ("layer_sparsity", {"head": 0.25}),
    "floors": ("min_sparsity", 0.1),
    "ceilings": ("max_sparsity", {"head": 0.75}),
}


@pytest.mark.parametrize("old", FORMER)
def test_former_names_of_arguments_warn_and_mean_the_same(old):
    new, value = FORMER[old]
    scope = "global" if old in ("floors", "ceilings") else "layer"
    models = [keras.utils.set_random_seed(0) or make_model() for _ in range(2)]
    fit(models[0], MagnitudePruning(SCHEDULE, scope=scope, **{new: value}))
    with pytest.warns(DeprecationWarning, match=f"`{old}` of MagnitudePruning is now `{new}`"):
        renamed = MagnitudePruning(SCHEDULE, scope=scope, **{old: value})
    fit(models[1], renamed)
    assert sparsities(models[0]) == sparsities(models[1])
    with pytest.raises(TypeError, match=f"former name of `{new}`"):
        MagnitudePruning(SCHEDULE, scope=scope, **{old: value, new: value})


def test_one_schedule_for_each_of_two_callbacks():
    model = make_model()
    fit(
        model,
        MagnitudePruning(SCHEDULE, layers="wide"),
        MagnitudePruning(ConstantSparsity(0.75, begin_step=4), layers="head"),
    )
    assert sparsities(model) == {"wide": 0.5, "narrow": 0.0, "head": 0.75}


def test_one_cycle_regrows_weights_all_over_the_kernel_and_they_learn():
    model = make_model()
    schedule = OneCycle(0.0, 0.75, 0.5, begin_step=0, end_step=10, peak_at=0.5, frequency=5)
    pruning = MagnitudePruning(schedule, layers="wide")
    with pytest.warns(UserWarning, match="ends at step 5"):
        fit(model, pruning, epochs=1)
    peak = kernels(model)["wide"] != 0
    assert np.count_nonzero(peak) == 32
    fit(model, pruning, epochs=2)
    regrown = (kernels(model)["wide"] != 0) & ~peak
    assert np.count_nonzero(regrown) == 32
    assert 8 <= np.count_nonzero(regrown[:4]) <= 24
    assert 8 <= np.count_nonzero(regrown[:, :8]) <= 24
