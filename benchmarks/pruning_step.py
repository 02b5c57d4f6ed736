"""What pruning costs while training: MobileNetV2-0.35 at 96x96, batch 32.

Trainings of the same length take turns every few steps, each round with fresh models: plain and
with MagnitudePruning on Keras 3, plain and with TFMOT on tf_keras. Reported are medians over the
turns, the ratios to plain within a turn, and the memory of the masks in bytes a weight.

    python benchmarks/pruning_step.py --rounds 3 --json pruning_step.json
"""

import argparse
import functools

import keras
import numpy as np
from step_timing import compare, make_data, make_model, take_turns, write_json

from keras_callbacks import MagnitudePruning
from tfcompress.graph.kernels import find_kernels
from tfcompress.pruning import PolynomialDecay

try:
    import tensorflow_model_optimization as tfmot
    import tf_keras
except ImportError as missing:
    tfmot, MISSING = None, missing

FREQUENCY = 10


def keras_plain():
    return make_model(keras), []


def tfmot_plain():
    return make_model(tf_keras), []


def keras_pruned(steps):
    schedule = PolynomialDecay(0.0, 0.75, 0, steps, frequency=FREQUENCY)
    return make_model(keras), [MagnitudePruning(schedule)]


def tfmot_pruned(steps):
    schedule = tfmot.sparsity.keras.PolynomialDecay(0.0, 0.75, 0, steps, frequency=FREQUENCY)
    model = tfmot.sparsity.keras.prune_low_magnitude(make_model(tf_keras), schedule)
    return model, [tfmot.sparsity.keras.UpdatePruningStep()]


def mask_bytes_per_weight():
    """Return the memory of the masks over the number of weights that they mask."""
    model = make_model(keras)
    model.compile("sgd", "sparse_categorical_crossentropy")
    x, y = np.zeros((1, 96, 96, 3), "float32"), np.zeros(1)
    pruning = MagnitudePruning(PolynomialDecay(0.0, 0.75, 0, 1))
    model.fit(x, y, verbose=0, callbacks=[pruning])
    kernels = [kernel for kernel in find_kernels(model) if not kernel.depthwise]
    masks = sum(kernel.variable.constraint.mask.value.numpy().nbytes for kernel in kernels)
    return masks / sum(kernel.size for kernel in kernels)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=40, help="of an epoch")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--json", help="where to write the figures")
    arguments = parser.parse_args()
    steps = arguments.epochs * arguments.steps
    variants = {
        "Keras 3, plain": (keras, keras_plain),
        "Keras 3, MagnitudePruning": (keras, functools.partial(keras_pruned, steps)),
    }
    pairs = [("Keras 3, MagnitudePruning", "Keras 3, plain")]
    if tfmot is None:
        print(f"without TFMOT: {MISSING}")
    else:
        variants |= {
            "tf_keras, plain": (tf_keras, tfmot_plain),
            "tf_keras, TFMOT": (tf_keras, functools.partial(tfmot_pruned, steps)),
        }
        pairs += [("tf_keras, TFMOT", "tf_keras, plain")]
    data = make_data(arguments.steps)
    result = compare(take_turns(variants, data, arguments.epochs, arguments.rounds), pairs)
    result["mask_bytes_per_weight"] = mask_bytes_per_weight()
    print(f"masks: {result['mask_bytes_per_weight']:.2f} bytes a weight")
    write_json(arguments.json, result)


if __name__ == "__main__":
    main()
