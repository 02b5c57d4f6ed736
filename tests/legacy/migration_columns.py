"""Run one column of the migration guide: `python migration_columns.py COLUMN GUIDE FOLDER`.

Every section begins with a new model. What the kernels, or the file, are like after its code is
written to FOLDER/found.json. A process for each column: importing TFMOT changes what `tf.keras` is.
"""

import json
import os
import pathlib
import re
import sys

import numpy as np

from tfcompress.tflite.constants import constant_value
from tfcompress.tflite.flatbuffer import read_model
from tfcompress.tflite.model import float_operations

COLUMNS = ("TFMOT", "tfcompress")
X = np.random.default_rng(0).normal(size=(64, 8, 8, 4)).astype("float32")
SIZES = {"conv": 3 * 3 * 4 * 8, "dense": 6 * 6 * 8 * 3}
Y = np.random.default_rng(1).integers(0, 3, 64)


def code_of(column, guide):
    """Return {heading: code} for one column; what stands under no column is ours."""
    sections, heading, current, lines = {}, "", COLUMNS[1], None
    for line in guide.splitlines():
        if lines is not None:
            if line == "```":
                sections.setdefault(heading, []).extend(lines if current == column else [])
                current, lines = COLUMNS[1], None
            else:
                lines.append(line)
        elif re.match("#+ ", line):
            heading = line.lstrip("# ")
        elif line.rstrip(":") in COLUMNS:
            current = line.rstrip(":")
        elif line == "```python":
            lines = []
    return {heading: "\n".join(lines) for heading, lines in sections.items() if lines}


def new_model(library):
    layers = library.layers
    model = library.Sequential(
        [
            layers.Conv2D(8, 3, name="conv"),
            layers.ReLU(name="relu"),
            layers.Flatten(),
            layers.Dense(3, name="dense"),
        ]
    )
    model.build((None, 8, 8, 4))
    return model


def names(column):
    """Return what the code of a column may use, but for the model."""
    import tf_keras

    if column == "TFMOT":
        import tensorflow as tf
        import tensorflow_model_optimization as tfmot

        return tf_keras, {"tf": tf, "tfmot": tfmot, "tf_keras": tf_keras}
    import keras

    import tfcompress as tfc
    from exporters import export_tflite
    from keras_callbacks import CompressionSummary, MagnitudePruning

    return keras, {
        "keras": keras,
        "tfc": tfc,
        "export_tflite": export_tflite,
        "CompressionSummary": CompressionSummary,
        "MagnitudePruning": MagnitudePruning,
        "old_model": new_model(tf_keras),
    }


def facts(space):
    found = {}
    for name in ("conv", "dense"):
        layers = {layer.name.removeprefix("quant_"): layer for layer in space["model"].layers}
        # Of a wrapper of TFMOT, the variable and not what it makes of it.
        (kernel,) = (
            weight.numpy()
            for weight in layers[name].weights
            if weight.name.removesuffix(":0").split("/")[-1] == "kernel"
        )
        found[name] = {
            "zeros": float(np.mean(kernel == 0)),
            "values": len(np.unique(kernel)),
            # The most weights that are kept of four neighbours along the input channels.
            "of_four": int((kernel.reshape(-1, 4, kernel.shape[-1]) != 0).sum(axis=1).max()),
        }
    if "file" in space:
        content = read_model(space["file"])
        found["float_operations"] = len(float_operations(content))
        found["zeros"] = {
            name: float(np.mean(constant_value(content, tensor) == 0))
            for tensor in content.subgraphs[0].tensors
            for name, size in SIZES.items()
            if tensor.constant and np.prod(tensor.shape) == size
        }
        found["input"] = content.subgraphs[0].tensors[content.subgraphs[0].inputs[0]].dtype
    return found


def main():
    column, guide, folder = sys.argv[1:]
    library, known = names(column)
    os.chdir(folder)
    found = {}
    for heading, code in code_of(column, pathlib.Path(guide).read_text()).items():
        library.utils.set_random_seed(0)
        loss = library.losses.SparseCategoricalCrossentropy(from_logits=True)
        space = known | {"model": new_model(library), "x": X, "y": Y, "loss": loss}
        exec(compile(code, heading, "exec"), space)
        found[heading] = facts(space)
    if column == "TFMOT":
        api = known["tfmot"]
        rooms = (api.sparsity.keras, api.clustering.keras, api.quantization.keras)
        found["names"] = [name for room in rooms for name in dir(room) if name[0] != "_"]
    pathlib.Path("found.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main()
