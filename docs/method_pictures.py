"""Draw what the methods do, for the documentation: `python docs/method_pictures.py`."""

import pathlib

import keras
import matplotlib
import numpy as np
import tensorflow as tf

matplotlib.use("svg")

import matplotlib.pyplot as plt

import tfcompress as tfc
from tfcompress.clustering.centroids import INITIALIZATIONS
from tfcompress.clustering.soft_kmeans import soft_clusters
from tfcompress.distillation.arithmetic import soft_label_divergence
from tfcompress.pruning import hard_concrete
from tfcompress.pruning.dynamic_sparse_training import drop_fraction
from tfcompress.pruning.masks import smallest
from tfcompress.pruning.sparse_optimization import soft_threshold
from tfcompress.quantization.arithmetic.fake_quantization import fake_quantize_activations
from tfcompress.quantization.arithmetic.observers import NO_RANGE, OBSERVERS

IMAGES = pathlib.Path(__file__).parent / "images"


def pruning():
    """Thresholds, and a threshold for each of two layers or one for both."""
    figure, (pulled, shared) = plt.subplots(1, 2, figsize=(11, 3))
    w = np.linspace(-2, 2, 401)
    pulled.plot(w, np.where(smallest(np.abs(w), 151), 0, w), label="hard: masks, IHT")
    pulled.plot(w, soft_threshold(w, 0.75), label="soft: ISTA")
    pulled.set(xlabel="weight", ylabel="weight after it")
    pulled.legend(fontsize=8)
    generator = np.random.default_rng(0)
    layers = [generator.normal(0, width, 4000) for width in (0.5, 1.0)]
    thresholds = [np.sort(np.abs(layer))[len(layer) // 2] for layer in layers]
    both = np.abs(np.concatenate(layers))
    for place, (layer, threshold) in enumerate(zip(layers, thresholds, strict=True)):
        name = ("first", "second")[place]
        shared.hist(np.abs(layer), 80, histtype="step", color=f"C{place}", label=f"{name} layer")
        shared.axvline(threshold, color=f"C{place}", linestyle="--")
    shared.axvline(np.sort(both)[len(both) // 2], color="black", label='scope="global"')
    shared.set(xlabel="magnitude, and the thresholds at 50 %", ylabel="weights")
    shared.legend(fontsize=8)
    return figure


def quantization():
    """Rounding to a grid, and where observers end that grid."""
    figure, (grid, ranges) = plt.subplots(1, 2, figsize=(11, 3.2))
    x = np.linspace(-1.6, 2.2, 1000, dtype=np.float32)
    rounded = fake_quantize_activations(tf.constant(x), tf.constant([-1.0, 1.5]), bits=3)
    grid.plot(x, x, color="tab:gray", linewidth=1, label="float")
    grid.plot(x, rounded, label="3 bits, range [-1, 1.5]")
    grid.set(xlabel="value", ylabel="stored as")
    grid.legend(fontsize=8)

    batch = np.random.default_rng(0).standard_t(4, 20000).astype(np.float32)
    ranges.hist(batch, 200, color="tab:gray", log=True)
    for place, name in enumerate(("min_max", "percentile", "mse", "kl")):
        observer = OBSERVERS[name]()
        observed = observer.observe(tf.constant(batch), 4, False)
        for end in observer.follow(tf.constant(NO_RANGE), observed).numpy():
            ranges.axvline(end, color=f"C{place}", label=name if end > 0 else None)
    ranges.set(xlabel="activation, and the ends of a range of 4 bits", ylabel="count")
    ranges.legend(fontsize=8)
    return figure


def distillation():
    """Probabilities at temperatures, and the loss between two predictions."""
    figure, (labels, loss) = plt.subplots(1, 2, figsize=(11, 3.2))
    teacher = np.array([6.0, 3.0, 1.0, 0.0, -1.0], np.float32)
    for place, temperature in enumerate((1, 3, 10)):
        soft = keras.ops.softmax(teacher / temperature)
        labels.bar(np.arange(5) + 0.27 * (place - 1), soft, 0.25, label=f"T = {temperature}")
        shifts = np.linspace(-6, 6, 121, dtype=np.float32)
        students = np.tile(teacher, (len(shifts), 1))
        students[:, 1] += shifts
        loss.plot(shifts, soft_label_divergence(teacher, students, float(temperature)))
    labels.set(xlabel="class", ylabel="the teacher's probability")
    labels.legend(fontsize=8)
    loss.set(xlabel="how far the student's logit of class 1 is off", ylabel="T² KL")
    return figure


def clustering():
    """Where shared values start, and how differentiable k-means mixes them."""
    figure, axes = plt.subplots(1, 5, figsize=(15, 3))
    weights = np.sort(np.random.default_rng(0).normal(size=2000)).astype(np.float32)
    for axis, (name, place) in zip(axes, sorted(INITIALIZATIONS.items()), strict=False):
        axis.hist(weights, 60, color="lightgray")
        for value in place(weights.astype(np.float64), 8, np.random.default_rng(1)):
            axis.axvline(value, linewidth=1)
        axis.set(title=f'"{name}"', xlabel="weight")
    start = INITIALIZATIONS["linear"](weights, 4, None).astype(np.float32)
    for temperature in (0.02, 0.1, 0.5):
        mixed, _ = soft_clusters(weights[None], start[None], temperature, 5)
        axes[-1].plot(weights, mixed[0], label=f"temperature {temperature}")
    axes[-1].set(title="differentiable, 4 values", xlabel="weight", ylabel="computed with")
    axes[-1].legend(fontsize=7)
    return figure


def structure():
    """A removed channel in two kernels, learned gates, and how much sparse training moves."""
    figure, (before, after, gates, moves) = plt.subplots(1, 4, figsize=(15, 3))
    keras.utils.set_random_seed(0)
    image = keras.Input((6,))
    hidden = keras.layers.Dense(8, use_bias=False, name="first")(image)
    net = keras.Model(image, keras.layers.Dense(4, use_bias=False, name="second")(hidden))
    smaller = tfc.remove_channels(net, ratio=0.5)
    kernels = [net.get_layer(name).get_weights()[0] for name in ("first", "second")]
    kept = smaller.get_layer("first").get_weights()[0]
    gone = [not any((column == stays).all() for stays in kept.T) for column in kernels[0].T]
    for axis, name, kernel in ((before, "first", kernels[0]), (after, "second", kernels[1].T)):
        axis.imshow(np.where(gone, np.nan, np.abs(kernel)), aspect="auto", cmap="Blues", vmin=0)
        axis.set(title=f"kernel of `{name}`", xlabel="channel between them", yticks=[])
    noise = np.random.default_rng(0).uniform(1e-6, 1 - 1e-6, 20000).astype(np.float32)
    for logit in (-2.0, 0.0, 2.0):
        drawn = np.sort(keras.ops.convert_to_numpy(hard_concrete.sampled(logit, noise)))
        gates.plot(drawn, np.linspace(0, 1, len(drawn)), label=f"logit {logit:+.0f}")
    gates.set(title="a gate", xlabel="value", ylabel="share of draws below")
    gates.legend(fontsize=8, loc="center")
    progress = np.linspace(0, 1, 100)
    moves.plot(progress, [drop_fraction(0.3, part) for part in progress])
    moves.set(title="RigL and SET", xlabel="progress", ylabel="share of weights that move")
    moves.set_ylim(0)
    return figure


def repair():
    """The ranges of channels between two layers, before and after equalization."""
    keras.utils.set_random_seed(0)
    image = keras.Input((8,))
    hidden = keras.layers.Dense(16, activation="relu", name="first")(image)
    net = keras.Model(image, keras.layers.Dense(4, name="second")(hidden))
    kernel, bias = net.get_layer("first").get_weights()
    net.get_layer("first").set_weights([kernel * np.geomspace(0.05, 2, 16), bias])
    equalized = tfc.equalize(net, np.random.default_rng(0).normal(size=(256, 8)).astype(np.float32))
    figure, axes = plt.subplots(1, 2, figsize=(11, 2.8), sharey=True)
    for axis, name, over in zip(axes, ("first", "second"), (0, 1), strict=True):
        for place, (model, label) in enumerate(((net, "before"), (equalized, "after"))):
            largest = np.abs(model.get_layer(name).get_weights()[0]).max(over)
            axis.bar(np.arange(16) + 0.4 * place - 0.2, largest, 0.4, label=label)
        axis.set(title=f"kernel of `{name}`", xlabel="channel between them")
    axes[0].set_ylabel("largest weight")
    axes[0].legend(fontsize=8)
    return figure


def main():
    """Write docs/images/<method>.svg."""
    plt.rcParams["svg.hashsalt"] = "tfcompress"  # the same file on every run
    IMAGES.mkdir(exist_ok=True)
    for draw in (pruning, quantization, distillation, clustering, structure, repair):
        figure = draw()
        figure.tight_layout()
        figure.savefig(IMAGES / f"{draw.__name__}.svg", metadata={"Date": None})


if __name__ == "__main__":
    main()
