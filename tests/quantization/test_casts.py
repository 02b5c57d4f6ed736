"""Integers that a model computes with as real numbers: pixels in bytes, counts, places."""

import dataclasses

import keras
import numpy as np
import pytest
from keras import layers as kl
from keras import ops

import tfcompress as tfc
from exporters import export_tflite, load
from exporters.converting import convert_model
from tfcompress.tflite.filling import exact_zero_point
from tfcompress.tflite.flatbuffer import read_model
from tfcompress.tflite.model import float_operations

RNG = np.random.default_rng(0)
SCHEMES = {
    "xnnpack": tfc.Scheme.int8(),
    "reference": dataclasses.replace(tfc.Scheme.int8(), kernels="reference"),
    "16 bits": tfc.Scheme.int8_weights_int16_activations(),
}


def counts(dtype):
    """A model of five integers, which it casts, looks up in a table, and hands on as they are."""
    inputs = keras.Input((5,), dtype=dtype, name="counts")
    looked_up = kl.Flatten()(kl.Embedding(128, 2)(inputs))
    joined = kl.Concatenate()([ops.cast(inputs, "float32"), looked_up])
    return keras.Model(inputs, [kl.Dense(3)(joined), kl.Dense(2)(inputs)], name="net")


def agreeing(quantized, examples):
    """Return the file of a model that it equals to the bit."""
    content = convert_model(quantized).flatbuffer
    assert quantized.deployed.exact
    assert float_operations(read_model(content)) == ()
    expected = keras.tree.flatten(quantized.predict(examples, verbose=0))
    with load(content, kernels=quantized.scheme.kernels) as loaded:
        for one, other in zip(expected, loaded.predict(examples), strict=True):
            np.testing.assert_array_equal(one, other)
    return read_model(content).subgraphs[0]


@pytest.mark.parametrize("scheme", SCHEMES.values(), ids=SCHEMES)
@pytest.mark.parametrize("dtype", ["uint8", "int8", "int16", "uint16", "int32", "int64"])
def test_the_file_of_integers_equals_the_model(dtype, scheme):
    keras.utils.set_random_seed(0)
    model, examples = counts(dtype), RNG.integers(0, 128, (32, 5)).astype(dtype)
    quantized = tfc.quantize_aware(model, scheme).calibrate(examples)
    graph = agreeing(quantized, examples)
    assert [graph.tensors[index].dtype for index in graph.inputs] == [dtype.upper()]
    for exact, rounded in zip(model(examples), quantized(examples), strict=True):
        assert np.abs(exact - rounded).max() < 0.03 * np.abs(exact).max()


@pytest.mark.parametrize("scheme", SCHEMES.values(), ids=SCHEMES)
def test_bytes_are_stored_as_they_are(scheme):
    inputs = keras.Input((4, 4, 3), dtype="uint8")
    model = keras.Model(inputs, kl.Conv2D(2, 3)(kl.Rescaling(1 / 127.5, -1.0)(inputs)))
    dark = RNG.integers(0, 20, (8, 4, 4, 3)).astype("uint8")  # says nothing of what is brighter
    quantized = tfc.quantize_aware(model, scheme).calibrate(dark)
    graph = agreeing(quantized, RNG.integers(0, 256, (64, 4, 4, 3)).astype("uint8"))
    first = graph.operations[0]
    grid = graph.tensors[first.outputs[0]].quantization
    assert (first.name, grid.scales) == ("QUANTIZE", (1.0,))
    assert grid.zero_points == ((-128,) if scheme.activation_bits == 8 else (0,))


def test_bytes_are_trained_and_exported(tmp_path):
    inputs = keras.Input((6, 6, 3), dtype="uint8", name="photo")
    x = kl.Conv2D(4, 3, activation="relu")(kl.Rescaling(1 / 255)(inputs))
    quantized = tfc.quantize_aware(keras.Model(inputs, kl.Dense(3)(kl.Flatten()(x))))
    photos = RNG.integers(0, 256, (32, 6, 6, 3)).astype("uint8")
    quantized.compile(keras.optimizers.SGD(0.01), "mse", jit_compile=False)
    quantized.fit(photos, np.zeros((32, 3)), verbose=0)
    report = export_tflite(quantized, tmp_path / "m.tflite", validation_data=photos).report
    assert report.agreement.within_one == 1.0
    restored = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(quantized))
    assert restored.placement == quantized.placement


def test_places_that_are_computed_with():
    inputs = keras.Input((5, 4))
    place = ops.cast(ops.argmax(kl.Dense(6)(inputs), axis=-1), "float32")
    examples = RNG.normal(size=(32, 5, 4)).astype("float32")
    quantized = tfc.quantize_aware(keras.Model(inputs, kl.Dense(3)(place))).calibrate(examples)
    agreeing(quantized, examples)


@pytest.mark.parametrize(
    ("whole", "dtype", "expected"),
    [
        *(("UINT8", "INT8", -128), ("INT8", "INT8", 0), ("INT16", "INT8", None)),
        *(("UINT8", "INT16", 0), ("UINT16", "INT16", -32768), ("INT32", "INT16", None)),
    ],
)
def test_zero_points_that_keep_integers(whole, dtype, expected):
    assert exact_zero_point(whole, dtype) == expected
