"""A model's inputs and outputs keep their order and their names in the file."""

import keras
import numpy as np
import pytest

from exporters import export_tflite
from exporters.running.runtime import load
from tfcompress.quantization import quantize_aware
from tfcompress.tflite.flatbuffer import read_model

HEADS = ("wide", "narrow")


def two_heads(units, arrange):
    keras.utils.set_random_seed(1)
    inputs = keras.Input((4,), name="features")
    heads = [keras.layers.Dense(units[name], name=name)(inputs) for name in HEADS]
    return keras.Model(inputs, arrange(*heads))


ARRANGED = {
    "list": lambda wide, narrow: [narrow, wide],
    "tuple": lambda wide, narrow: (wide, narrow),
    "dict": lambda wide, narrow: {"z": narrow, "a": wide},
    "nested": lambda wide, narrow: {"z": [narrow], "a": {"only": wide}},
}


@pytest.mark.parametrize("kind", ARRANGED)
@pytest.mark.parametrize("units", [{"wide": 3, "narrow": 2}, {"wide": 3, "narrow": 3}], ids=str)
def test_outputs_in_the_models_order(kind, units, tmp_path):
    model = two_heads(units, ARRANGED[kind])
    x = np.random.default_rng(0).normal(size=(8, 4)).astype("float32")
    result = export_tflite(model, tmp_path / "heads.tflite", "float32", representative_data=x)
    expected = keras.tree.flatten(model.predict(x, verbose=0))
    with load(result.path) as loaded:
        found = loaded.predict(x)
    for output, wanted in zip(found, expected, strict=True):
        np.testing.assert_allclose(output, wanted, atol=1e-5)
    for run in result.report.agreement.runs:
        assert [output.within_one for output in run.outputs] == [1.0, 1.0]


def test_names_follow_the_outputs(tmp_path):
    model = two_heads({"wide": 3, "narrow": 2}, ARRANGED["list"])
    x = np.random.default_rng(0).normal(size=(8, 4)).astype("float32")
    result = export_tflite(model, tmp_path / "heads.tflite", "int8", representative_data=x)
    content = read_model(result.path.read_bytes())
    (signature,) = content.signatures
    assert list(signature.outputs) == ["narrow", "wide"]
    assert tuple(signature.outputs.values()) == content.subgraphs[0].outputs
    shapes = [content.subgraphs[0].tensors[index].shape for index in signature.outputs.values()]
    assert shapes == [(1, 2), (1, 3)]


@pytest.mark.parametrize("name", ["in", "main input", "input:0", "self", "_hidden"])
def test_any_input_name_is_that_of_the_signature(name, tmp_path):
    inputs = keras.Input((4,), name=name)
    model = keras.Model(inputs, keras.layers.Dense(2)(inputs))
    result = export_tflite(model, tmp_path / "model.tflite", "float32")
    (signature,) = read_model(result.path).signatures
    assert list(signature.inputs) == [name]


def test_quantization_aware_outputs_keep_their_order(tmp_path):
    model = two_heads({"wide": 3, "narrow": 3}, ARRANGED["list"])
    x = np.random.default_rng(0).normal(size=(64, 4)).astype("float32")
    trained = quantize_aware(model).calibrate(x)
    result = export_tflite(trained, tmp_path / "heads.tflite", representative_data=x)
    expected = trained.predict(x, verbose=0)
    with load(result.path) as loaded:
        found = loaded.predict(x)
        steps = [details.scale for details in loaded.outputs]
    for output, wanted, step in zip(found, expected, steps, strict=True):
        np.testing.assert_allclose(output, wanted, atol=1.01 * step)


def test_nested_inputs(tmp_path):
    x, y = keras.Input((4,), name="x"), keras.Input((4,), name="y")
    outputs = keras.layers.Dense(2)(keras.layers.Subtract()([x, y]))
    model = keras.Model({"pair": {"second": y, "first": x}}, outputs)
    random = np.random.default_rng(0)
    first, second = random.normal(size=(2, 64, 4)).astype("float32")
    data = {"pair": {"first": first, "second": second}}
    plain = export_tflite(model, tmp_path / "plain.tflite", "int8", representative_data=data)
    assert plain.report.agreement.within_one == 1.0
    trained = quantize_aware(model).calibrate(data)
    result = export_tflite(trained, tmp_path / "trained.tflite", validation_data=data)
    assert result.report.agreement.within_one == 1.0
    with load(result.path) as loaded:
        (found,) = loaded.predict({"x": first, "y": second})
        step = loaded.outputs[0].scale
    np.testing.assert_allclose(found, trained.predict(data, verbose=0), atol=1.01 * step)
