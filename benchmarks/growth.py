"""How the cost of each technique grows with the size of a model.

One depthwise-separable network is made wider and wider. Timed are a training step (plain, pruned,
quantization-aware, with clusters), the wrapping, the export of the quantization-aware model and the
removal of half of the channels; the exponent of each is the slope of a line through the logarithms.

    python benchmarks/growth.py --json growth.json
    python benchmarks/growth.py --fast
"""

import argparse
import json
import os
import pathlib
import statistics
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from contenders import CONTENDERS

import tfcompress as tfc

BATCH = 8
BLOCKS = 6
STEPS = 3
TECHNIQUES = {
    "plain": "Keras 3, plain",
    "pruning": "Keras 3, pruning",
    "clustering": "Keras 3, clustering",
    "QAT": "Keras 3, QAT",
}
# From 0.1 to 25 million weights.
WIDTHS = (125, 250, 500, 1000, 2040)
FAST_WIDTHS = (64, 125, 250)


def make_model(width):
    """Return a network whose weights grow with the square of its width."""
    kl = keras.layers

    def rectified(x):
        return kl.ReLU()(kl.BatchNormalization()(x))

    inputs = keras.Input((32, 32, 3))
    x = rectified(kl.Conv2D(width, 3, 8, padding="same", use_bias=False)(inputs))
    for _ in range(BLOCKS):
        x = rectified(kl.DepthwiseConv2D(3, padding="same", use_bias=False)(x))
        x = rectified(kl.Conv2D(width, 1, use_bias=False)(x))
    x = kl.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, kl.Dense(10, activation="softmax")(x))


def seconds_of(work):
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def measure_once(width):
    """Return {what: seconds} of a size."""
    rng = np.random.default_rng(0)
    x = rng.random((BATCH * STEPS, 32, 32, 3), dtype=np.float32)
    y = rng.integers(0, 10, len(x))
    found = {}
    for technique, name in TECHNIQUES.items():
        keras.backend.clear_session()
        plain = make_model(width)
        start = time.perf_counter()
        model, callbacks = CONTENDERS[name].set_up(plain, STEPS)
        if technique in ("clustering", "QAT"):
            found[f"wrapping, {technique}"] = time.perf_counter() - start
        model.compile("sgd", "sparse_categorical_crossentropy")
        arguments = {"batch_size": BATCH, "verbose": 0, "callbacks": callbacks}
        model.fit(x, y, **arguments)  # traces
        found[f"epoch of {STEPS} steps, {technique}"] = seconds_of(
            lambda model=model, arguments=arguments: model.fit(x, y, **arguments)
        )
        if technique == "QAT":
            found["export, QAT"] = seconds_of(
                lambda name=name, model=model: CONTENDERS[name].export(model)
            )
        if technique == "plain":
            found["removal of channels"] = seconds_of(
                lambda model=model: tfc.remove_channels(model, ratio=0.5)
            )
    return found


def measure(width, rounds):
    """Return the medians over the rounds, and each of them."""
    runs = [measure_once(width) for _ in range(rounds)]
    return {
        "width": width,
        "weights": make_model(width).count_params(),
        "seconds": {kind: statistics.median(run[kind] for run in runs) for kind in runs[0]},
        "runs": runs,
    }


def fit_exponent(sizes, seconds):
    """Return the slope of the line of least squares through the logarithms.

    Args:
        sizes: numbers of weights.
        seconds: the time of each.

    Returns:
        The exponent: 1 where the time is proportional to the size, 0 where it does not depend.
    """
    return float(np.polyfit(np.log(sizes), np.log(seconds), 1)[0])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, help="5 by default, 1 when fast")
    parser.add_argument("--fast", action="store_true", help="one round, small sizes")
    parser.add_argument("--json", type=pathlib.Path, help="where to write the figures")
    options = parser.parse_args()
    rounds = options.rounds or (1 if options.fast else 5)
    rows = []
    for width in FAST_WIDTHS if options.fast else WIDTHS:
        rows.append(measure(width, rounds))
        times = ", ".join(f"{kind} {value:.3f} s" for kind, value in rows[-1]["seconds"].items())
        print(f"{rows[-1]['weights']:,}: {times}", flush=True)
    sizes = [row["weights"] for row in rows]
    exponents = {
        kind: fit_exponent(sizes, [row["seconds"][kind] for row in rows])
        for kind in rows[0]["seconds"]
    }
    for kind, exponent in exponents.items():
        print(f"{kind:32}{exponent:6.2f}")
    if options.json:
        figures = {"rows": rows, "exponents": exponents}
        options.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
