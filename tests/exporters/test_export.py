import dataclasses
import functools
import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers as kl

import tfcompress as tfc
from exporters import export, export_tflite, load
from exporters.converting import FloatOperationError
from tfcompress.quantization.float_file import ConversionError
from tfcompress.tflite.flatbuffer import read_model

RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def model():
    return keras.Sequential(
        [
            keras.Input((8, 8, 3), name="image"),
            kl.Conv2D(8, 3, use_bias=False, name="conv"),
            kl.BatchNormalization(name="norm"),
            kl.ReLU(name="relu"),
            kl.Flatten(name="flat"),
            kl.Dense(4, activation="softmax", name="head"),
        ],
        name="small",
    )


@pytest.fixture(scope="module")
def images():
    return RNG.random((32, 8, 8, 3), dtype="float32")


@pytest.fixture(scope="module")
def exported(model, images, tmp_path_factory):
    """What ``export_tflite`` returns for the model, made once for each quantization."""

    @functools.cache
    def result(quantization):
        path = tmp_path_factory.mktemp(quantization) / "model.tflite"
        return export_tflite(model, path, quantization, representative_data=images)

    return result


@pytest.fixture(scope="module")
def quantized(model, images):
    return tfc.quantize_aware(model).calibrate(images)


def kernel_dtype(path, operation):
    graph = read_model(path).subgraphs[0]
    found = next(op for op in graph.operations if op.name == operation)
    return graph.tensors[found.inputs[1]].dtype


@pytest.mark.parametrize(
    ("quantization", "kernel", "io", "largest"),
    [
        ("float32", "FLOAT32", "float32", 1e-6),
        ("float16", "FLOAT16", "float32", 1e-3),
        ("dynamic", "INT8", "float32", 0.02),
        ("int8", "INT8", "int8", 0.02),
        ("int16x8", "INT8", "float32", 0.02),
    ],
)
def test_every_kind_of_export_stores_what_it_says(
    model, images, exported, quantization, kernel, io, largest
):
    result = exported(quantization)
    path = result.path
    graph = read_model(path).subgraphs[0]
    dense = next(op for op in graph.operations if op.name == "FULLY_CONNECTED")
    stored = graph.tensors[dense.inputs[1]]
    if quantization == "float16":  # stored in half precision, widened when loaded
        stored = next(t for t in graph.tensors if t.constant and t.size == stored_size(model) * 2)
    assert stored.dtype == kernel
    assert result.report.inputs[0]["dtype"] == io
    assert result.size == path.stat().st_size == result.report.size
    with load(str(path)) as loaded:
        outputs = loaded.predict(images)[0]
    assert np.abs(outputs - model(images).numpy()).max() <= largest


def stored_size(model):
    return model.get_layer("head").kernel.numpy().size


def test_quantization_aware_model_is_exported_with_its_own_numerics(quantized, images, tmp_path):
    result = export_tflite(quantized, tmp_path / "q.tflite", validation_data=images)
    assert result.report.quantization == "int8, quantization-aware"
    assert result.report.float_operations == ()
    assert result.report.operations == {
        "CONV_2D": 1,
        "RESHAPE": 1,
        "FULLY_CONNECTED": 1,
        "SOFTMAX": 1,
    }
    assert result.report.agreement.within_one == 1.0


def test_scheme_quantizes_after_training(model, images, tmp_path):
    scheme = tfc.Scheme.int4_weights()
    result = export_tflite(model, tmp_path / "m.tflite", scheme, representative_data=images)
    assert kernel_dtype(result.path, "CONV_2D") == "INT4"
    assert result.report.float_operations == ()


@pytest.mark.parametrize("dtype", ["int8", "uint8", "float32"])
def test_input_and_output_types(model, images, tmp_path, dtype):
    result = export_tflite(
        model,
        tmp_path / "m.tflite",
        representative_data=images,
        input_dtype=dtype,
        output_dtype=dtype,
    )
    assert [details["dtype"] for details in (*result.report.inputs, *result.report.outputs)] == [
        dtype
    ] * 2
    assert result.report.float_operations == ()


