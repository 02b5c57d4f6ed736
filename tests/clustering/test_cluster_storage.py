"""How the runtime stores clusters: what the docs say of 4 bits, look-ups and downloads."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers as kl
from stored_kernels import stored_kernels

import tfcompress as tfc
from exporters import export_tflite
from tfcompress.clustering.summary import entropy
from tfcompress.tflite.constants import constant_value
from tfcompress.tflite.flatbuffer import read_model

CLUSTERS, WEIGHTS = 16, 64 * 64


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The same clustered network in 8 and in 4 bits, and not clustered in 8."""
    folder = tmp_path_factory.mktemp("files")
    x = np.random.default_rng(0).normal(size=(256, 64)).astype("float32")

    def written(name, bits, clusters):
        keras.utils.set_random_seed(0)
        model = keras.Sequential(
            [keras.Input((64,)), kl.Dense(64, activation="relu", name="body"), kl.Dense(2)]
        )
        if clusters:
            tfc.cluster_weights(model, clusters, "body")
        scheme = tfc.Scheme(weight_bits=bits, per_channel_weights=False)
        quantized = tfc.quantize_aware(model, scheme).calibrate(x)
        result = export_tflite(quantized, folder / f"{name}.tflite", validation_data=x)
        return result, stored_kernels(result.path)[0]

    return {
        "dense": written("dense", 8, None),
        "int8": written("int8", 8, CLUSTERS),
        "int4": written("int4", 4, CLUSTERS),
    }


def entropy_of(values):
    return entropy(np.unique(values, return_counts=True)[1])


def test_clusters_are_bytes_that_compress(files):
    result, kernel = files["int8"]
    assert (kernel.dtype, kernel.size, kernel.unique) == ("INT8", WEIGHTS, CLUSTERS)
    spared = files["dense"][0].gzip_size - result.gzip_size
    bits = entropy_of(files["dense"][1].values) - entropy_of(kernel.values)
    assert 0.7 < spared / (bits / 8 * WEIGHTS) < 1.0


def test_four_bits_run_but_keep_no_more_than_an_even_grid(files):
    result, kernel = files["int4"]  # the export has run it, on every runtime
    assert (kernel.dtype, kernel.size) == ("INT4", WEIGHTS // 2)
    assert kernel.unique <= 15 < CLUSTERS
    agreement = result.report.agreement
    assert agreement.ran == agreement.runs
    assert agreement.within_one == 1.0
    assert result.size < files["int8"][0].size - 0.45 * WEIGHTS
    # The download is another matter: the clusters in bytes cost little more.
    assert 0.75 < result.gzip_size / files["int8"][0].gzip_size < 1.0


def test_the_converter_leaves_no_look_up():
    """A table and places in it become the full kernel: nothing smaller can be stored this way."""
    generator = np.random.default_rng(0)
    table = tf.constant(generator.normal(size=CLUSTERS).astype("float32"))
    places = tf.constant(generator.integers(0, CLUSTERS, (64, 32)).astype("int32"))

    @tf.function(input_signature=[tf.TensorSpec((1, 64))])
    def infer(x):
        return tf.linalg.matmul(x, tf.gather(table, places))

    converter = tf.lite.TFLiteConverter.from_concrete_functions([infer.get_concrete_function()])
    content = read_model(converter.convert())
    (graph,) = content.subgraphs
    assert [operation.name for operation in graph.operations] == ["FULLY_CONNECTED"]
    (kernel,) = (tensor for tensor in graph.tensors if tensor.constant)
    expected = tf.gather(table, places).numpy().T
    np.testing.assert_array_equal(constant_value(content, kernel), expected)
