import keras
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from keras import layers as kl

import tfcompress as tfc
from exporters import export_tflite, inspect, validate
from exporters.signatures import LayerOutputs

RNG = np.random.default_rng(0)


@pytest.fixture
def model():
    return keras.Sequential(
        [
            keras.Input((8, 8, 3), name="image"),
            kl.Conv2D(8, 3, activation="relu", name="conv"),
            kl.GlobalAveragePooling2D(name="pool"),
            kl.Dense(64, activation="relu", name="wide"),
            kl.Dense(4, activation="softmax", name="head"),
        ],
        name="small",
    )


@pytest.fixture
def images():
    return RNG.random((32, 8, 8, 3), dtype="float32")


def runner_output(path, key, **inputs):
    """Run a signature as an app would, with the runtime alone; return real numbers."""
    runner = Interpreter(model_path=str(path)).get_signature_runner(key)
    fed = {}
    for name, value in inputs.items():
        scale, zero_point = runner.get_input_details()[name]["quantization"]
        fed[name] = value
        if scale:
            fed[name] = np.clip(np.round(value / scale) + zero_point, -128, 127).astype(np.int8)
    ((name, output),) = runner(**fed).items()
    scale, zero_point = runner.get_output_details()[name]["quantization"]
    return name, scale * (output.astype(np.float32) - zero_point) if scale else output


def test_one_file_answers_several_questions(model, images, tmp_path):
    path = tmp_path / "m.tflite"
    features = keras.Model(model.inputs, model.get_layer("wide").output)
    result = export_tflite(
        model, path, "float32", signatures={"pooled": "pool", "features": features}
    )
    found = list(inspect(path).signatures)
    assert found[0] == "serving_default"
    assert set(found[1:]) == {"pooled", "features"}
    pooled = keras.Model(model.inputs, model.get_layer("pool").output)
    expected = {"serving_default": model, "pooled": pooled, "features": features}
    names = {"serving_default": "head", "pooled": "pool", "features": "wide"}
    for key, reference in expected.items():
        name, output = runner_output(path, key, image=images[:1])
        assert name == names[key]
        np.testing.assert_allclose(output, reference(images[:1]), atol=1e-6)
    assert list(result.report.signature_agreements) == ["pooled", "features"]
    assert all(a.largest < 1e-5 for a in result.report.signature_agreements.values())


def test_shared_weights_are_stored_once(model, images, tmp_path):
    alone = export_tflite(model, tmp_path / "a.tflite", representative_data=images)
    both = export_tflite(
        model, tmp_path / "b.tflite", representative_data=images, signatures={"wide": "wide"}
    )
    kernels = [t for t in inspect(both.path).tensors if t.constant and t.shape == (64, 8)]
    assert len(kernels) == 2  # one a graph, of one buffer
    assert inspect(both.path).parameters == inspect(alone.path).parameters


def test_signatures_of_an_integer_file(model, images, tmp_path):
    path = tmp_path / "m.tflite"
    result = export_tflite(model, path, representative_data=images, signatures={"features": "wide"})
    assert result.report.float_operations == ()
    features = keras.Model(model.inputs, model.get_layer("wide").output)
    _, output = runner_output(path, "features", image=images[:1])
    np.testing.assert_allclose(output, features(images[:1]), atol=0.02)
    agreement = validate(path, features, images, signature="features")
    assert agreement.within_one > 0.95
    assert {run.kernels for run in agreement.ran} == {"xnnpack", "builtin", "reference"}
    assert "signature features: " in str(result.report)


def test_signatures_with_other_inputs_bring_their_data(model, images, tmp_path):
    """The second half of a network as a signature of its own."""
    hidden = keras.Input((64,), name="hidden")
    tail = keras.Model(hidden, model.get_layer("head")(hidden), name="tail")
    data = {"serving_default": images, "tail": RNG.random((32, 64), "float32")}
    arguments = {"signatures": {"tail": tail}}
    path = tmp_path / "m.tflite"
    with pytest.raises(ValueError, match="'serving_default' and 'tail' take different inputs"):
        export_tflite(model, path, representative_data=images, **arguments)
    assert not path.exists()
    result = export_tflite(model, path, representative_data=data, **arguments)
    assert result.report.signature_agreements["tail"].within_one > 0.95
    _, output = runner_output(path, "tail", hidden=data["tail"][:1])
    np.testing.assert_allclose(output, tail(data["tail"][:1]), atol=0.02)


def test_nested_layers_are_named_by_path(images, tmp_path):
    inner = keras.Sequential([keras.Input((8, 8, 3)), kl.Conv2D(4, 3, name="conv")], name="block")
    model = keras.Sequential(
        [keras.Input((8, 8, 3), name="image"), inner, kl.Flatten(), kl.Dense(2)]
    )
    export_tflite(
        model, tmp_path / "m.tflite", "float32", signatures={"inner": "block/conv", "all": "block"}
    )
    for key in ("inner", "all"):
        _, output = runner_output(tmp_path / "m.tflite", key, image=images[:1])
        np.testing.assert_allclose(output, inner(images[:1]), atol=1e-6)


def test_a_layer_that_runs_twice_is_ambiguous():
    x = keras.Input((4,), name="x")
    shared = kl.Dense(4, name="shared")
    model = keras.Model(x, shared(shared(x)))
    with pytest.raises(ValueError, match=r"Layer 'shared' of model .* runs 2 times"):
        LayerOutputs(model, "shared")(np.zeros((1, 4), "float32"))


@pytest.mark.parametrize(
    ("signatures", "error", "message"),
    [
        ({"serving_default": "pool"}, ValueError, "is the model itself"),
        ({"not a name": "pool"}, ValueError, "Received: 'not a name'"),
        ({"features": "pol"}, ValueError, "Did you mean: pool"),
        ({"features": 3}, TypeError, "a layer's name or a Keras model"),
    ],
)
def test_bad_signatures(model, tmp_path, signatures, error, message):
    with pytest.raises(error, match=message):
        export_tflite(model, tmp_path / "m.tflite", "float32", signatures=signatures)
    assert list(tmp_path.iterdir()) == []


def test_unknown_signature_of_a_file(model, images, tmp_path):
    export_tflite(model, tmp_path / "m.tflite", "float32")
    with pytest.raises(ValueError, match="signatures are \\['serving_default'\\]"):
        validate(tmp_path / "m.tflite", model, images, signature="features")


def test_quantization_aware_layers_have_no_range_of_their_own(model, images, tmp_path):
    q = tfc.quantize_aware(model).calibrate(images)
    with pytest.raises(ValueError, match="quantization-aware"):
        export_tflite(q, tmp_path / "m.tflite", signatures={"features": "wide"})