def test_wrappers_around_the_model_are_looked_through(model, quantized, images, tmp_path):
    distiller = tfc.Distiller(quantized, model)
    direct = export_tflite(quantized, tmp_path / "q.tflite", validation_data=images)
    through = export_tflite(distiller, tmp_path / "d.tflite", validation_data=images)
    assert direct.path.read_bytes() == through.path.read_bytes()


def test_same_model_gives_the_same_bytes(model, images, exported, tmp_path):
    again = export_tflite(model, tmp_path / "b.tflite", representative_data=images)
    assert exported("int8").path.read_bytes() == again.path.read_bytes()


def test_signature_carries_the_names_of_the_keras_inputs(exported):
    signature = read_model(exported("float32").path).signatures[0]
    assert signature.key == "serving_default"
    assert list(signature.inputs) == ["image"]
    assert list(signature.outputs) == ["head"]


@pytest.mark.parametrize(("batch_size", "signature"), [(1, 1), (4, 4), (None, -1)])
def test_batch_of_a_quantization_aware_file(tmp_path, batch_size, signature):
    layers = [kl.Conv2D(3, 3), kl.GlobalAveragePooling2D(), kl.Dense(2)]
    x = np.random.default_rng(0).normal(size=(6, 8, 8, 2)).astype("float32")
    quantized = tfc.quantize_aware(keras.Sequential([keras.Input((8, 8, 2)), *layers])).calibrate(x)
    path = tmp_path / "m.tflite"
    report = export_tflite(quantized, path, validation_data=x, batch_size=batch_size).report
    assert report.agreement.equal == 1.0
    graph = read_model(path).subgraphs[0]
    assert graph.tensors[graph.inputs[0]].shape_signature[0] == signature


@pytest.mark.parametrize("batch_size", [0, -1, "4", 2.0, True])
def test_batch_sizes_that_are_none(model, tmp_path, batch_size):
    with pytest.raises(ValueError, match=f"positive integer.*batch_size={batch_size!r}"):
        export_tflite(model, tmp_path / "m.tflite", "float32", batch_size=batch_size)


def test_a_free_batch_that_changes_the_operations_is_refused(tmp_path):
    model = keras.Sequential([keras.Input((4, 3)), kl.Flatten(), kl.Dense(2)])
    quantized = tfc.quantize_aware(model).calibrate(np.ones((2, 4, 3)))
    with pytest.raises(ConversionError, match=r"batch_size=None.*batch_size=1.*Received: SHAPE"):
        export_tflite(quantized, tmp_path / "m.tflite", batch_size=None)


@pytest.mark.parametrize(("batch_size", "signature"), [(1, 1), (4, 4), (None, -1)])
def test_batch_is_fixed_unless_asked_to_be_free(model, tmp_path, batch_size, signature):
    export_tflite(model, tmp_path / "m.tflite", "float32", batch_size=batch_size)
    graph = read_model(tmp_path / "m.tflite").subgraphs[0]
    assert graph.tensors[graph.inputs[0]].shape_signature[0] == signature


def test_several_inputs_and_labels(tmp_path):
    left, right = keras.Input((4,), name="left"), keras.Input((6,), name="right")
    x = kl.Concatenate()([kl.Dense(3)(left), kl.Dense(3)(right)])
    model = keras.Model({"left": left, "right": right}, kl.Dense(2, name="out")(x))
    data = {"left": RNG.random((8, 4), "float32"), "right": RNG.random((8, 6), "float32")}
    labels = model.predict(data, verbose=0).argmax(-1)
    result = export_tflite(
        model, tmp_path / "m.tflite", representative_data=data, validation_data=(data, labels)
    )
    assert [details["name"] for details in result.report.inputs] == ["left", "right"]
    assert result.report.agreement.reference_metric == 1.0


def test_mixed_precision_model_is_deployed_in_float32(images, tmp_path):
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = keras.Sequential([keras.Input((8, 8, 3)), kl.Conv2D(2, 3), kl.Flatten()])
    finally:
        keras.config.set_dtype_policy("float32")
    result = export_tflite(model, tmp_path / "m.tflite", "float32", validation_data=images)
    assert kernel_dtype(result.path, "CONV_2D") == "FLOAT32"
    assert result.report.agreement.largest < 1e-5
    assert model.layers[0].compute_dtype == "float16"


