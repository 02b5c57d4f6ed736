"""Prune one compiled model over a grid of schedules, and report every miss."""

import contextlib
import itertools

import keras
import numpy as np

from keras_callbacks import MagnitudePruning
from tfcompress.keras_graph.kernels import find_kernels
from tfcompress.pruning import ConstantSparsity, PolynomialDecay

STEPS = 10
BEGINS = (0, 3)
ENDS = (7, 10, -1)
FREQUENCIES = (1, 4, 100)
TARGETS = [63, 31]  # 0.7 of 90 weights, and 0.7 * 45 = 31.5 in floating point, just below


def run(strategy=None, steps_per_execution=1, jit_compile=False, epochs=2):
    """Return the number of fits made, and the settings and zeros of those that missed."""
    with strategy.scope() if strategy else contextlib.nullcontext():
        model = keras.Sequential(
            [
                keras.Input((10,)),
                keras.layers.Dense(9, activation="tanh"),
                keras.layers.Dense(5),
            ]
        )
        model.compile(
            "adam", "mse", steps_per_execution=steps_per_execution, jit_compile=jit_compile
        )
    rng = np.random.default_rng(0)
    examples = 8 * STEPS // epochs
    x, y = (rng.normal(size=(examples, n)).astype("float32") for n in (10, 5))
    initial = model.get_weights()
    fits, misses = 0, []
    schedules = [
        PolynomialDecay(0.2, 0.7, begin, end, frequency=frequency)
        for begin, end, frequency in itertools.product(BEGINS, ENDS, FREQUENCIES)
    ] + [ConstantSparsity(0.7, begin, end) for begin, end in itertools.product(BEGINS, ENDS)]
    for schedule in schedules:
        model.set_weights(initial)
        for kernel in find_kernels(model):
            if kernel.variable.constraint is not None:
                kernel.variable.constraint.mask.assign(np.ones(kernel.variable.shape, bool))
        pruning = MagnitudePruning(schedule, sparsity_distribution="uniform")
        model.fit(x, y, batch_size=8, epochs=epochs, verbose=0, callbacks=[pruning])
        zeros = [int(np.count_nonzero(k.variable.numpy() == 0)) for k in find_kernels(model)]
        fits += 1
        if zeros != TARGETS:
            misses.append([repr(schedule), zeros])
    return fits, misses
