"""What can go wrong with a model or its data, and what the user reads then."""

import keras
import numpy as np
import pytest
from keras import layers as kl

import tfcompress as tfc
from exporters import export_tflite
from exporters.running.runtime import load
from tfcompress.tflite.flatbuffer import read_model

RNG = np.random.default_rng(0)


def images(count=16):
    return RNG.random((count, 8, 8, 3), dtype="float32")


def compiled(model):
    model.compile("sgd", "mse", jit_compile=False)
    return model


def test_calibrating_on_nan(small_net):
    x = images()
    x[3, 0, 0, 0] = np.nan
    q = tfc.quantize_aware(small_net())
    with pytest.raises(ValueError, match=r"values of an input .* NaN or infinite"):
        q.calibrate(x)
    assert not q.calibrated


def test_the_layer_where_nan_begins_is_named(small_net):
    model = small_net()
    q = tfc.quantize_aware(model)
    model.get_layer("norm").gamma.assign(np.full(4, np.nan))
    with pytest.raises(ValueError, match="values of layer 'norm'"):
        q.calibrate(images())


@pytest.mark.parametrize("scheme", ["int8", 8])
def test_a_scheme_that_is_none(scheme, small_net):
    for call in (tfc.quantize_aware, lambda *a: tfc.repair(a[0], np.ones((2, 6)), scheme=a[1])):
        with pytest.raises(TypeError, match=r"such as Scheme\.int8\(\).*Received: scheme="):
            call(small_net(), scheme)


def test_weights_of_the_float_model_go_into_it(small_net, tmp_path):
    net = small_net()
    net.save_weights(tmp_path / "float.weights.h5")
    quantized = tfc.quantize_aware(net)
    with pytest.raises(ValueError, match=r"load weights of the float model into its `\.model`"):
        quantized.load_weights(tmp_path / "float.weights.h5")
    quantized.model.load_weights(tmp_path / "float.weights.h5")


def test_a_model_with_nan_in_its_weights(small_net):
    model = small_net()
    model.get_layer("norm").gamma.assign(np.full(4, np.nan))
    with pytest.raises(ValueError, match=r"weights that are NaN.*: norm\. "):
        tfc.quantize_aware(model)


def test_a_failed_calibration_leaves_the_ranges_alone(small_net):
    q = tfc.quantize_aware(small_net()).calibrate(images())
    before = q.ranges.numpy()
    with pytest.raises(ValueError, match="NaN"):
        q.calibrate(np.full((4, 8, 8, 3), np.inf, "float32"))
    assert (q.ranges.numpy() == before).all()


def test_weights_that_became_nan_are_named_at_export(small_net, tmp_path):
    q = compiled(tfc.quantize_aware(small_net()))
    labels = np.zeros((16, 3))
    labels[0] = np.nan
    q.fit(images(), labels, batch_size=4, verbose=0)
    with pytest.raises(ValueError, match=r"weights that are NaN.*: conv, norm, head"):
        export_tflite(q, tmp_path / "m.tflite", validation_data=images())
    assert list(tmp_path.iterdir()) == []


def test_ranges_that_became_nan_are_named(small_net):
    q = tfc.quantize_aware(small_net()).calibrate(images())
    ranges = q.ranges.numpy()
    ranges[1] = np.nan
    q.ranges.assign(ranges)
    with pytest.raises(ValueError, match=r"these tensors are lost: relu:output\. "):
        q.predict(images(), verbose=0)


@pytest.mark.parametrize("learn_steps", [(), ("weights", "activations")])
def test_constant_zero_activations_still_deploy(learn_steps, tmp_path):
    inputs = keras.Input((8, 8, 3))
    dead = keras.initializers.Constant(-100.0)
    x = kl.Conv2D(4, 3, bias_initializer=dead, activation="relu", name="dead")(inputs)
    x = kl.Conv2D(2, 3, bias_initializer=keras.initializers.Constant(0.7), name="head")(x)
    q = tfc.quantize_aware(keras.Model(inputs, x), learn_steps=learn_steps).calibrate(images())
    report = export_tflite(q, tmp_path / "m.tflite", validation_data=images()).report
    assert report.agreement.equal == 1.0
    with load(str(tmp_path / "m.tflite")) as loaded:
        np.testing.assert_allclose(loaded.predict(images())[0], 0.7, atol=0.7 / 255)


def test_sums_of_what_is_almost_zero_run(tmp_path):
    inputs = keras.Input((4,))
    vanishing, small = (
        keras.layers.Dense(4, kernel_initializer=keras.initializers.Constant(value))(inputs)
        for value in (2e-6, 3e-6)
    )
    outputs = keras.layers.Dense(2)(keras.layers.Add()([vanishing, small]))
    x = np.full((8, 4), 0.1, "float32")
    model = tfc.quantize_aware(keras.Model(inputs, outputs)).calibrate(x)
    width = np.diff(model.ranges.numpy())
    assert (width < 1e-6).any()
    assert ((width > 1e-6) & (width < 2e-6)).any()
    result = export_tflite(model, tmp_path / "sums.tflite", validation_data=x)
    assert result.report.agreement.runs[0].error is None