def test_report_is_plain_data_and_text(exported):
    report = exported("int8").report
    assert json.loads(json.dumps(report.to_json()))["size"] == report.size
    assert f"{report.size:,} bytes" in str(report)
    assert "in float: none" in str(report)


def test_float_operation_names_the_layer_and_writes_nothing(images, tmp_path):
    inputs = keras.Input((8, 8, 3), name="image")
    x = kl.Conv2D(2, 3, name="conv")(inputs)
    outputs = kl.Lambda(keras.ops.erf, name="odd")(x)
    model = keras.Model(inputs, outputs)
    with pytest.raises((FloatOperationError, RuntimeError), match="odd"):
        export_tflite(model, tmp_path / "m.tflite", representative_data=images)
    assert list(tmp_path.iterdir()) == []


def test_convolutions_over_three_dimensions_become_integers(tmp_path):
    inputs = keras.Input((4, 6, 6, 2))
    x = kl.Conv3D(4, 3, activation="relu")(inputs)
    model = keras.Model(inputs, kl.Dense(3)(kl.Flatten()(x)))
    path, volumes = tmp_path / "m.tflite", RNG.random((8, 4, 6, 6, 2), "float32")
    report = export_tflite(model, path, "int8", representative_data=volumes).report
    assert report.float_operations == ()
    assert report.agreement.largest <= 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"quantization": "int7"}, r"Received: quantization='int7'"),
        ({"quantization": "int8"}, r"pass `representative_data`"),
        ({"input_dtype": "int4"}, r"Received: input_dtype='int4'"),
        ({"representative_data": np.zeros((0, 8, 8, 3), "float32")}, "is empty"),
        ({"representative_data": np.full((2, 8, 8, 3), np.nan, "float32")}, "'image'.*NaN"),
        ({"representative_data": np.zeros((2, 9, 8, 3), "float32")}, r"'image'.*Received: \(2, 9"),
        ({"representative_data": np.zeros((8, 8, 3), "float32")}, r"'image'.*Received: \(8, 8, 3"),
        ({"representative_data": np.array(["a", "b"])}, "'image'"),
        ({"representative_data": np.zeros((2, 8, 8, 3), complex)}, "'image'.*complex128"),
        ({"representative_data": [np.zeros((2, 8, 8, 3))] * 2}, "takes 1 inputs.*Received: 2"),
        ({"target": "toaster"}, "Unknown target"),
    ],
)
def test_bad_arguments(model, tmp_path, arguments, message):
    with pytest.raises(ValueError, match=message):
        export_tflite(model, tmp_path / "m.tflite", **arguments)
    assert list(tmp_path.iterdir()) == []


def test_representative_data_is_checked_before_the_conversion(model, images, monkeypatch, tmp_path):
    monkeypatch.setattr("tfcompress.quantization.deployed_graph.float_file", None)  # not reached
    wrong = np.concatenate([images[..., 0], images[..., 0]])
    with pytest.raises(ValueError, match="needs the shape"):
        export_tflite(model, tmp_path / "m.tflite", representative_data=wrong)


def test_values_that_overflow_are_named(tmp_path):
    inputs = keras.Input((2,))
    model = keras.Model(inputs, kl.ReLU(6.0)(kl.Activation("exponential", name="huge")(inputs)))
    with pytest.raises(ValueError, match=r"'huge' of model .* are NaN or infinite"):
        export_tflite(
            model, tmp_path / "m.tflite", representative_data=np.full((4, 2), 99.0, "float32")
        )


def test_volumes_are_pooled_and_the_largest_is_found(tmp_path):
    inputs = keras.Input((4, 4, 4, 2))
    pooled = kl.AveragePooling3D(2, padding="same")(kl.MaxPooling3D((1, 2, 2))(inputs))
    model = keras.Model(inputs, [pooled, keras.ops.argmax(pooled, -1)])
    data = RNG.random((32, 4, 4, 4, 2), "float32")
    result = export_tflite(model, tmp_path / "m.tflite", "float32", validation_data=data)
    assert [output.within_one for output in result.report.agreement.ran[0].outputs] == [1.0, 1.0]


