"""Quantize a saved model without training it: every kind of file, side by side.

python examples/post_training.py model.keras --data samples.npz
python examples/post_training.py --smoke    # seconds, on a model made here, to see that it runs

The model is a .keras file, or a .keras or .h5 file of tf_keras; samples.npz holds `x`, some hundred
inputs like those in use, and `y`, their labels, if there are any.
"""

import argparse

import keras
import numpy as np
from keras import layers as kl

from exporters import benchmark, export_tflite
from tfcompress.cli.model_argument import load_model

KINDS = ("float32", "float16", "dynamic", "int8", "int16x8")

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("model", nargs="?", help="a saved model")
parser.add_argument("--data", help="an .npz file with x, and y if there are labels")
parser.add_argument("--smoke", action="store_true", help="run for seconds")
options = parser.parse_args()

if options.smoke:
    made = keras.Sequential(
        [
            keras.Input((16, 16, 3)),
            kl.Conv2D(8, 3, activation="relu"),
            kl.GlobalAveragePooling2D(),
            kl.Dense(4),
        ]
    )
    made.save("model.keras")
    generator = np.random.default_rng(0)
    np.savez("samples.npz", x=generator.normal(size=(64, 16, 16, 3)), y=np.arange(64) % 4)
    options.model, options.data = "model.keras", "samples.npz"
if options.model is None or options.data is None:
    parser.error("a model and --data are needed")

model = load_model(options.model)
with np.load(options.data) as samples:
    x, y = samples["x"].astype("float32"), samples.get("y")

# The first half shows the ranges of activations, the second half what the files are worth.
half = len(x) // 2
judged = x[half:] if y is None else (x[half:], y[half:])
results = {
    kind: export_tflite(
        model, f"{kind}.tflite", kind, representative_data=x[:half], validation_data=judged
    )
    for kind in KINDS
}
times = benchmark([result.path for result in results.values()], runs=20).measurements

heads = ("bytes", "gzipped", "median ms", "accuracy", "same class")
print("file".ljust(10), *(head.rjust(10) for head in heads))
for (kind, result), time in zip(results.items(), times, strict=True):
    agreement = result.report.agreement
    shares = (agreement.metric, agreement.same_class)
    cells = [f"{result.size:,}", f"{result.gzip_size:,}", f"{1e3 * time.median:.3f}"]
    cells += ["" if share is None else f"{share:.4f}" for share in shares]
    print(kind.ljust(10), *(cell.rjust(10) for cell in cells))
