"""What the matrix of coverage does with a model: one function a cell, on a fresh model each.

A cell returns the figures that show it was done, or raises what stood in its way.
"""

import pathlib
import tempfile

import keras
import numpy as np
from coverage_models import examples, shortened
from limited_work import LeftOutError, described
from quiet_converter import convert_quantized
from structure import fill, silence

import tfcompress as tfc
from exporters import export_tflite, validate
from exporters.converting import convert_model
from exporters.running.runtime import load
from keras_callbacks import MagnitudePruning
from tfcompress.keras_graph.channels import read_channels
from tfcompress.keras_graph.kernels import find_kernels
from tfcompress.pruning.channels.importance import CRITERIA
from tfcompress.pruning.channels.selection import ChannelSelection
from tfcompress.tflite.flatbuffer import read_model
from tfcompress.tflite.model import float_operations
from tfcompress.tflite.numerics import sqnr

STEPS, BATCH, COMPARED = 2, 4, 32
SPARSITY, CLUSTERS, RATIO = 0.5, 8, 0.5
# What float32 rounding explains, relative to the largest output.
ROUNDING = 1e-4
# What rounding to integers, layer after layer, explains.
MOST_STEPS = 32


class FallsShortError(Exception):
    """A model came out, but not what was asked for."""


def begin(library, row):
    """Return a fresh model, data for its training, and inputs to compare outputs on."""
    library.backend.clear_session()
    library.utils.set_random_seed(0)
    model = shortened(row, library)
    return model, examples(model, STEPS * BATCH), examples(model, COMPARED, seed=1)[0]


def begin_filled(row):
    """Do so with weights that keep values at one scale: fresh ones let them fade with depth."""
    begun = begin(keras, row)
    fill(begun[0], np.random.default_rng(0))
    return begun


def begin_twin(row):
    """Do so on tf_keras, whose lack of a layer says nothing of TFMOT."""
    import tf_keras

    tf_keras.__internal__.enable_unsafe_deserialization()  # TFMOT makes each layer anew
    try:
        return tf_keras, *begin(tf_keras, row)
    except (AttributeError, ImportError, TypeError, ValueError) as error:
        raise LeftOutError(f"tf_keras: {described(error)}") from error


def trained(library, model, data, callbacks=(), rate=1e-3):
    model.compile(library.optimizers.SGD(rate), "mse", jit_compile=False)
    history = model.fit(*data, batch_size=BATCH, verbose=0, callbacks=list(callbacks))
    values = [history.history["loss"], *model.get_weights()]
    require(all(np.isfinite(value).all() for value in values), "the training diverges")
    return model


def require(holds, otherwise):
    if not holds:
        raise FallsShortError(otherwise)


def zeros_reached(masked):
    """Return the share of zeros of the weights that were pruned."""
    require(masked, "no weight was pruned")
    zeros = sum(np.count_nonzero(values == 0) for values in masked)
    share = float(zeros / sum(values.size for values in masked))
    require(abs(share - SPARSITY) < 0.01, f"{share:.1%} zeros where {SPARSITY:.0%} were asked for")
    return {"sparsity": share, "kernels": len(masked)}


def values_reached(counts):
    """Return the largest number of different values that a clustered kernel has."""
    require(counts, "no weight was clustered")
    require(max(counts) <= CLUSTERS, f"{max(counts)} values where {CLUSTERS} were asked for")
    return {"values": max(counts), "kernels": len(counts)}


def prune(row):
    model, data, _ = begin(keras, row)
    schedule = tfc.ConstantSparsity(SPARSITY, 0, frequency=1)
    trained(keras, model, data, [MagnitudePruning(schedule)])
    kernels = [kernel.variable for kernel in find_kernels(model) if not kernel.depthwise]
    return zeros_reached([keras.ops.convert_to_numpy(kernel) for kernel in kernels])


def cluster(row):
    model, data, _ = begin(keras, row)
    trained(keras, tfc.cluster_weights(model, CLUSTERS), data)
    values = tfc.unique_weights(model)
    kernels = [kernel.path for kernel in find_kernels(model) if not kernel.depthwise]
    return values_reached([values[path] for path in kernels])


def remove(row):
    """Remove half of the channels; the smaller model computes what the original without them does.

    Removed channels of the original are still there, but every weight that makes or reads one is
    zero.
    """
    model, _, inputs = begin_filled(row)
    smaller = tfc.remove_channels(model, ratio=RATIO)
    left = smaller.count_params() / model.count_params()
    require(left < 1, "no channel could be removed: what cannot be followed stays whole")
    flow = read_channels(model)
    removed = ChannelSelection(flow, flow.groups, CRITERIA["l1"](model, flow)).by_ratio(RATIO)
    silence(model, flow, removed)
    expected, found = (arrays(one(inputs, training=False)) for one in (model, smaller))
    return {"left": left, **rounding(expected, found)}


def arrays(outputs):
    """Return the outputs of a model as a list of arrays."""
    return [np.asarray(output) for output in keras.tree.flatten(outputs)]


def rounding(expected, found):
    """Return the largest difference, relative to the largest value of its output."""
    pairs = zip(expected, found, strict=True)
    difference = float(max(np.abs(one - other).max() / np.abs(one).max() for one, other in pairs))
    require(difference < ROUNDING, f"outputs differ by {difference:.0e} of the largest")
    return {"difference": difference}