def test_operations_that_tflite_does_not_have_are_named(tmp_path):
    inputs = keras.Input((3,))
    model = keras.Model(inputs, kl.Lambda(tf.math.erfinv, name="odd")(inputs))
    with pytest.raises(ConversionError, match=r"no such operations.*\n  odd.*: Erfinv\n"):
        export_tflite(model, tmp_path / "m.tflite", "float32")


def test_kernels_that_16_bits_do_not_have_are_named(tmp_path):
    inputs = keras.Input((3,))
    model = keras.Model(inputs, kl.Activation("log_softmax", name="odd")(inputs))
    with pytest.raises(FloatOperationError, match="odd: LOG_SOFTMAX"):
        export_tflite(
            model, tmp_path / "m.tflite", "int16x8", representative_data=np.ones((4, 3), "float32")
        )


def test_a_prelu_is_computed_in_16_bits_by_other_kernels(tmp_path):
    inputs = keras.Input((3,))
    model = keras.Model(inputs, kl.PReLU(keras.initializers.Constant(0.3))(inputs))
    data = np.linspace(-4, 4, 96, dtype="float32").reshape(32, 3)
    result = export_tflite(model, tmp_path / "m.tflite", "int16x8", representative_data=data)
    assert result.report.float_operations == ()
    assert result.report.agreement.largest < 1e-3


def test_representative_data_from_a_generator(model, images, exported, tmp_path):
    batches = (images[start : start + 8] for start in range(0, 32, 8))
    one = export_tflite(model, tmp_path / "a.tflite", representative_data=batches)
    other = exported("int8")
    assert one.path.read_bytes() == other.path.read_bytes()
    assert one.report.agreement.examples == 32


def test_representative_data_by_name_in_any_order(tmp_path):
    left, right = keras.Input((4,), name="b"), keras.Input((4,), name="a")
    model = keras.Model([left, right], kl.Subtract(name="out")([left, right]))
    data = {"a": RNG.random((32, 4), "float32") * 100, "b": RNG.random((32, 4), "float32")}
    result = export_tflite(model, tmp_path / "m.tflite", representative_data=data)
    scales = {details["name"]: details["scale"] for details in result.report.inputs}
    assert scales["a"] > 50 * scales["b"]
    assert result.report.agreement.within_one == 1.0


def test_quantization_that_contradicts_the_training(quantized, tmp_path):
    with pytest.raises(ValueError, match=r"Received: quantization='float16'"):
        export_tflite(quantized, tmp_path / "m.tflite", "float16")


def test_model_that_has_seen_no_data(model, tmp_path):
    with pytest.raises(ValueError, match="has not seen any data"):
        export_tflite(tfc.quantize_aware(model), tmp_path / "m.tflite")


def test_a_file_that_the_default_kernels_refuse_is_warned_of(model, tmp_path, monkeypatch):
    def refused(*args, **kwargs):
        found = validate(*args, **kwargs)
        default = dataclasses.replace(found.runs[0], outputs=(), error="no such scale")
        return dataclasses.replace(found, runs=(default, *found.runs[1:]))

    validate = export.validate
    monkeypatch.setattr(export, "validate", refused)
    message = r"uses by default \(xnnpack\), .*: no such scale"
    with pytest.warns(UserWarning, match=message) as seen:
        export_tflite(model, tmp_path / "model.tflite", "float32")
    assert __file__ in [w.filename for w in seen if "by default" in str(w.message)]


def test_missing_folder(model, tmp_path):
    with pytest.raises(FileNotFoundError, match="does not exist: create it first"):
        export_tflite(model, tmp_path / "none" / "m.tflite", "float32")


def test_folder_in_place_of_the_file(model, tmp_path):
    with pytest.raises(IsADirectoryError, match="cannot take the place of a folder"):
        export_tflite(model, tmp_path, "float32")
