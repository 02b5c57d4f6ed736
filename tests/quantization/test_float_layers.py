"""Layers that a scheme or a selector leaves in float, in the middle of integers."""

import keras
import numpy as np
import pytest
from keras import layers as kl

import tfcompress as tfc
from exporters import export_tflite
from tfcompress.tflite.constants import constant_value
from tfcompress.tflite.flatbuffer import read_model

IMAGES = np.random.default_rng(0).normal(size=(32, 8, 8, 3)).astype("float32")


def build():
    return keras.Sequential(
        [
            keras.Input((8, 8, 3), name="image"),
            kl.Conv2D(4, 3, activation="relu", name="stem"),
            kl.Conv2D(4, 3, name="middle"),
            kl.ReLU(name="relu"),
            kl.Flatten(name="flat"),
            kl.Dense(3, name="head"),
        ],
        name="net",
    )


def exported(q, path):
    q.compile("sgd", "mse", jit_compile=False)
    q.fit(IMAGES, np.zeros((32, 3)), batch_size=8, verbose=0)
    return export_tflite(q, path, validation_data=IMAGES)


def steps(path):
    graph = read_model(path).subgraphs[0]
    return [
        f"{operation.name} {graph.tensors[operation.outputs[0]].dtype}"
        for operation in graph.operations
    ]


def float_kernels(path):
    model = read_model(path)
    return [
        constant_value(model, tensor)
        for tensor in model.subgraphs[0].tensors
        if tensor.constant and tensor.dtype == "FLOAT32" and len(tensor.shape) > 1
    ]


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        (
            "stem",
            [
                "CONV_2D FLOAT32",
                "QUANTIZE INT8",
                "CONV_2D INT8",
                "RESHAPE INT8",
                "FULLY_CONNECTED INT8",
            ],
        ),
        (
            "middle",
            [
                "CONV_2D INT8",
                "DEQUANTIZE FLOAT32",
                "CONV_2D FLOAT32",
                "QUANTIZE INT8",
                "RESHAPE INT8",
                "FULLY_CONNECTED INT8",
            ],
        ),
        (
            "head",
            [
                "CONV_2D INT8",
                "CONV_2D INT8",
                "RESHAPE INT8",
                "DEQUANTIZE FLOAT32",
                "FULLY_CONNECTED FLOAT32",
            ],
        ),
    ],
)
def test_a_layer_stays_float_with_its_weights(layer, expected, tmp_path):
    q = tfc.quantize_aware(build(), tfc.Scheme.int8().override([layer], None))
    result = exported(q, tmp_path / "m.tflite")
    assert steps(result.path) == expected
    (found,) = float_kernels(result.path)
    kernel = q.model.get_layer(layer).kernel.numpy()
    kernel = kernel.T if kernel.ndim == 2 else np.transpose(kernel, (3, 0, 1, 2))
    assert (found == kernel).all()
    agreement = result.report.agreement
    if layer == "head":
        assert agreement.largest < 1e-4
    else:
        assert agreement.within_one >= 0.98


def test_what_a_selector_leaves_out_stays_float(tmp_path):
    q = tfc.quantize_aware(build(), layers=["middle"])
    result = exported(q, tmp_path / "m.tflite")
    assert steps(result.path) == [
        "CONV_2D FLOAT32",
        "QUANTIZE INT8",
        "CONV_2D INT8",
        "RESHAPE INT8",
        "DEQUANTIZE FLOAT32",
        "FULLY_CONNECTED FLOAT32",
    ]
    assert set(q.float_layers) == {"stem", "head"}
    assert result.report.agreement.largest < 1e-4


def test_neighbours_in_float_pass_floats_on(tmp_path):
    scheme = tfc.Scheme.int8().override(["middle", "relu", "flat", "head"], None)
    result = exported(tfc.quantize_aware(build(), scheme), tmp_path / "m.tflite")
    assert steps(result.path) == [
        "CONV_2D INT8",
        "DEQUANTIZE FLOAT32",
        "CONV_2D FLOAT32",
        "RESHAPE FLOAT32",
        "FULLY_CONNECTED FLOAT32",
    ]


def test_a_layer_without_weights_stays_float(tmp_path):
    inputs = keras.Input((8, 8, 3))
    x = kl.Flatten()(kl.Conv2D(2, 3, name="conv")(inputs))
    x = kl.Softmax(name="softmax")(x)
    model = keras.Model(inputs, kl.Dense(3, name="head")(x))
    q = tfc.quantize_aware(model, tfc.Scheme.int8().override("^softmax$", None))
    result = exported(q, tmp_path / "m.tflite")
    assert "SOFTMAX FLOAT32" in steps(result.path)
    assert steps(result.path).count("FULLY_CONNECTED INT8") == 1
    assert result.report.agreement.within_one >= 0.98


def test_float_layers_are_saved(tmp_path):
    q = tfc.quantize_aware(build(), layers=["middle"]).calibrate(IMAGES)
    q.save(tmp_path / "q.keras")
    loaded = keras.models.load_model(tmp_path / "q.keras")
    assert loaded.float_layers == q.float_layers
    assert loaded.allow_float == q.allow_float
    assert (loaded.predict(IMAGES, verbose=0) == q.predict(IMAGES, verbose=0)).all()
