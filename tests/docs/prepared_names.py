"""What the examples of docstrings and pages may use without saying where it comes from.

A tiny model, its data and its files, made anew for each example, and the project's public names.
"""

import functools
import importlib
import json
import pathlib

import keras
import numpy as np
import tensorflow as tf
from keras import layers as kl

import tfcompress
from exporters import export_tflite

PACKAGES = ("tfcompress", "exporters", "keras_callbacks")
X = np.random.default_rng(0).uniform(-1, 1, (32, 8, 8, 3)).astype("float32")
Y = np.random.default_rng(1).integers(0, 3, len(X))
LOSS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def compiled(net):
    net.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return net


def classifier():
    """A residual net with normalizations: there is something to prune, remove, fold and close."""
    image = keras.Input((8, 8, 3), name="image")
    x = kl.Conv2D(16, 3, padding="same", strides=2, use_bias=False, name="stem")(image)
    x = kl.ReLU(name="act")(kl.BatchNormalization(name="norm")(x))
    for block in ("block1", "block2"):
        y = kl.Conv2D(16, 3, padding="same", activation="relu", name=f"{block}_conv")(x)
        x = kl.Add(name=f"{block}_add")([x, y])
    x = kl.GlobalAveragePooling2D(name="pool")(x)
    return compiled(keras.Model(image, kl.Dense(3, name="head")(x), name="net"))


def convolution(name):
    return kl.Conv2D(4, 3, padding="same", activation="relu", name=name)


def plain_net(*parts):
    """Layers one after the other, then an embedding and logits."""
    image = keras.Input((8, 8, 3), name="image")
    x = image
    for part in parts:
        x = part(x)
    x = kl.Dense(4, name="embedding")(kl.GlobalAveragePooling2D(name="pool")(x))
    return compiled(keras.Model(image, kl.Dense(3, name="head")(x)))


@functools.cache
def quantized():
    """A quantization-aware model; examples that only read it share it."""
    return tfcompress.quantize_aware(classifier()).calibrate(X)


def tf_keras_net():
    import tf_keras

    return tf_keras.Sequential(
        [tf_keras.Input((8, 8, 3)), tf_keras.layers.Flatten(), tf_keras.layers.Dense(3)]
    )


PREPARED = {
    "keras": lambda: keras,
    "np": lambda: np,
    "tf": lambda: tf,
    "tfc": lambda: tfcompress,
    **dict.fromkeys(("model", "classifier"), classifier),
    "quantized": quantized,
    "old_model": tf_keras_net,
    "student": lambda: plain_net(*map(convolution, ("conv1", "conv2", "conv3"))),
    "teacher": lambda: plain_net(
        convolution("conv1"),
        convolution("conv4"),
        keras.Sequential([convolution("conv")], name="block5"),
    ),
    "dataset": lambda: tf.data.Dataset.from_tensor_slices((X, Y)).batch(32),
    "loss": lambda: LOSS,
    "images": lambda: X[:8],
    "names": lambda: ["rock", "paper", "scissors"],
    "schedule": lambda: tfcompress.ConstantSparsity(0.5, begin_step=0),
    "history": lambda: {"loss": [1.0, 0.5], "val_loss": [1.1, 0.6]},
    **dict.fromkeys(("x", "x_train"), lambda: X),
    **dict.fromkeys(("y", "y_train"), lambda: Y),
    **dict.fromkeys(("x_test", "x_val", "x_validation"), lambda: X[:32]),
    **dict.fromkeys(("y_test", "y_val", "y_validation"), lambda: Y[:32]),
}


class Names(dict):
    """The names that code finds: its own, else prepared ones, made when used, else public ones."""

    def __missing__(self, name):
        if name in PREPARED:
            self[name] = PREPARED[name]()
            return self[name]
        for package in map(importlib.import_module, PACKAGES):
            if name in package.__all__:
                return getattr(package, name)
        raise KeyError(name)


def write_files(folder):
    """Write the files that examples read."""
    net = classifier()
    export_tflite(net, folder / "model_float.tflite", "float32")
    export_tflite(net, folder / "model_int8.tflite", representative_data=X[:32])
    for name in ("model.tflite", "downloaded.tflite", "int8.tflite", "m.tflite"):
        (folder / name).write_bytes((folder / "model_int8.tflite").read_bytes())
    (folder / "float.tflite").write_bytes((folder / "model_float.tflite").read_bytes())
    (folder / "compressed.json").write_text(json.dumps({"loss": [1.0, 0.7]}))
    net.save(folder / "checkpoint_5.keras")
    tfcompress.cluster_weights(net, 16).save(folder / "model.keras")
    for name in ("pruned.h5", "old_model.h5"):
        tf_keras_net().save(folder / name)
    page = (pathlib.Path(__file__).parents[2] / "docs" / "compress.md").read_text("utf-8")
    (folder / "search").mkdir()
    (folder / "search" / "result.json").write_text(page.split("```json\n")[1].split("```")[0])


def lay_out(files, folder, code):
    """Copy the files that a piece of code names."""
    for file in files.rglob("*.*"):
        if file.name in code:
            copy = folder / file.relative_to(files)
            copy.parent.mkdir(exist_ok=True)
            copy.write_bytes(file.read_bytes())
