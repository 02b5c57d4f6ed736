"""The methods that `compression_combinations.py` compares: each makes a .tflite file of a start."""

import dataclasses
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf
import tensorflow_model_optimization as tfmot
import tf_keras
from quiet_converter import convert
from small_nets import notebook_net

import tfcompress as tfc
from exporters.converting import convert_model
from keras_callbacks import MagnitudePruning
from tfcompress.tflite.editing import compact

FIRST_SPARSITY, SPARSITY, CLUSTERS = 0.5, 0.8, 16
DENSE_RATE, RATE, QUANTIZED_RATE = 3e-3, 2e-3, 2e-4
TAUGHT_SPARSITY, TAUGHT_CLUSTERS, TAUGHT_RATE, TEMPERATURE = 0.88, 8, 4e-3, 2.0
FEWER_CLUSTERS, LOW_MOBILITY = 12, 0.1  # for smaller files
FREQUENCY = 20
CALIBRATION = 200


@dataclasses.dataclass(frozen=True)
class Task:
    """Data, and how long networks are trained on it.

    Attributes:
        data: images and labels.
        batch: examples of a step.
        dense_epochs: of the start.
        epochs: of each stage of a method.
        teacher_epochs: of the larger network.
        taught_epochs: of each stage that it teaches.
    """

    data: tuple
    batch: int
    dense_epochs: int
    epochs: int
    teacher_epochs: int
    taught_epochs: int

    @property
    def steps_per_epoch(self):
        return -(-len(self.data[0]) // self.batch)


@dataclasses.dataclass(frozen=True)
class Method:
    """A way from the weights of a start to a file: takes a task, weights and a teacher."""

    run: Callable
    taught: bool = False


def fit(library, model, task, callbacks=(), rate=RATE, epochs=None):
    """Train, for a stage if not told how long, with a rate that falls along a cosine."""
    epochs = epochs or task.epochs
    schedule = library.optimizers.schedules.CosineDecay(rate, epochs * task.steps_per_epoch)
    model.compile(
        library.optimizers.Adam(schedule),
        library.losses.SparseCategoricalCrossentropy(from_logits=True),
        jit_compile=False,
    )
    model.fit(*task.data, task.batch, epochs, verbose=0, callbacks=list(callbacks))
    return model


def start(library, weights):
    model = notebook_net(library)
    model.set_weights(weights)
    return model


# Ours.


def exported(model, quantization=None, task=None):
    """Make what `export_tflite` writes."""
    seen = None if task is None else task.data[0][:CALIBRATION]
    return compact(convert_model(model, quantization, representative_data=seen).flatbuffer)


def pruning(task, epochs, sparsity=SPARSITY):
    """Return a callback that prunes in the first half of a training.

    Small kernels are left denser: the first has 108 of the 20,388 weights.
    """
    end = epochs * task.steps_per_epoch // 2
    schedule = tfc.PolynomialDecay(FIRST_SPARSITY, sparsity, 0, end, frequency=FREQUENCY)
    return MagnitudePruning(schedule, sparsity_distribution="erk")


def pruned(model, task):
    return fit(keras, model, task, [pruning(task, task.epochs)])


def clusters(model, count=CLUSTERS, mobility=1.0):
    return tfc.cluster_weights(model, count, cluster_centroids_init="linear", mobility=mobility)


def quantization_aware(model, task, scheme=None):
    return fit(keras, tfc.quantize_aware(model, scheme), task, rate=QUANTIZED_RATE)


def ours_pruning_ptq(task, weights, teacher):
    return exported(pruned(start(keras, weights), task), "int8", task)


def ours_all(task, weights, teacher):
    model = pruned(start(keras, weights), task)
    fit(keras, clusters(model, mobility=LOW_MOBILITY), task)
    return exported(quantization_aware(model, task, tfc.Scheme.int8_per_tensor()))


def with_shifted(data):
    """Return images and labels, and each once more, shifted by a pixel in some direction."""
    images, labels = data
    generator = np.random.default_rng(0)
    moves = generator.integers(-1, 2, (len(images), 2))
    shifted = [np.roll(image, move, (0, 1)) for image, move in zip(images, moves, strict=True)]
    return np.concatenate([images, shifted]), np.concatenate([labels, labels])


def ours_taught(task, weights, teacher):
    task = dataclasses.replace(task, data=with_shifted(task.data))

    def fit_taught(student, epochs, rate, callbacks=()):
        losses = [tfc.SoftLabels(temperature=TEMPERATURE)]
        distiller = tfc.Distiller(student, teacher, losses, task_weight=0.5)
        return fit(keras, distiller, task, callbacks, rate, epochs).student

    model, epochs = start(keras, weights), task.taught_epochs
    fit_taught(model, epochs, TAUGHT_RATE, [pruning(task, epochs, TAUGHT_SPARSITY)])
    fit_taught(clusters(model, TAUGHT_CLUSTERS, LOW_MOBILITY), epochs // 2, RATE)
    quantized = tfc.quantize_aware(model, tfc.Scheme.int8_per_tensor())
    return exported(fit_taught(quantized, epochs // 2, QUANTIZED_RATE))


# TFMOT's.


def tfmot_pruned(model, task):
    # Its updates fall on multiples of the frequency alone: the end must be one.
    end = task.epochs * task.steps_per_epoch // 2 // FREQUENCY * FREQUENCY
    schedule = tfmot.sparsity.keras.PolynomialDecay(
        FIRST_SPARSITY, SPARSITY, 0, end, frequency=FREQUENCY
    )
    wrapped = tfmot.sparsity.keras.prune_low_magnitude(model, schedule)
    fit(tf_keras, wrapped, task, [tfmot.sparsity.keras.UpdatePruningStep()])
    return tfmot.sparsity.keras.strip_pruning(wrapped)


def tfmot_clustered(model, task, keep_zeros=False):
    init = tfmot.clustering.keras.CentroidInitialization.LINEAR
    settings = {"number_of_clusters": CLUSTERS, "cluster_centroids_init": init}
    if keep_zeros:
        from tensorflow_model_optimization.python.core.clustering.keras.experimental import cluster

        wrapped = cluster.cluster_weights(model, preserve_sparsity=True, **settings)
    else:
        wrapped = tfmot.clustering.keras.cluster_weights(model, **settings)
    fit(tf_keras, wrapped, task)
    return tfmot.clustering.keras.strip_clustering(wrapped)


def tfmot_quantized(model, task, scheme=None):
    if scheme is None:
        wrapped = tfmot.quantization.keras.quantize_model(model)
    else:
        annotated = tfmot.quantization.keras.quantize_annotate_model(model)
        wrapped = tfmot.quantization.keras.quantize_apply(annotated, scheme)
    return fit(tf_keras, wrapped, task, rate=QUANTIZED_RATE)


def tfmot_exported(model, quantized=False, task=None):
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    if quantized:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.inference_input_type = converter.inference_output_type = tf.int8
    if task is not None:
        images = task.data[0][:CALIBRATION]
        converter.representative_dataset = lambda: ([image[None]] for image in images)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    return convert(converter)


def tfmot_all(task, weights, teacher):
    scheme = tfmot.experimental.combine.Default8BitClusterPreserveQuantizeScheme(
        preserve_sparsity=True
    )
    model = tfmot_pruned(start(tf_keras, weights), task)
    model = tfmot_quantized(tfmot_clustered(model, task, keep_zeros=True), task, scheme)
    return tfmot_exported(model, quantized=True)


METHODS = {
    "float": Method(lambda task, weights, _: tfmot_exported(start(tf_keras, weights))),
    "float trained on, Keras 3": Method(
        lambda task, weights, _: exported(fit(keras, start(keras, weights), task), "float32")
    ),
    "pruning, ours": Method(
        lambda task, weights, _: exported(pruned(start(keras, weights), task), "float32")
    ),
    "pruning, TFMOT": Method(
        lambda task, weights, _: tfmot_exported(tfmot_pruned(start(tf_keras, weights), task))
    ),
    "clustering, ours": Method(
        lambda task, weights, _: exported(
            fit(keras, clusters(start(keras, weights)), task), "float32"
        )
    ),
    "clustering to 12, ours": Method(
        lambda task, weights, _: exported(
            fit(keras, clusters(start(keras, weights), FEWER_CLUSTERS), task), "float32"
        )
    ),
    "clustering, TFMOT": Method(
        lambda task, weights, _: tfmot_exported(tfmot_clustered(start(tf_keras, weights), task))
    ),
    "QAT, ours": Method(
        lambda task, weights, _: exported(quantization_aware(start(keras, weights), task))
    ),
    "QAT, TFMOT": Method(
        lambda task, weights, _: tfmot_exported(
            tfmot_quantized(start(tf_keras, weights), task), quantized=True
        )
    ),
    "pruning + PTQ, ours": Method(ours_pruning_ptq),
    "pruning + PTQ, TFMOT": Method(
        lambda task, weights, _: tfmot_exported(
            tfmot_pruned(start(tf_keras, weights), task), quantized=True, task=task
        )
    ),
    "pruning + clustering + QAT, ours": Method(ours_all),
    "pruning + clustering + QAT, TFMOT": Method(tfmot_all),
    "the same, smaller, taught, ours": Method(ours_taught, taught=True),
}