def quantize_aware(row):
    """Train with the default scheme; the file has to compute what the model does."""
    model, data, inputs = begin(keras, row)
    model = trained(keras, tfc.quantize_aware(model, allow_float=row.allow_float), data)
    return agreed(convert_model(model).flatbuffer, model, inputs)


def agreed(file, model, inputs):
    """Return how well an integer file agrees with the model that computes with its numbers."""
    outputs = validate(file, model, inputs, kernels=["xnnpack"]).ran[0].outputs
    return agreement_figures(outputs) | {
        "float_operations": sorted({op.name for op in float_operations(read_model(file))}),
    }


def agreement_figures(outputs):
    """Return how well outputs agree, the worst of each figure; no output may be far off."""
    largest = max(output.largest for output in outputs)
    require(largest < MOST_STEPS, f"an output differs by {largest:.0f} steps of 255")
    return {
        "equal": min(output.equal for output in outputs),
        "within_one": min(output.within_one for output in outputs),
        "largest": largest,
    }


def after_training(quantization):
    """Return a cell that quantizes with the ranges of a few examples."""

    def cell(row):
        model, (seen, _), inputs = begin_filled(row)
        file = convert_model(
            model, quantization, representative_data=seen, allow_float=row.allow_float
        ).flatbuffer
        return {**signal(model, file, inputs), "bytes": len(file)}

    return cell


def four_bit_weights(row):
    """Calibrate with weights of 4 bits; the file has to compute what the model does.

    Few bits on random weights may leave little of the float model's outputs, which is no fault.
    """
    model, (seen, _), inputs = begin_filled(row)
    scheme = tfc.Scheme.int4_weights()
    quantized = tfc.quantize_aware(model, scheme, allow_float=row.allow_float).calibrate(seen)
    file = convert_model(quantized).flatbuffer
    decibels = decibels_of(model, file, inputs)
    return {"decibels": decibels, **agreed(file, quantized, inputs)}


def signal(model, file, inputs):
    """Return the signal-to-noise ratio of a file to its float model."""
    decibels = decibels_of(model, file, inputs)
    require(decibels > 0, f"outputs are noise: {decibels:.1f} dB")
    return {"decibels": decibels}


def decibels_of(model, file, inputs):
    """Return the signal-to-noise ratio of the worst output; 200 where all are equal."""
    pairs = zip(*outputs_of(model, file, inputs), strict=True)
    return min(200.0, *(float(sqnr(*pair)) for pair in pairs), 200.0)


def outputs_of(model, file, inputs):
    """Return the outputs of a Keras model, and those of its file in the interpreter."""
    names = [tensor.name for tensor in model.inputs]
    given = inputs if isinstance(inputs, list) else [inputs]
    with load(file) as loaded:
        found = loaded.predict(dict(zip(names, given, strict=True)))
    return arrays(model(inputs, training=False)), found


def export(row):
    model, _, inputs = begin(keras, row)
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "model.tflite"
        result = export_tflite(model, path, "float32", validation_data=inputs)
        return {"bytes": result.size, "operations": sum(result.report.operations.values())}


def run_in_interpreter(row):
    model, _, inputs = begin(keras, row)
    expected, found = outputs_of(model, convert_model(model, "float32").flatbuffer, inputs)
    return rounding(expected, found)


def tfmot_prune(row):
    import tensorflow_model_optimization as tfmot

    library, model, data, _ = begin_twin(row)
    pruning = tfmot.sparsity.keras
    model = pruning.prune_low_magnitude(model, pruning.ConstantSparsity(SPARSITY, 0, frequency=1))
    trained(library, model, data, [pruning.UpdatePruningStep()])
    masked = [
        weight.numpy()
        for module in model.submodules
        for weight, _, _ in getattr(module, "pruning_vars", ())
    ]
    pruning.strip_pruning(model)
    return zeros_reached(masked)


def tfmot_cluster(row):
    import tensorflow_model_optimization as tfmot

    library, model, data, _ = begin_twin(row)
    clustering = tfmot.clustering.keras
    starts = clustering.CentroidInitialization.KMEANS_PLUS_PLUS
    model = clustering.cluster_weights(model, CLUSTERS, starts)
    # A value moves by the sum of the gradients of all its weights.
    trained(library, model, data, rate=1e-5)
    clustered = sum(
        len(getattr(module, "original_clusterable_weights", ())) for module in model.submodules
    )
    kernels = [w for w in clustering.strip_clustering(model).get_weights() if w.ndim > 1]
    # Other kernels have more values.
    return values_reached(sorted(len(np.unique(values)) for values in kernels)[:clustered])


def tfmot_quantize_aware(row):
    import tensorflow_model_optimization as tfmot

    library, model, data, inputs = begin_twin(row)
    model = trained(library, tfmot.quantization.keras.quantize_model(model), data)
    return agreed(convert_quantized(model), model, inputs)


CELLS = {
    "pruning": prune,
    "clustering": cluster,
    "channel removal": remove,
    "QAT": quantize_aware,
    "PTQ int8": after_training("int8"),
    "PTQ int16x8": after_training("int16x8"),
    "PTQ 4-bit weights": four_bit_weights,
    "export": export,
    "run": run_in_interpreter,
    "TFMOT pruning": tfmot_prune,
    "TFMOT clustering": tfmot_cluster,
    "TFMOT QAT": tfmot_quantize_aware,
}
