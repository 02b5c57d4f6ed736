"""One tiny training for each technique, alike but for the technique."""

import keras
import numpy as np

import tfcompress as tfc
from keras_callbacks import MagnitudePruning

TECHNIQUES = ("pruning", "quantization", "clustering", "distillation")
BATCH, STEPS, EPOCHS = 8, 6, 4


def data():
    """Return inputs and targets for ``STEPS`` batches."""
    x = np.random.default_rng(0).normal(size=(BATCH * STEPS, 8)).astype("float32")
    return x, np.tanh(x[:, :6] * x[:, 1:7])


def net(kind=keras.Sequential, dtype=None):
    """Return the float model; ``kind`` is the class that joins its layers."""
    keras.utils.set_random_seed(1)
    layers = keras.layers
    return kind(
        [
            keras.Input((8,)),
            layers.Dense(12, activation="relu", name="first", dtype=dtype),
            layers.Dense(6, name="last", dtype=dtype),
        ]
    )


def prepare(technique, folder, kind=keras.Sequential, dtype=None):
    """Prepare a training.

    Args:
        technique: one of ``TECHNIQUES``.
        folder: where a teacher's cache goes.
        kind: the class of the float model.
        dtype: its layers' dtype policy.

    Returns:
        The model to compile, what ``fit`` takes as data, and the callbacks.
    """
    model, (x, y), callbacks = net(kind, dtype), data(), []
    fed = {"x": x, "y": y, "batch_size": BATCH, "shuffle": False}
    if technique == "pruning":
        schedule = tfc.PolynomialDecay(0.0, 0.75, begin_step=1, end_step=20, frequency=3)
        callbacks = [MagnitudePruning(schedule)]
    elif technique == "quantization":
        model = tfc.quantize_aware(model)
    elif technique == "clustering":
        model = tfc.cluster_weights(model, 6, mobility=0.7)
    else:
        teacher = net()
        cache = tfc.cache_teacher(teacher, x, folder / "cache", batch_size=BATCH, progress=False)
        model = tfc.Distiller(model, cache, tfc.LogitsMSE())
        fed = {"x": cache.attach(x, y, batch_size=BATCH, shuffle=False)}
    return model, fed, callbacks
