"""What techniques made together is still there in the exported int8 file, layer by layer."""

import keras
import numpy as np
import pytest
from keras import layers as kl
from stored_kernels import stored_kernels

import tfcompress as tfc
from exporters import export_tflite
from keras_callbacks import MagnitudePruning
from tfcompress.keras_graph.kernels import find_kernels

SPARSITY, CLUSTERS = 0.5, 8
WEIGHTS = {"conv": 8 * 27, "point": 12 * 8, "head": 12 * 4}


def net(name="student"):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8, 8, 3))
    x = kl.Conv2D(8, 3, activation="relu", name="conv")(inputs)
    x = kl.Conv2D(12, 1, activation="relu", name="point")(x)
    outputs = kl.Dense(4, name="head")(kl.GlobalAveragePooling2D()(x))
    return keras.Model(inputs, outputs, name=name)


def data():
    generator = np.random.default_rng(0)
    x = generator.normal(size=(64, 8, 8, 3)).astype("float32")
    return x, (x.mean((1, 2)) @ generator.normal(size=(3, 4))).argmax(1)


def fit(model, *callbacks, epochs=1):
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(3e-3), loss, jit_compile=False)
    model.fit(*data(), epochs=epochs, verbose=0, callbacks=list(callbacks))


def prune(model):
    schedule = tfc.ConstantSparsity(SPARSITY, 0)
    fit(model, MagnitudePruning(schedule, sparsity_distribution="uniform"))
    return model


def cluster(model):
    return tfc.cluster_weights(model, CLUSTERS)


def cluster_differentiably(model):
    wrapped = tfc.cluster_weights(model, CLUSTERS, method="differentiable")
    fit(wrapped)
    return wrapped.settle()


def quantize(model):
    return tfc.quantize_aware(model, tfc.Scheme.int8_per_tensor())


def taught(model):
    return tfc.Distiller(model, net("teacher"), [tfc.SoftLabels(2.0)])


def made(*steps):
    """Take the steps in order, train the result further, and return it and the float kernels."""
    model = own = net()
    for step in steps:
        model = step(model)
    fit(model, epochs=2)
    student = model.student if isinstance(model, tfc.Distiller) else model
    return student, {k.layer.name: k.variable.numpy() for k in find_kernels(own)}


def kernels_of_file(model, path):
    result = export_tflite(model, path)
    assert not result.report.float_operations
    kernels = {kernel.layer: kernel for kernel in stored_kernels(result.path, WEIGHTS)}
    assert {name: kernel.values.size for name, kernel in kernels.items()} == WEIGHTS
    assert {kernel.dtype for kernel in kernels.values()} == {"INT8"}
    return kernels


def order(*steps):
    return pytest.param(steps, id="-".join(step.__name__ for step in steps))


@pytest.mark.parametrize(
    "steps",
    [
        order(prune, quantize),
        order(quantize, prune),
        order(prune, quantize, taught),
        order(cluster, quantize),
        order(quantize, cluster),
        order(prune, cluster, quantize),
        order(quantize, prune, cluster),
        order(prune, cluster, quantize, taught),
        order(prune, cluster_differentiably, quantize),
    ],
)
def test_zeros_and_shared_values_are_in_the_file(steps, tmp_path):
    model, floats = made(*steps)
    for name, kernel in kernels_of_file(model, tmp_path / "model.tflite").items():
        # Each integer is a rounded float: what is equal there is equal here.
        assert kernel.unique <= len(np.unique(floats[name]))
        assert kernel.zeros >= np.count_nonzero(floats[name] == 0)
        if prune in steps:
            assert kernel.zeros >= WEIGHTS[name] * SPARSITY
        if cluster in steps or cluster_differentiably in steps:
            assert kernel.unique <= CLUSTERS
        else:
            assert kernel.unique > 2 * CLUSTERS


def test_without_masks_and_clusters_training_loses_them(tmp_path):
    """The control: constraints are what keeps zeros and values through training."""
    model = cluster(prune(net()))
    tfc.release_clusters(model)
    tfc.remove_masks(model)
    model = quantize(model)
    fit(model, epochs=2)
    for name, kernel in kernels_of_file(model, tmp_path / "model.tflite").items():
        assert kernel.zeros < WEIGHTS[name] * SPARSITY
        assert kernel.unique > CLUSTERS


def test_a_scale_for_each_channel_keeps_few_values_in_each(tmp_path):
    model = tfc.quantize_aware(cluster(prune(net())))
    fit(model)
    kernels = kernels_of_file(model, tmp_path / "model.tflite")
    assert kernels["conv"].zeros >= WEIGHTS["conv"] * SPARSITY
    assert all(len(np.unique(channel)) <= CLUSTERS for channel in kernels["conv"].values)
    assert kernels["conv"].unique > CLUSTERS  # why the smallest file has one scale a kernel


def test_clusters_and_zeros_survive_quantization_after_training(tmp_path):
    model = cluster(prune(net()))
    fit(model)
    x, _ = data()
    path = export_tflite(model, tmp_path / "model.tflite", "int8", representative_data=x).path
    for kernel in stored_kernels(path, WEIGHTS):
        assert kernel.zeros >= WEIGHTS[kernel.layer] * SPARSITY
        assert len(np.unique(kernel.values[0])) <= CLUSTERS
