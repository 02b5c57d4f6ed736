"""What the benchmark of growth times: a technique on a network of some width or depth."""

import tempfile
import time

import keras
import numpy as np
from contenders import CONTENDERS

import tfcompress as tfc

BATCH, STEPS = 8, 3
BLOCKS, WIDTH = 6, 32
EXAMPLES = 64
CONTENDER_OF = {
    "plain": "Keras 3, plain",
    "pruning": "Keras 3, pruning",
    "clustering": "Keras 3, clustering",
    "QAT": "Keras 3, QAT",
}


def make_model(width, blocks=BLOCKS):
    """Return a network whose weights grow with the square of its width.

    Args:
        width: the channels of every layer.
        blocks: pairs of a depthwise and a 1x1 convolution.
    """
    kl = keras.layers

    def rectified(x):
        return kl.ReLU()(kl.BatchNormalization()(x))

    inputs = keras.Input((32, 32, 3))
    x = rectified(kl.Conv2D(width, 3, 8, padding="same", use_bias=False)(inputs))
    for _ in range(blocks):
        x = rectified(kl.DepthwiseConv2D(3, padding="same", use_bias=False)(x))
        x = rectified(kl.Conv2D(width, 1, use_bias=False)(x))
    x = kl.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, kl.Dense(10, activation="softmax")(x))


def make_data(count):
    """Return random images and labels."""
    rng = np.random.default_rng(0)
    return rng.random((count, 32, 32, 3), dtype=np.float32), rng.integers(0, 10, count)


def seconds_of(work):
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def with_weights(width, technique, round):
    """Return the number of weights, and the seconds of what a technique does to them."""
    keras.backend.clear_session()
    model = make_model(width)
    if technique == "removal of channels":
        seconds = {technique: seconds_of(lambda: tfc.remove_channels(model, ratio=0.5))}
    else:
        seconds = trained(model, technique)
    return {"size": model.count_params(), "seconds": seconds}


def trained(plain, technique):
    """Return the seconds of the wrapping, of an epoch after the first one, and of the export."""
    contender = CONTENDERS[CONTENDER_OF[technique]]
    start = time.perf_counter()
    model, callbacks = contender.set_up(plain, STEPS)
    wrapping = time.perf_counter() - start
    model.compile("sgd", "sparse_categorical_crossentropy")

    def epoch():
        x, y = make_data(BATCH * STEPS)
        model.fit(x, y, batch_size=BATCH, verbose=0, callbacks=callbacks)

    epoch()  # traces
    seconds = {f"epoch of {STEPS} steps, {technique}": seconds_of(epoch)}
    if technique in ("clustering", "QAT"):
        seconds[f"wrapping, {technique}"] = wrapping
    if technique == "QAT":
        seconds["export, QAT"] = seconds_of(lambda: contender.export(model))
    return seconds


def with_layers(blocks, technique, round):
    """Return the number of layers with weights to compress, and the seconds of a technique."""
    keras.backend.clear_session()
    keras.utils.set_random_seed(round)
    model = make_model(WIDTH, blocks)
    seconds = {"sensitivity": sensitivity, "trial of a search": trial}[technique](model)
    return {"size": 2 * blocks + 2, "seconds": {technique: seconds}}


def sensitivity(model):
    x, _ = make_data(EXAMPLES)
    return seconds_of(lambda: tfc.sensitivity(model, x, progress=False))


def trial(model):
    """Return the seconds of the first trial that is trained, for one epoch."""
    data = make_data(EXAMPLES)
    with tempfile.TemporaryDirectory() as folder:
        result = tfc.compress(
            model, data, data, max_accuracy_drop=0.5, time_budget=3600, directory=folder,
            epochs=1, max_trials=2, runs=10, progress=False,
        )  # fmt: skip
        last = result.trials[-1]
    if last.error:
        raise RuntimeError(last.error)
    return last.seconds


SERIES = {"weights": with_weights, "layers": with_layers}
