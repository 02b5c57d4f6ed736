"""Tell digits that are drawn in the air: an LSTM on strokes, quantized after training.

python examples/gestures.py --data strokes.npz   # some minutes on two cores
python examples/gestures.py --smoke              # seconds, on made-up strokes, to see that it runs

The file holds `xy` (points of all strokes, one after the other), `offsets` (where each begins, and
the end) and `y` (0 to 9), as in https://github.com/petewarden/magic_wand_digit_data.
"""

import argparse
import itertools

import keras
import numpy as np
from keras import layers as kl

from exporters import benchmark, export_tflite

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--data", help="the strokes, an .npz file")
parser.add_argument("--smoke", action="store_true", help="run for seconds")
options = parser.parse_args()
STEPS, EPOCHS, UNITS = (8, 1, 8) if options.smoke else (48, 60, 48)


def strokes():
    """Load the strokes as lists of points, and their labels."""
    if options.data is None:  # arcs of ten lengths, so that the script runs without anything
        labels = np.arange(200) % 10
        generator = np.random.default_rng(0)
        angles = [np.linspace(0, 0.6 * (1 + label), 60) for label in labels]
        made = [np.stack([np.cos(a), np.sin(a)], axis=1) for a in angles]
        return [one + generator.normal(0, 0.02, one.shape) for one in made], labels
    with np.load(options.data) as file:
        xy, offsets = file["xy"], file["offsets"]
        parts = [xy[start:end] for start, end in itertools.pairwise(offsets)]
        return parts, file["y"].astype("int64")


def resampled(points):
    """Take the same number of points from every stroke, as steps from each to the next."""
    places = np.linspace(0, len(points) - 1, STEPS + 1)
    even = [np.interp(places, np.arange(len(points)), axis) for axis in points.T]
    steps = np.diff(np.stack(even, axis=1), axis=0)
    return steps / np.abs(steps).max()


parts, y = strokes()
x = np.stack([resampled(part) for part in parts]).astype("float32")
order = np.random.default_rng(1).permutation(len(x))
test, train = order[: len(x) // 5], order[len(x) // 5 :]

model = keras.Sequential(
    [
        keras.Input((STEPS, 2)),
        kl.Conv1D(UNITS, 5, strides=2, padding="same", activation="relu"),
        kl.LSTM(UNITS),
        kl.Dropout(0.3),
        kl.Dense(10),
    ]
)
model.compile(
    keras.optimizers.Adam(3e-3),
    keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    metrics=["accuracy"],
    jit_compile=False,
)
model.fit(x[train], y[train], epochs=EPOCHS, verbose=2)

# The loop over time becomes one operation of the device, with integers alone.
some, judged = x[train][:200], (x[test], y[test])
results = {
    kind: export_tflite(
        model, f"gestures_{kind}.tflite", kind, representative_data=some, validation_data=judged
    )
    for kind in ("float32", "int8")
}
print(results["int8"].report)
print(benchmark([result.path for result in results.values()], runs=20).to_text())
for kind, result in results.items():
    print(f"{kind}: accuracy {result.report.agreement.metric:.4f}, {result.size:,} bytes")
