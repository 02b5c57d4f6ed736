"""Each operation of a file against the quantization-aware model that it was made of."""

import keras
import numpy as np
import pytest
from keras import layers as kl
from operation_parity import compare_operations

import tfcompress as tfc
from exporters.converting import convert_model


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).random((32, 8, 8, 3), dtype="float32")


@pytest.fixture
def quantized(images):
    model = keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            kl.Conv2D(6, 3, activation="relu", name="conv"),
            kl.MaxPooling2D(name="pool"),
            kl.Flatten(name="flat"),
            kl.Dense(5, name="head"),
        ]
    )
    return tfc.quantize_aware(model).calibrate(images)


def test_every_operation_that_rounds_is_compared_with_its_layer(quantized, images):
    found = compare_operations(quantized, convert_model(quantized).flatbuffer, images)
    assert [(entry.operation, entry.point) for entry in found] == [
        ("CONV_2D", "conv:output"),
        ("FULLY_CONNECTED", "head:output"),
    ]
    for entry in found:
        assert set(entry.alone) == {"xnnpack", "builtin", "reference"}
        assert entry.alone["xnnpack"].share == entry.alone["reference"].share == 0.0
        assert entry.alone["builtin"].largest <= 1
        assert entry.alone["builtin"].share <= 0.02
        assert entry.together.share == 0.0


def test_the_operation_at_fault_is_found_alone(quantized, images):
    flatbuffer = convert_model(quantized).flatbuffer
    conv = quantized.model.get_layer("conv")
    conv.bias.assign(conv.bias + 0.05)  # the file does not know of it
    conv, head = compare_operations(quantized, flatbuffer, images)
    assert conv.alone["reference"].share > 0.3
    assert head.together.share > 0.0
    assert head.alone["reference"].share == 0.0
