"""Which networks of tf_keras.applications `from_tf_keras` rebuilds, and how equal they are.

python benchmarks/tf_keras_zoo.py            # all of them, a table on the terminal
python benchmarks/tf_keras_zoo.py VGG16 ...  # these
"""

import inspect
import sys
import time

import numpy as np
import tf_keras

import tfcompress as tfc

SMALLEST = {"InceptionV3": 75, "InceptionResNetV2": 75, "Xception": 71}


def networks():
    return {
        name: builder
        for name, builder in vars(tf_keras.applications).items()
        if inspect.isfunction(builder)
    }


def row(name, builder):
    """Rebuild a network with random weights and compare its outputs on random photos."""
    size = SMALLEST.get(name, 32)
    shape = (size, size, 3)
    # Without the top, as it fixes the size of some networks.
    model = builder(weights=None, input_shape=shape, include_top=False, pooling="avg")
    photos = np.random.default_rng(0).normal(size=(2, *shape)).astype("float32")
    start = time.perf_counter()
    try:
        rebuilt = tfc.from_tf_keras(model)
    except ValueError as error:
        return f"| {name} | {model.count_params():,} | refused: {error} | | |"
    seconds = time.perf_counter() - start
    expected, found = (np.asarray(one(photos, training=False)) for one in (model, rebuilt))
    difference = np.abs(found - expected).max() / np.abs(expected).max()
    return (
        f"| {name} | {model.count_params():,} | {len(rebuilt.layers)} | {difference:.1e} | "
        f"{seconds:.1f} |"
    )


def main():
    chosen = sys.argv[1:]
    print("| network | weights | layers | largest difference / largest output | seconds |")
    print("|---|---|---|---|---|")
    for name, builder in sorted(networks().items()):
        if not chosen or name in chosen:
            print(row(name, builder), flush=True)
            tf_keras.backend.clear_session()


if __name__ == "__main__":
    main()
