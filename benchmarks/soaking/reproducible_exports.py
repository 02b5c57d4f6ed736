"""The same model exported by fresh processes, with other hash seeds: are the files equal?

python benchmarks/soaking/reproducible_exports.py FOLDER    # one process: a hash of each file
"""

import hashlib
import json
import pathlib
import sys
import tempfile

if __name__ == "__main__":
    sys.path[:0] = [str(pathlib.Path(__file__).resolve().parents[1])]

from soaking.processes import rows_of, table

NAMED = ("int8", "int16x8", "dynamic", "float16")


def measure(sizes):
    """Return a row for each kind of file, with the hashes that the processes found."""
    with tempfile.TemporaryDirectory() as folder:
        make_models(pathlib.Path(folder))
        found = [
            rows_of(__file__, folder, PYTHONHASHSEED=str(seed))[-1]
            for seed in range(sizes.processes)
        ]
    return [{"kind": kind, "hashes": [hashes[kind] for hashes in found]} for kind in found[0]]


def text(rows):
    """Return the figures as Markdown."""
    return table(
        ["file", "processes", "different files"],
        [[row["kind"], len(row["hashes"]), len(set(row["hashes"]))] for row in rows],
    )


def failed(rows):
    """Return the rows that show a fault."""
    return [row for row in rows if len(set(row["hashes"])) > 1]


def make_models(folder):
    """Save a float model and a quantization-aware one, trained, that all processes load."""
    import keras
    import numpy as np
    from keras import layers as kl

    import tfcompress as tfc

    keras.utils.set_random_seed(0)
    inputs = keras.Input((12, 12, 3))
    x = kl.ReLU(6.0)(kl.BatchNormalization()(kl.Conv2D(8, 3, use_bias=False)(inputs)))
    x = kl.Add()([x, kl.DepthwiseConv2D(3, padding="same")(x)])
    x = kl.LSTM(8)(kl.Reshape((4, 200))(x))
    model = keras.Model(inputs, kl.Dense(5, activation="softmax")(kl.Dense(32, "relu")(x)))
    quantized = tfc.quantize_aware(model)
    quantized.compile("sgd", "mse", jit_compile=False)
    examples = _examples()
    quantized.fit(examples, np.eye(5)[np.arange(len(examples)) % 5], batch_size=16, verbose=0)
    model.save(folder / "float.keras")
    quantized.save(folder / "quantized.keras")


def _examples():
    import numpy as np

    return np.random.default_rng(0).normal(size=(64, 12, 12, 3)).astype("float32")


def hashes(folder):
    """Export in this process; return the hash of each kind of file."""
    import keras

    from exporters import export_tflite

    def hashed(name, quantization, **settings):
        with tempfile.TemporaryDirectory() as scratch:
            path = pathlib.Path(scratch, "model.tflite")
            model = keras.saving.load_model(folder / name, compile=False)
            export_tflite(model, path, quantization, progress=False, **settings)
            return hashlib.sha256(path.read_bytes()).hexdigest()

    def after_training(name):
        data = {"representative_data": _examples()} if name.startswith("int") else {}
        return hashed("float.keras", name, **data)

    files = {f"{name}, after training": after_training(name) for name in NAMED}
    return {**files, "int8, quantization-aware": hashed("quantized.keras", None)}


if __name__ == "__main__":
    print(json.dumps(hashes(pathlib.Path(sys.argv[1]))))
