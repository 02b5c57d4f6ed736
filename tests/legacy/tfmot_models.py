"""Train small models with TFMOT and export them: `python tfmot_models.py FOLDER`.

A process of its own: importing TFMOT changes what `tf.keras` is.
"""

import json
import pathlib
import sys

import keras
import numpy as np
import tensorflow_model_optimization as tfmot
import tf_keras
from tf_keras import layers as kl

import tfcompress as tfc
from exporters import export_tflite, validate
from tfcompress.report import examine
from tfcompress.tflite.constants import constant_value
from tfcompress.tflite.flatbuffer import read_model

X = np.random.default_rng(0).normal(size=(64, 8, 8, 3)).astype("float32")
Y = np.random.default_rng(1).integers(0, 3, 64)
KERNELS = {"conv": 3 * 3 * 3 * 8, "dense": 6 * 6 * 8 * 3}


def net():
    layers = [kl.InputLayer((8, 8, 3), name="photo"), kl.Conv2D(8, 3, name="conv")]
    layers += [kl.BatchNormalization(name="norm"), kl.ReLU(name="relu"), kl.Flatten(name="flat")]
    return tf_keras.Sequential([*layers, kl.Dense(3, name="dense")])


def train(model, *callbacks):
    loss = tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("adam", loss)
    model.fit(X, Y, epochs=2, batch_size=16, verbose=0, callbacks=list(callbacks))
    return model


def exported(model, folder, **settings):
    """Export a model; return the evidence and the kernels of the file."""
    result = export_tflite(model, folder / "model.tflite", validation_data=X, **settings)
    content = read_model(result.path)
    kernels = {}
    for tensor in content.subgraphs[0].tensors:
        for name, size in KERNELS.items():
            if tensor.constant and tensor.dtype == "INT8" and np.prod(tensor.shape) == size:
                kernels[name] = constant_value(content, tensor).ravel()
    return {
        "float_operations": result.report.float_operations,
        "quantization": result.report.quantization,
        "zeros": {name: float(np.mean(values == 0)) for name, values in kernels.items()},
        "values": {name: len(np.unique(values)) for name, values in kernels.items()},
        "input": result.report.inputs[0],
        "reported": examine(
            result.path, model=model, data=X, kernels=["xnnpack"], runs=1, targets=["android"]
        ).agreement.same_class,
        "same_class": validate(result.path, against=model, data=X).same_class,
    }


def kernel_facts(model):
    kernels = {name: model.get_layer(name).kernel.numpy().ravel() for name in KERNELS}
    return {
        "zeros": {name: float(np.mean(values == 0)) for name, values in kernels.items()},
        "values": {name: len(np.unique(values)) for name, values in kernels.items()},
    }


def refusal(function, *args, **kwargs):
    try:
        function(*args, **kwargs)
    except (ValueError, RuntimeError) as error:
        return f"{type(error).__name__}: {error}"
    return "accepted"


def pruning(folder):
    schedule = tfmot.sparsity.keras.ConstantSparsity(0.5, begin_step=0, frequency=1)
    model = tfmot.sparsity.keras.prune_low_magnitude(net(), schedule)
    train(model, tfmot.sparsity.keras.UpdatePruningStep())
    for layer in model.layers:  # what the optimizer does between two of TFMOT's updates
        if layer.trainable_weights and layer.name.endswith(("conv", "dense")):
            layer.layer.kernel.assign_add(np.full(layer.layer.kernel.shape, 1e-3, "float32"))
    before = model.get_weights()
    rebuilt = tfc.from_tf_keras(model)
    untouched = all(map(np.array_equal, before, model.get_weights()))
    model.save(folder / "pruned.h5")
    return {
        "rebuilt": kernel_facts(rebuilt),
        "from_file": kernel_facts(tfc.from_tf_keras(tfc.load_tf_keras(folder / "pruned.h5"))),
        "untouched": untouched,
        "file": exported(model, folder, representative_data=X),
    }


def clustering(folder):
    start = tfmot.clustering.keras.CentroidInitialization.KMEANS_PLUS_PLUS
    model = tfmot.clustering.keras.cluster_weights(
        net(), number_of_clusters=4, cluster_centroids_init=start
    )
    train(model)
    return {
        "rebuilt": kernel_facts(tfc.from_tf_keras(model)),
        "file": exported(model, folder, representative_data=X),
    }


def quantization(folder):
    model = train(tfmot.quantization.keras.quantize_model(net()))
    weights = {weight.name: weight.numpy() for weight in model.weights}
    first = "quantize_layer/quantize_layer_"
    return {
        "input_range": [float(weights[first + "min:0"]), float(weights[first + "max:0"])],
        "file": exported(model, folder),
        "other_integers": differing_integers(model, folder / "model.tflite"),
        "rebuilding": refusal(tfc.from_tf_keras, model),
        "other": refusal(export_tflite, model, folder / "other.tflite", "float16"),
    }


def differing_integers(model, path):
    """Count the integers of a file's kernels that are not those of training."""
    content = read_model(path)
    found = {}
    for name, size in KERNELS.items():
        ((kernel, quantizer, limits),) = model.get_layer(f"quant_{name}")._weight_vars
        step = limits["max_var"].numpy() / 127
        trained = np.rint(quantizer(kernel, training=False, weights=limits).numpy() / step)
        (stored,) = (
            constant_value(content, tensor)
            for tensor in content.subgraphs[0].tensors
            if tensor.constant and tensor.dtype == "INT8" and np.prod(tensor.shape) == size
        )
        # The scale of a normalization may have turned the sign of a channel.
        trained = np.moveaxis(trained, -1, 0).reshape(trained.shape[-1], -1)
        stored = stored.reshape(trained.shape)
        turned = np.sign((stored * trained).sum(1, keepdims=True))
        found[name] = int((stored != turned * trained).sum())
    return found


def partial_quantization(folder):
    annotate = tfmot.quantization.keras.quantize_annotate_layer
    model = tf_keras.models.clone_model(
        net(), clone_function=lambda layer: annotate(layer) if layer.name == "dense" else layer
    )
    model = train(tfmot.quantization.keras.quantize_apply(model))
    return {
        "refused": refusal(export_tflite, model, folder / "partial.tflite"),
        "allowed": exported(model, folder, allow_float=["relu", "quant_flat", "quant_dense"]),
        "observed": exported(model, folder, representative_data=X),
    }


def main():
    folder = pathlib.Path(sys.argv[1])
    found = {
        "pruning": pruning(folder),
        "clustering": clustering(folder),
        "quantization": quantization(folder),
        "partial_quantization": partial_quantization(folder),
        "keras": keras.__version__,
    }
    (folder / "found.json").write_text(json.dumps(found, default=float))


if __name__ == "__main__":
    main()
