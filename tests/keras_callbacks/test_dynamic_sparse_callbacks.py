import keras
import numpy as np
import pytest
from interruption import Interrupted, KillAt, interrupt

import tfcompress as tfc
from keras_callbacks import SET, RigL

INPUTS = 20


def data():
    """Three of twenty inputs explain the outputs."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, INPUTS)).astype("float32")
    truth = np.zeros((INPUTS, 2), "float32")
    truth[[2, 7, 11]] = [[1.0, -2.0], [-1.5, 1.0], [2.0, 1.5]]
    return x, x @ truth, truth


def make_model(**how):
    model = keras.Sequential([keras.Input((INPUTS,)), keras.layers.Dense(2, use_bias=False)])
    model.compile(keras.optimizers.SGD(0.05), "mse", **how)
    return model


def fit(model, *callbacks, epochs=20, **how):
    x, y, _ = data()
    model.fit(
        x, y, batch_size=20, epochs=epochs, verbose=0, shuffle=False, callbacks=[*callbacks], **how
    )
    return model.layers[0].kernel.numpy()


class Watch(keras.callbacks.Callback):
    def on_train_begin(self, logs=None):
        self.zeros, self.masks = [], []

    def on_train_batch_end(self, batch, logs=None):
        kernel = self.model.layers[0].kernel
        self.zeros.append(int(np.count_nonzero(~kernel.constraint.mask.numpy())))
        self.masks.append(kernel.constraint.mask.numpy())


def test_rigl_finds_the_weights_that_matter():
    watch = Watch()
    kernel = fit(make_model(), RigL(0.85, end_step=150, frequency=10), watch, epochs=40)
    np.testing.assert_array_equal(kernel != 0, data()[2] != 0)  # 34 of 40 are zero
    np.testing.assert_allclose(kernel, data()[2], atol=1e-3)
    assert set(watch.zeros) == {34}  # sparse from the first step on
    settled = watch.masks[149]
    assert (settled != watch.masks[0]).any()
    assert all((mask == settled).all() for mask in watch.masks[150:])


def test_set_moves_at_each_update_and_keeps_the_number():
    watch = Watch()
    fit(make_model(), SET(0.5, end_step=200, frequency=10, drop=0.5), watch)
    assert set(watch.zeros) == {20}
    moved = [
        int(np.count_nonzero(one & ~other))
        for one, other in zip(watch.masks, watch.masks[1:], strict=False)
    ]
    assert sum(moved[:50]) > sum(moved[150:])
    assert {step + 1 for step, count in enumerate(moved) if count} <= set(range(9, 200, 10))


def test_the_same_seed_gives_the_same_weights():
    kernels = []
    for seed in (3, 3, 4):
        keras.utils.set_random_seed(0)
        kernels.append(fit(make_model(), SET(0.5, frequency=5, seed=seed), epochs=2))
    np.testing.assert_array_equal(kernels[0], kernels[1])
    assert (kernels[0] != kernels[2]).any()


@pytest.mark.parametrize("callback", [RigL, SET])
@pytest.mark.parametrize(("distribution", "sparsity"), [("erk", 0.9), ("uniform", 0.75)])
def test_the_sparsity_is_exact(callback, distribution, sparsity):
    model = keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            keras.layers.Conv2D(16, 3, name="conv"),
            keras.layers.Flatten(),
            keras.layers.Dense(10, name="head"),
        ]
    )
    model.compile("adam", "mse", steps_per_execution=3)
    x, y = np.random.default_rng(0).normal(size=(64, 8, 8, 3)), np.zeros((64, 10))
    history = model.fit(
        x,
        y,
        8,
        2,
        verbose=0,
        callbacks=[callback(sparsity, sparsity_distribution=distribution, frequency=4)],
    )
    kernels = [model.get_layer(name).kernel.numpy() for name in ("conv", "head")]
    masks = [model.get_layer(name).kernel.constraint.mask.numpy() for name in ("conv", "head")]
    size = sum(kernel.size for kernel in kernels)
    masked = sum(np.count_nonzero(~mask) for mask in masks)
    assert masked == round(sparsity * size)
    assert all((kernel[~mask] == 0).all() for kernel, mask in zip(kernels, masks, strict=True))
    assert history.history["sparsity"][-1] == pytest.approx(sparsity, abs=1e-3)


def test_works_in_a_step_that_xla_compiles():
    kernel = fit(make_model(jit_compile=True), RigL(0.85, end_step=150, frequency=10), epochs=20)
    np.testing.assert_array_equal(kernel != 0, data()[2] != 0)


def test_two_devices(two_replicas):
    x, y, truth = data()
    with two_replicas.scope():
        sparse = make_model()
        body = keras.layers.Dense(16, activation="tanh", name="body")
        gated = tfc.gated(keras.Sequential([keras.Input((20,)), body, keras.layers.Dense(2)]), 0.5)
        gated.compile(keras.optimizers.Adam(0.01), "mse")
    # An epoch of 100 steps: beginning one takes longer on two devices than all its steps.
    x, y = np.tile(x, (10, 1)), np.tile(y, (10, 1))
    sparse.fit(x, y, 20, epochs=3, verbose=0, callbacks=[RigL(0.85, end_step=150, frequency=10)])
    np.testing.assert_array_equal(sparse.layers[0].kernel.numpy() != 0, truth != 0)
    gated.fit(x, y, batch_size=20, epochs=2, verbose=0)
    assert gated.closed > 0.1
    assert gated.fold().get_layer("body").units == 8


@pytest.mark.parametrize("callback", [RigL, SET])
def test_goes_on_after_an_interruption(tmp_path, callback):
    def run(*extra):
        keras.utils.set_random_seed(1)
        return fit(make_model(), *extra, callback(0.7, frequency=7), epochs=4)

    expected = run()
    with pytest.raises(Interrupted):
        run(keras.callbacks.BackupAndRestore(tmp_path), KillAt(26, interrupt))
    resumed = run(keras.callbacks.BackupAndRestore(tmp_path))
    np.testing.assert_array_equal(resumed, expected)


def test_goes_on_from_a_keras_file(tmp_path):
    # Saved at step 20, where an update has just grown weights that are still zero.
    path = tmp_path / "at_{epoch}.keras"
    model = make_model()
    whole = Watch()
    checkpoint = keras.callbacks.ModelCheckpoint(path)
    fit(model, checkpoint, SET(0.5, end_step=40, frequency=10), whole, epochs=4)
    loaded = keras.saving.load_model(tmp_path / "at_2.keras")
    kernel = loaded.layers[0].kernel.numpy()
    watch = Watch()
    fit(loaded, SET(0.5, end_step=40, frequency=10), watch, epochs=4, initial_epoch=2)
    assert set(watch.zeros) == {20}
    # What was not zero in the file has its place still.
    assert watch.masks[0][kernel != 0].all()


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"drop": 0.0}, "drop=0.0"),
        ({"drop": 1.5}, "drop=1.5"),
        ({"sparsity_distribution": "lamp"}, "'lamp' ranks magnitudes"),
        ({"sparsity": 1.0}, "sparsity"),
        ({"frequency": 0}, "frequency=0"),
    ],
)
def test_refuses_what_cannot_be(how, message):
    with pytest.raises(ValueError, match=message):
        RigL(**{"sparsity": 0.5, **how})


def test_refuses_a_training_of_unknown_length():
    def batches():
        while True:
            yield np.zeros((2, INPUTS), "float32"), np.zeros((2, 2), "float32")

    with pytest.raises(ValueError, match="steps_per_epoch"):
        make_model().fit(batches(), verbose=0, callbacks=[SET(0.5)])
    with pytest.raises(ValueError, match="sparsity_distribution='even'"):
        fit(make_model(), SET(0.5, sparsity_distribution="even"))
