"""Files of tf_keras models: exported, compared, judged, timed and bundled as those of Keras 3."""

import json

import numpy as np
import pytest
import tf_keras
from small_tf_keras_nets import inputs_for, photo_net, randomize
from tf_keras import layers as kl

from exporters import benchmark, check_target, export_tflite, validate, write_bundle
from exporters.converting import FloatOperationError
from tfcompress import Scheme


def small_net(*middle):
    layers = [kl.InputLayer((8, 8, 3), name="photo"), kl.Conv2D(4, 3, name="conv"), kl.ReLU()]
    return randomize(tf_keras.Sequential([*layers, *middle, kl.Flatten(), kl.Dense(3)]))


class Doubled(kl.Layer):
    def call(self, inputs):
        return 2.0 * inputs


class Tangent(kl.Layer):
    def call(self, inputs):
        from tensorflow import math

        return math.tan(inputs)


def test_the_whole_way_to_the_board(tmp_path):
    model = small_net()
    x = inputs_for(model, 32)
    result = export_tflite(
        model, tmp_path / "model.tflite", representative_data=x, target="raspberry-pi-4"
    )
    assert result.report.float_operations == ()
    assert result.report.verdict.ok
    assert result.report.inputs[0]["name"] == "photo"
    agreement = validate(result.path, against=model, data=x)
    assert agreement.largest <= 3
    assert check_target(result.path, "coral-edgetpu").ok
    (timing,) = benchmark(result.path, runs=3).measurements
    assert timing.error is None
    assert timing.median > 0
    bundle = write_bundle(result, tmp_path / "bundle", examples=x)
    assert json.loads((bundle / "manifest.json").read_text())["inputs"][0]["dtype"] == "int8"


def test_float_files_compute_what_the_model_does(tmp_path):
    model = randomize(photo_net())
    x = inputs_for(model)
    result = export_tflite(model, tmp_path / "model.tflite", "float32", validation_data=x)
    assert result.report.agreement.largest < 1e-4
    assert {port["name"] for port in result.report.outputs} == {"scores", "corner"}


def test_schemes_apply_to_what_can_be_rebuilt(tmp_path):
    model = small_net()
    x = inputs_for(model, 32)
    result = export_tflite(
        model, tmp_path / "model.tflite", Scheme.int8_per_tensor(), representative_data=x
    )
    assert result.report.float_operations == ()


def test_recurrent_layers_are_exported_as_those_of_keras_3(tmp_path):
    model = tf_keras.Sequential([kl.InputLayer((4, 3)), kl.GRU(4), kl.Dense(2)])
    x = inputs_for(model, 16)
    result = export_tflite(model, tmp_path / "model.tflite", representative_data=x)
    assert result.report.float_operations == ()


def test_a_model_that_cannot_be_rebuilt_is_converted_as_it_is(tmp_path):
    model = small_net(Doubled())
    x = inputs_for(model, 32)
    result = export_tflite(model, tmp_path / "model.tflite", representative_data=x)
    assert result.report.float_operations == ()
    expected = model.predict(x, verbose=0)
    (output,) = result.report.agreement.ran[0].outputs
    assert output.largest <= 3
    assert output.step < np.ptp(expected) / 200


def test_its_float_operations_are_named_too(tmp_path):
    model = small_net(Tangent(name="tangent"))
    with pytest.raises((FloatOperationError, RuntimeError), match=r"tangent|Tan"):
        export_tflite(model, tmp_path / "model.tflite", representative_data=inputs_for(model, 4))
    assert not (tmp_path / "model.tflite").exists()


def test_what_it_cannot_have_is_said(tmp_path):
    model = small_net(Doubled())
    x = inputs_for(model, 4)
    path = tmp_path / "model.tflite"
    with pytest.raises(ValueError, match=r"a layer that Keras 3 does not have. Received: quant"):
        export_tflite(model, path, Scheme.int8(), representative_data=x)
    with pytest.raises(ValueError, match=r"own outputs only.*Received: signatures=.'inner'"):
        export_tflite(model, path, representative_data=x, signatures={"inner": "conv"})


def test_loops_and_lost_weights_are_refused_by_name(tmp_path):
    inputs = kl.Input((4, 3))
    looping = tf_keras.Model(inputs, Doubled()(kl.GRU(2, name="loop")(inputs)))
    with pytest.raises(ValueError, match=r"'loop'.*unroll=True"):
        export_tflite(looping, tmp_path / "model.tflite", "float32")
    lost = small_net(Doubled())
    lost.get_layer("conv").bias.assign([np.nan] * 4)
    with pytest.raises(ValueError, match=r"'conv'.*NaN or infinite: conv/bias"):
        export_tflite(lost, tmp_path / "model.tflite", "float32")


def test_a_subclassed_model_is_told_what_to_do(tmp_path):
    class Subclassed(tf_keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = kl.Dense(2, name="dense")

        def call(self, inputs):
            return self.dense(inputs)

    model = Subclassed()
    inputs = kl.Input((4,), name="row")
    outputs = model(inputs)
    with pytest.raises(ValueError, match=r"tf_keras.Model.inputs, model.inputs.."):
        export_tflite(model, tmp_path / "model.tflite", "float32")
    result = export_tflite(tf_keras.Model(inputs, outputs), tmp_path / "model.tflite", "float32")
    assert result.report.agreement.largest < 1e-5
