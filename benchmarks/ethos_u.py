"""What zeros and shared weights are worth on an Arm Ethos-U NPU, by its compiler.

    python benchmarks/ethos_u.py --json ethos_u.json

MobileNetV1-0.25 for 96x96 images with its initial weights: as it is, with 75 % of zeros, with 16
values in each kernel, and both. Each is exported as int8 and compiled by Vela. Initial weights are
uniform, the hardest for the encoding; zeros and shared values are those of `MagnitudePruning` and
`cluster_weights`.
"""

import argparse
import json
import os
import pathlib
import tempfile

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np

import tfcompress as tfc
from exporters import check_target, export_tflite
from keras_callbacks import MagnitudePruning

TARGETS = ("ethos-u55-128", "ethos-u65-256", "ethos-u85")
SHAPE = (96, 96, 3)


def network():
    keras.utils.set_random_seed(0)
    return keras.applications.MobileNet(
        SHAPE, alpha=0.25, weights=None, classes=2, classifier_activation=None, dropout=0.0
    )


def train_one_step(model, callbacks=()):
    """One step at no learning rate: callbacks and constraints act, weights stay."""
    images = np.random.default_rng(0).random((8, *SHAPE), "float32")
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.0), loss)
    model.fit(images, np.zeros(8), verbose=0, callbacks=list(callbacks))
    return model


def pruned():
    schedule = tfc.ConstantSparsity(0.75, begin_step=0, frequency=1)
    return train_one_step(network(), [MagnitudePruning(schedule, sparsity_distribution="uniform")])


MODELS = {
    "dense": network,
    "75 % zeros": pruned,
    "16 values": lambda: tfc.cluster_weights(network(), 16),
    "75 % zeros, 16 values": lambda: tfc.cluster_weights(pruned(), 16),
}


def export(model, path, quantization="int8"):
    """Export a model after training."""
    samples = np.random.default_rng(1).random((64, *SHAPE), "float32")
    export_tflite(model, path, quantization, representative_data=samples)


def measure(name, model, folder):
    """Return the rows of a model: one for each target."""
    path = pathlib.Path(folder, "model.tflite")
    export(model, path)
    for target in TARGETS:
        compiled = check_target(path, target).compiled
        yield {
            "model": name,
            "target": target,
            "file": path.stat().st_size,
            "flash": compiled.flash,
            "encoded_weights": compiled.encoded_weights,
            "sram": compiled.sram,
            "cycles": compiled.cycles,
            "left_on_cpu": len(compiled.left_on_cpu),
        }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", required=True, help="where the figures go")
    arguments = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name, make in MODELS.items():
            rows += measure(name, make(), folder)
            for row in rows[-len(TARGETS) :]:
                print(row, flush=True)
    pathlib.Path(arguments.json).write_text(json.dumps(rows, indent=2))


if __name__ == "__main__":
    main()
