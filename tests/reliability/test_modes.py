"""Every technique trains in every mode of Keras, and keeps what it promises there."""

import keras
import numpy as np
import pytest
from long_training import count_traces
from small_trainings import TECHNIQUES, prepare

import tfcompress as tfc


class OwnStep(keras.Sequential):
    """A user's model whose step does what Keras's does, and counts."""

    def __init__(self, *arguments, **keywords):
        super().__init__(*arguments, **keywords)
        self.own_steps = 0

    def train_step(self, data):
        self.own_steps += 1
        return super().train_step(data)


def adam(**arguments):
    return keras.optimizers.Adam(0.01, **arguments)


MODES = {
    "plain": {},
    "jit_compile": {"jit_compile": True},
    "steps_per_execution": {"steps_per_execution": 4},
    "run_eagerly": {"run_eagerly": True},
    "gradient_accumulation": {"optimizer": {"gradient_accumulation_steps": 2}},
    "use_ema": {"optimizer": {"use_ema": True, "ema_overwrite_frequency": 12}},
    "mixed_float16": {"dtype": "mixed_float16"},
    "mixed_bfloat16": {"dtype": "mixed_bfloat16"},
}


def compiled(technique, folder, kind=keras.Sequential, dtype=None, optimizer=None, **arguments):
    model, fed, callbacks = prepare(technique, folder, kind, dtype)
    chosen = {"jit_compile": False, **arguments}
    model.compile(adam(**(optimizer or {})), "mse", **chosen)
    return model, fed, callbacks


def kernels(model):
    """Return the kernels of the two layers, as they train."""
    return [w.numpy() for w in model.trainable_weights if w.path.endswith("kernel")]


def require_kept(technique, model):
    """Check what a technique promises of the weights after training."""
    first, last = kernels(model)
    assert np.isfinite(first).all()
    assert np.isfinite(last).all()
    if technique == "pruning":
        zeros = sum(np.count_nonzero(kernel == 0) for kernel in (first, last))
        assert zeros == 3 / 4 * (first.size + last.size)
    elif technique == "clustering":
        assert [len(np.unique(kernel)) <= 6 for kernel in (first, last)] == [True, True]
    elif technique == "quantization":
        pairs = [w.numpy() for w in model.non_trainable_weights if w.shape[-1:] == (2,)]
        assert pairs
        assert all((rows[:, 0] < rows[:, 1]).all() for rows in pairs)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("technique", TECHNIQUES)
def test_trains(technique, mode, tmp_path):
    model, fed, callbacks = compiled(technique, tmp_path, **MODES[mode])
    before = kernels(model)
    history = model.fit(**fed, epochs=6, verbose=0, callbacks=callbacks).history["loss"]
    assert history[-1] < history[0]
    assert all((a != b).any() for a, b in zip(before, kernels(model), strict=True))
    if technique == "clustering" and mode == "use_ema":
        # An average of clustered weights is not clustered: they are clustered after it.
        assert len(np.unique(kernels(model)[0])) > 6
        model = tfc.cluster_weights(tfc.release_clusters(model), 6)
    require_kept(technique, model)


@pytest.mark.parametrize("technique", ["quantization", "clustering"])
def test_train_on_batch(technique, tmp_path):
    model, fed, _ = compiled(technique, tmp_path)
    losses = [float(model.train_on_batch(fed["x"], fed["y"])) for _ in range(40)]
    assert losses[-1] < losses[0]
    require_kept(technique, model)


def test_a_step_of_the_users_own_is_the_one_that_prunes_and_clusters(tmp_path):
    for technique in ("pruning", "clustering"):
        model, fed, callbacks = compiled(technique, tmp_path, OwnStep, run_eagerly=True)
        model.fit(**fed, epochs=4, verbose=0, callbacks=callbacks)
        assert model.own_steps == 24
        require_kept(technique, model)


@pytest.mark.parametrize("technique", TECHNIQUES)
def test_200_steps_trace_no_more_than_the_first(technique, tmp_path):
    model, fed, callbacks = compiled(technique, tmp_path)
    traces = count_traces(model)
    model.fit(**fed, epochs=4, verbose=0, callbacks=callbacks)
    first = len(traces)
    assert first >= 1
    model.fit(**fed, epochs=34, initial_epoch=4, verbose=0)
    assert len(traces) == first


def test_pruned_weights_stay_zero_without_the_callback(tmp_path):
    """The masks are constraints: `train_on_batch` after `fit` keeps them."""
    model, fed, callbacks = compiled("pruning", tmp_path)
    model.fit(**fed, epochs=4, verbose=0, callbacks=callbacks)
    zero = [kernel == 0 for kernel in kernels(model)]
    for _ in range(5):
        model.train_on_batch(fed["x"], fed["y"])
    assert all((kernel[mask] == 0).all() for kernel, mask in zip(kernels(model), zero, strict=True))
    tfc.remove_masks(model)
