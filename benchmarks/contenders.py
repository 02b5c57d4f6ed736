"""The ways to train that benchmarks/training_cost.py times: this package's, and its peers'."""

import dataclasses
import types
from collections.abc import Callable

import keras
import tensorflow as tf
from peers import why_missing
from quiet_converter import convert

import tfcompress as tfc
from exporters.converting import convert_model
from keras_callbacks import MagnitudePruning, QuantizationSchedule

NO_PEERS = why_missing("TFMOT")
if NO_PEERS is None:
    import tensorflow_model_optimization as tfmot
    import tf_keras
else:
    tfmot = tf_keras = None

SPARSITY, FREQUENCY, CLUSTERS = 0.75, 10, 16


@dataclasses.dataclass(frozen=True)
class Contender:
    """A way to train a model.

    Attributes:
        library: what the model is built with, keras or tf_keras; None where it is not installed.
        beside: the name of the plain training that it is compared with; None for a plain one.
        set_up: takes the plain model and the number of steps of the training, and returns the
            model to train and its callbacks.
        export: takes the trained model and returns its .tflite file.
    """

    library: types.ModuleType | None
    beside: str | None
    set_up: Callable
    export: Callable


def plain(model, steps):
    return model, []


def accelerated(model, steps):
    return tfc.accelerate(model), []


def converted(model):
    """The file of the plain TFLite converter."""
    return convert(tf.lite.TFLiteConverter.from_keras_model(model))


def exported(model):
    """The float file of this package's converter, before it is validated."""
    return convert_model(model, "float32").flatbuffer


def exported_quantized(model):
    """The file of a quantization-aware model, whose numbers its own scheme says."""
    return convert_model(model).flatbuffer


def pruned(model, steps):
    schedule = tfc.PolynomialDecay(0.0, SPARSITY, 0, steps, frequency=FREQUENCY)
    return model, [MagnitudePruning(schedule)]


def quantized(model, steps):
    return tfc.quantize_aware(model), []


def frozen(model, steps):
    return tfc.quantize_aware(model), [QuantizationSchedule(freeze_ranges_step=1)]


def clustered(model, steps):
    return tfc.cluster_weights(model, CLUSTERS), []


def distilled(model, steps):
    teacher = keras.models.clone_model(model)
    losses = tfc.SoftLabels(temperature=4.0)
    return tfc.Distiller(model, teacher, losses=losses, from_logits=False), []


def distilled_by_keras(model, steps):
    teacher = keras.models.clone_model(model)
    loss = keras.distillation.LogitsDistillation(4.0, keras.losses.KLDivergence())
    return keras.distillation.Distiller(teacher, model, [loss]), []


def student_of(distiller):
    return exported(distiller.student)


def tfmot_pruned(model, steps):
    pruning = tfmot.sparsity.keras
    schedule = pruning.PolynomialDecay(0.0, SPARSITY, 0, steps, frequency=FREQUENCY)
    return pruning.prune_low_magnitude(model, schedule), [pruning.UpdatePruningStep()]


def tfmot_clustered(model, steps):
    clustering = tfmot.clustering.keras
    start = clustering.CentroidInitialization.KMEANS_PLUS_PLUS
    return clustering.cluster_weights(model, CLUSTERS, start), []


def tfmot_quantized(model, steps):
    return tfmot.quantization.keras.quantize_model(model), []


def tfmot_converted(model):
    """The int8 file of a model of TFMOT's quantize_model."""
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    return convert(converter)


def tfmot_unpruned(model):
    return converted(tfmot.sparsity.keras.strip_pruning(model))


def tfmot_unclustered(model):
    return converted(tfmot.clustering.keras.strip_clustering(model))


CONTENDERS = {
    "Keras 3, plain": Contender(keras, None, plain, exported),
    "Keras 3, accelerated": Contender(keras, "Keras 3, plain", accelerated, exported),
    "Keras 3, pruning": Contender(keras, "Keras 3, plain", pruned, exported),
    "Keras 3, clustering": Contender(keras, "Keras 3, plain", clustered, exported),
    "Keras 3, QAT": Contender(keras, "Keras 3, plain", quantized, exported_quantized),
    "Keras 3, QAT, ranges frozen": Contender(keras, "Keras 3, plain", frozen, exported_quantized),
    "Keras 3, distillation": Contender(keras, "Keras 3, plain", distilled, student_of),
    "Keras 3, distillation by Keras": Contender(
        keras, "Keras 3, plain", distilled_by_keras, student_of
    ),
    "tf_keras, plain": Contender(tf_keras, None, plain, converted),
    "tf_keras, pruning by TFMOT": Contender(
        tf_keras, "tf_keras, plain", tfmot_pruned, tfmot_unpruned
    ),
    "tf_keras, clustering by TFMOT": Contender(
        tf_keras, "tf_keras, plain", tfmot_clustered, tfmot_unclustered
    ),
    "tf_keras, QAT by TFMOT": Contender(
        tf_keras, "tf_keras, plain", tfmot_quantized, tfmot_converted
    ),
}

# Pairs across libraries whose ratio of steps is reported too.
RIVALS = {
    "Keras 3, pruning": "tf_keras, pruning by TFMOT",
    "Keras 3, clustering": "tf_keras, clustering by TFMOT",
    "Keras 3, QAT": "tf_keras, QAT by TFMOT",
    "Keras 3, QAT, ranges frozen": "Keras 3, QAT",
    "Keras 3, distillation": "Keras 3, distillation by Keras",
    "Keras 3, plain": "tf_keras, plain",
    "Keras 3, accelerated": "tf_keras, plain",
}