def test_inputs_of_zeros_count_as_data(small_net, tmp_path):
    q = tfc.quantize_aware(small_net())
    q.calibrate(np.zeros((4, 8, 8, 3), "float32"))
    assert q.calibrated
    report = export_tflite(q, tmp_path / "m.tflite", validation_data=images()).report
    assert report.float_operations == ()


def test_channels_of_zeros_keep_their_bias(tmp_path):
    model = keras.Sequential([keras.Input((8, 8, 3)), kl.Conv2D(2, 3, name="conv")])
    kernel = RNG.normal(size=(3, 3, 3, 2)).astype("float32")
    kernel[..., 0] = 0.0
    model.layers[0].set_weights([kernel, np.float32([3.0, -2.0])])
    q = tfc.quantize_aware(model).calibrate(images())
    report = export_tflite(q, tmp_path / "m.tflite", validation_data=images()).report
    assert report.agreement.within_one == 1.0
    with load(str(tmp_path / "m.tflite")) as loaded:
        np.testing.assert_allclose(loaded.predict(images())[0][..., 0], 3.0, atol=0.05)


def test_images_of_integers_are_floats_to_the_model(small_net):
    x = RNG.integers(0, 256, (16, 8, 8, 3)).astype("uint8")
    q = tfc.quantize_aware(small_net()).calibrate(x)
    np.testing.assert_allclose(q.ranges.numpy()[0], [0.0, x.max()])
    assert (q.predict(x, verbose=0) == q.predict(x.astype("float32"), verbose=0)).all()


def test_integer_inputs_have_no_range(tmp_path):
    inputs = keras.Input((6,), dtype="int32", name="tokens")
    x = kl.GlobalAveragePooling1D()(kl.Embedding(20, 8, name="embed")(inputs))
    q = compiled(tfc.quantize_aware(keras.Model(inputs, kl.Dense(3, name="head")(x))))
    tokens = RNG.integers(0, 20, (32, 6)).astype("int32")
    q.fit(tokens, np.zeros((32, 3)), verbose=0)
    assert all(point.path for point in q.placement.rows())
    result = export_tflite(q, tmp_path / "m.tflite", validation_data=tokens)
    graph = read_model(result.path).subgraphs[0]
    assert graph.tensors[graph.inputs[0]].dtype == "INT32"
    assert result.report.agreement.within_one >= 0.98


def test_indices_that_are_real_numbers():
    inputs = keras.Input((4, 4, 3))
    with pytest.raises(tfc.PlacementError, match=r"embed: CAST(.|\n)*declare indices.*'int32'"):
        tfc.quantize_aware(keras.Model(inputs, kl.Embedding(9, 2, name="embed")(inputs)))


@pytest.mark.parametrize("scheme", [tfc.Scheme.int8(), tfc.Scheme.int8_weights_int16_activations()])
def test_empty_representative_data(small_net, scheme, tmp_path):
    with pytest.raises(ValueError, match="representative data is empty"):
        export_tflite(small_net(), tmp_path / "m.tflite", scheme, representative_data=images()[:0])


def test_missing_representative_data(small_net, tmp_path):
    with pytest.raises(ValueError, match="pass `representative_data`"):
        export_tflite(small_net(), tmp_path / "m.tflite", tfc.Scheme.int8())


@pytest.mark.parametrize("scheme", [tfc.Scheme.int8(), tfc.Scheme.dynamic_range()])
def test_unknown_dimension(scheme):
    model = keras.Sequential([keras.Input((None, 3)), kl.Conv1D(2, 3)])
    with pytest.raises(ValueError, match=r"unknown dimension.*Received: shape=\(None, None, 3\)"):
        tfc.quantize_aware(model, scheme)


@pytest.mark.parametrize("scheme", [tfc.Scheme.int8(), tfc.Scheme.float16()])
def test_model_that_is_not_built(scheme):
    with pytest.raises(ValueError, match="'empty' is not built"):
        tfc.quantize_aware(keras.Sequential([kl.Dense(3)], name="empty"), scheme)


def test_model_that_does_not_declare_its_inputs():
    class Bare(keras.Model):
        def __init__(self):
            super().__init__(name="bare")
            self.dense = kl.Dense(2)

        def call(self, inputs):
            return self.dense(inputs)

    model = Bare()
    model(np.zeros((1, 4), "float32"))
    with pytest.raises(ValueError, match="'bare' does not declare its inputs"):
        tfc.quantize_aware(model)


def test_layers_that_keras_has_quantized(small_net, tmp_path):
    model = small_net()
    model.layers[-1].quantize("int8")
    what = f"Layer {model.layers[-1].name!r} .* was quantized by Keras.*quantization_mode='int8'"
    with pytest.raises(ValueError, match=what):
        tfc.quantize_aware(model)
    with pytest.raises(ValueError, match=what):
        export_tflite(model, tmp_path / "m.tflite", "float32")
