import dataclasses
import json
import math

import edits
import keras
import numpy as np
import pytest
import tensorflow as tf
import toy_files

import tfcompress as tfc
from exporters.converting import convert_model
from exporters.parity import ParityReport, RunParity, compare, misfit
from exporters.running.runtime import RunError, find_runtimes
from exporters.running.tensor_details import TensorDetails
from exporters.task_metric import find_task_metric, is_classification
from exporters.validation import validate
from tfcompress.data import gather
from tfcompress.tflite.numerics import sqnr

DETAILS = TensorDetails("y", 0, (1, 2), np.dtype("int8"), scale=0.5, zero_point=10)


@pytest.fixture
def files(tmp_path):
    paths = {}
    for kind in ("float32", "int8"):
        paths[kind] = tmp_path / f"{kind}.tflite"
        paths[kind].write_bytes(toy_files.content(kind))
    return paths


def test_differences_are_counted_in_steps():
    reference = np.array([[0.0, 1.0], [1.0, 5.0]])
    # Steps of the reference: 10, 12, 12, 20.
    found = compare(DETAILS, np.array([[10, 13], [12, 17]], np.int8), reference, 1e-4)
    assert (found.unit, found.step) == ("LSB", 0.5)
    assert (found.equal, found.within_one, found.largest) == (0.5, 0.75, 3)
    assert found.same_class == 1.0


def test_a_tie_of_the_largest_is_no_other_class():
    reference = np.array([[1.0, 1.1], [2.0, 0.0]])
    found = compare(DETAILS, np.array([[12, 12], [10, 14]], np.int8), reference, 1e-4)
    assert (found.same_class, found.tied) == (0.5, 0.5)  # a program takes the first of the two


def test_a_file_that_gives_one_output_for_all_examples_is_said_to():
    reference = np.array([[1.0, 1.1], [2.0, 0.0]])
    same = compare(DETAILS, np.array([[12, 12], [12, 12]], np.int8), reference, 1e-4)
    varied = compare(DETAILS, np.array([[12, 12], [12, 13]], np.int8), reference, 1e-4)
    assert (same.constant, varied.constant) == (True, False)
    report = ParityReport(2, (RunParity("LiteRT", "xnnpack", (same,)),))
    assert report.to_text().endswith(
        "100.0% same class (50.0% by a tie), one output for all examples"
    )


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [
        (0.0, 255.0, "between 0 and 255, the file holds 0 to 1 and cuts off the rest"),
        (-0.01, 0.01, "between -0.01 and 0.01, the file holds 0 to 1: prepare it"),
        (-2.0, 2.0, None),
        (0.0, 1.0, None),
    ],
)
def test_data_that_lies_elsewhere_than_what_an_input_holds(low, high, said):
    details = TensorDetails("image", 0, (1, 4), np.dtype("int8"), 1 / 255, -128)
    found = misfit(details, np.array([[low, 0, 0, high]], "float32"))
    assert found is None if said is None else said in found
    assert misfit(details, np.zeros((2, 4), "int8")) is None


def test_a_file_beside_an_integer_file_has_no_wrong_operation(files):
    report = validate(files["int8"], against=files["int8"], kernels=["reference"])
    assert (report.within_one, report.layers, report.first_wrong) == (1.0, (), None)


def test_a_model_of_other_inputs_is_refused(files):
    model = keras.Sequential([keras.Input((5, 7)), keras.layers.Flatten()], name="another")
    with pytest.raises(ValueError, match=r"'another' takes inputs of other shapes.*5x7"):
        validate(files["float32"], against=model)


def test_float_outputs_are_judged_by_the_tolerance():
    details = TensorDetails("y", 0, (1, 2), np.dtype("float32"))
    found = compare(details, np.float32([[1, 2]]), np.array([[1.0, 2.5]]), 0.1)
    assert (found.unit, found.step) == ("absolute", 0.1)
    assert (found.equal, found.within_one, found.largest) == (0.5, 0.5, 0.5)


def test_shapes_must_agree():
    with pytest.raises(ValueError, match=r"shape \(1, 2\)\. Received.*\(2, 2\)"):
        compare(DETAILS, np.zeros((1, 2), np.int8), np.zeros((2, 2)), 1e-4)


def test_accuracy_takes_indices_columns_and_one_hot_rows():
    scores = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]])
    for labels in (np.array([0, 1, 1]), np.array([[0], [1], [1]]), np.eye(2)[[0, 1, 1]]):
        assert is_classification(scores, labels)
        assert find_task_metric(scores, labels).compute([scores], labels) == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("scores", "labels"),
    [
        (np.zeros((3, 1)), np.zeros(3, int)),
        (np.zeros((3, 4, 2)), np.zeros(3, int)),
        (np.zeros((3, 2)), np.array([0.5, 1, 0])),
        (np.zeros((3, 2)), np.full((3, 2), 0.5)),
        (np.zeros((3, 2)), np.zeros(4, int)),
    ],
)
def test_what_is_no_classification_has_no_accuracy(scores, labels):
    assert not is_classification(scores, labels)


def test_sqnr_by_hand():
    assert sqnr(np.array([1.0, 2.0]), np.array([1.0, 1.5])) == pytest.approx(10 * math.log10(20))
    assert sqnr(np.ones(3), np.ones(3)) == math.inf
    assert sqnr(np.zeros(3), np.ones(3)) == -math.inf


@pytest.mark.parametrize("kind", ["bytes", "path"])
def test_the_float_file_agrees_with_its_model(files, kind):
    file = toy_files.content("float32") if kind == "bytes" else files["float32"]
    agreement = validate(file, toy_files.model(), toy_files.images(), tolerance=1e-5)
    assert [run.kernels for run in agreement.runs] == ["xnnpack", "builtin", "reference"]
    for run in agreement.runs:
        assert run.error is None
        assert run.outputs[0].within_one == 1.0
        assert run.outputs[0].same_class == 1.0
    assert agreement.examples == 64


def test_the_int8_file_agrees_within_some_steps(files):
    labels = np.asarray(toy_files.model()(toy_files.images())).argmax(-1)
    agreement = validate(files["int8"], toy_files.model(), toy_files.images(), labels)
    assert agreement.reference_metric == 1.0
    for run in agreement.runs:
        assert run.outputs[0].unit == "LSB"
        assert run.outputs[0].within_one >= 0.8
        assert run.outputs[0].largest <= 4
        assert run.metric == pytest.approx(run.outputs[0].same_class, abs=0.05)
    assert agreement.equal == agreement.runs[0].outputs[0].equal


def test_three_references_say_the_same(files):
    images = toy_files.images()
    expected = np.asarray(toy_files.model()(images))
    with_model = validate(files["int8"], toy_files.model(), images, kernels=("builtin",))
    with_array = validate(files["int8"], expected, images, kernels=("builtin",))
    with_file = validate(files["int8"], files["float32"], images, kernels=("builtin",))
    named = validate(files["int8"], {"output_0": expected}, images, kernels=("builtin",))
    assert with_model.runs == with_array.runs == named.runs
    (by_model,), (by_file,) = with_model.runs[0].outputs, with_file.runs[0].outputs
    # The float file rounds floats elsewhere than the model does.
    assert by_file.sqnr == pytest.approx(by_model.sqnr, abs=1e-4)
    assert dataclasses.replace(by_file, sqnr=by_model.sqnr) == by_model


def test_quantized_examples_reach_the_model_as_real_numbers(files):
    from exporters.running.runtime import load

    with load(files["int8"]) as loaded:
        quantized = loaded.inputs[0].to_file(toy_files.images())
        real = loaded.inputs[0].to_real(quantized)
    by_integers = validate(files["int8"], toy_files.model(), quantized, kernels=("builtin",))
    by_reals = validate(files["int8"], toy_files.model(), real, kernels=("builtin",))
    assert by_integers.runs == by_reals.runs


def test_validation_leaves_the_model_as_it_was():
    model = toy_files.model()
    before = [np.array(weight) for weight in model.get_weights()]
    validate(toy_files.content("int8"), model, toy_files.images(), kernels=("xnnpack",))
    for weight, old in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(weight, old)


def test_inputs_reach_a_quantization_aware_model_in_its_own_order():
    rng = np.random.default_rng(0)
    left, right = keras.Input((4,), name="b"), keras.Input((4,), name="a")
    model = keras.Model([left, right], keras.layers.Subtract()([left, right]))
    data = [rng.random((16, 4), "float32"), rng.random((16, 4), "float32")]
    quantized = tfc.quantize_aware(model).calibrate(data)
    agreement = validate(convert_model(quantized).flatbuffer, quantized, data, kernels=["xnnpack"])
    assert agreement.within_one == 1.0


def test_layers_are_compared_with_the_float_file(files):
    agreement = validate(files["int8"], files["float32"], toy_files.images())
    assert [layer.operation for layer in agreement.layers] == [
        "CONV_2D",
        "DEPTHWISE_CONV_2D",
        "ADD",
        "MEAN",
        "FULLY_CONNECTED",
    ]
    first = agreement.layers[0]
    assert first.inherited == math.inf
    assert 30 < first.sqnr < first.grid < 60  # 8 bits: about 6 dB a bit
    assert agreement.first_wrong is None


@pytest.mark.parametrize(
    ("operation", "index", "layer"),
    [("CONV_2D", 0, "stem"), ("DEPTHWISE_CONV_2D", 1, "encoder"), ("FULLY_CONNECTED", 4, None)],
)
def test_the_first_layer_that_goes_wrong_is_found(operation, index, layer):
    damaged = edits.with_negated_kernel(toy_files.content("int8"), operation)
    agreement = validate(
        damaged,
        toy_files.model(),
        toy_files.images(),
        float_file=toy_files.content("float32"),
        kernels=("builtin",),
    )
    assert agreement.first_wrong.index == index
    assert agreement.first_wrong.operation == operation
    if layer is not None:
        assert layer in agreement.first_wrong.layer
        assert layer in agreement.to_text()


def test_a_kernel_set_that_refuses_is_reported_and_the_others_go_on(files, monkeypatch):
    from exporters import validation

    original = validation.load_isolated

    def refuse_reference(file, runtime=None, kernels="xnnpack", **settings):
        if kernels == "reference":
            raise RunError("no kernel")
        return original(file, runtime, kernels, **settings)

    monkeypatch.setattr(validation, "load_isolated", refuse_reference)
    agreement = validate(files["int8"], toy_files.model(), toy_files.images())
    assert [run.error for run in agreement.runs] == [None, None, "no kernel"]
    assert "did not run: no kernel" in agreement.to_text()
    assert len(agreement.ran) == 2


@pytest.mark.process
def test_kernels_that_abort_on_our_own_file_do_not_take_the_process_along():
    """A softmax of almost nothing: its input's scale is too small for the reference kernels."""
    converter = tf.lite.TFLiteConverter.from_keras_model(
        keras.Sequential(
            [
                keras.Input((4,)),
                keras.layers.Dense(3, kernel_initializer=keras.initializers.RandomNormal(0, 1e-8)),
                keras.layers.Softmax(),
            ]
        )
    )
    examples = np.random.default_rng(0).random((8, 4), np.float32)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([example[None]] for example in examples)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    agreement = validate(converter.convert(), np.full((8, 3), 1 / 3), examples)
    assert [run.error is None for run in agreement.runs] == [True, True, False]
    assert "SIGABRT" in agreement.runs[2].error


def test_a_file_that_runs_nowhere_is_an_error(shared):
    path = shared / "models" / "litert_testdata" / "custom_sinh.bin"
    with pytest.raises(RunError, match=r"(?s)does not run.*Sinh"):
        validate(path, np.zeros((1, 1)), np.zeros((1, 1), np.float32))


def test_every_runtime_present_can_be_asked(files):
    agreement = validate(
        files["int8"],
        toy_files.model(),
        toy_files.images()[:4],
        runtimes=["ai-edge-litert", "tensorflow"],
        kernels=("builtin",),
    )
    assert [run.runtime.split()[0] for run in agreement.runs] == ["ai-edge-litert", "tensorflow"]
    assert all(run.error is None for run in agreement.runs)


def test_a_metric_of_the_users_own():
    agreement = validate(
        toy_files.content("float32"),
        toy_files.model(),
        (toy_files.images(), np.arange(64)),
        kernels=("xnnpack",),
        metric=lambda outputs, labels: float(labels.sum()) + outputs[0].shape[1],
    )
    assert agreement.metric == agreement.reference_metric == 63 * 32 + toy_files.CLASSES


def test_results_are_json(files):
    agreement = validate(files["int8"], files["float32"], toy_files.images(), kernels=("builtin",))
    found = json.loads(json.dumps(agreement.to_json()))
    assert len(found["layers"]) == 5
    assert found["runs"][0]["outputs"][0]["unit"] == "LSB"


@pytest.mark.parametrize(
    ("against", "data", "error", "message"),
    [
        (3, "images", TypeError, "Received: int"),
        (np.zeros((64, 3)), "images", ValueError, "Received a reference of shape"),
        ([np.zeros((64, 5))] * 2, "images", ValueError, "reference with 2"),
        (np.zeros((64, 5)), "abc", TypeError, "Received: str"),
        (np.zeros((64, 5)), np.zeros((0, 12, 12, 3)), ValueError, "Received: none"),
        (np.zeros((1, 5)), np.full((1, 12, 12, 3), np.nan), ValueError, "NaN"),
    ],
)
def test_bad_input(against, data, error, message):
    data = toy_files.images() if isinstance(data, str) and data == "images" else data
    with pytest.raises(error, match=message):
        validate(toy_files.content("int8"), against, data)


def test_examples_come_as_whatever_fit_takes():
    x, y = np.arange(12.0).reshape(6, 2), np.arange(6)

    class Batches(keras.utils.PyDataset):
        def __len__(self):
            return 3

        def __getitem__(self, index):
            return x[2 * index : 2 * index + 2], y[2 * index : 2 * index + 2]

    forms = [
        (x, y),
        Batches(),
        tf.data.Dataset.from_tensor_slices((x, y)).batch(4),
        [(x[:3], y[:3]), (x[3:], y[3:])],
    ]
    for form in forms:
        (inputs,), labels = gather(form, max_examples=5)
        np.testing.assert_array_equal(inputs, x[:5])
        np.testing.assert_array_equal(labels, y[:5])
    assert gather(x)[1] is None
    np.testing.assert_array_equal(gather({"a": x})[0]["a"], x)
    assert len(gather([x, y])[0]) == 2


@pytest.mark.process
def test_every_runtime_that_is_present():
    agreement = validate(
        toy_files.content("int8"), toy_files.model(), toy_files.images()[:4], runtimes="all"
    )
    names = {run.runtime.split()[0] for run in agreement.ran}
    assert names == {runtime.name for runtime in find_runtimes()}
    assert {run.kernels for run in agreement.ran} == {"xnnpack", "builtin", "reference"}
    with pytest.raises(ValueError, match=r'or "all"\. Received: .litert'):
        validate(
            toy_files.content("int8"), toy_files.model(), toy_files.images()[:4], runtimes="litert"
        )


def test_without_data_it_compares_on_noise_and_says_so(files):
    agreement = validate(files["int8"], toy_files.model(), kernels=("xnnpack",))
    assert (agreement.noise, agreement.examples) == (True, 64)
    assert "64 examples of random noise" in agreement.to_text()
    assert agreement.to_json()["noise"] is True
    real = validate(files["int8"], toy_files.model(), toy_files.images(), kernels=("xnnpack",))
    assert not real.noise
    assert "no metric: the data has no labels" in real.to_text()


def test_the_text_says_how_many_classes_and_which_metric():
    labels = np.arange(64) % 2
    agreement = validate(
        toy_files.content("float32"), toy_files.model(), (toy_files.images(), labels)
    )
    assert agreement.classes == 2
    head = f"64 examples of 2 classes, reference metric {agreement.reference_metric:.4f} (accuracy)"
    assert agreement.to_text().startswith(head)


def test_as_many_labels_as_examples():
    with pytest.raises(ValueError, match="60 labels for 64 examples"):
        validate(
            toy_files.content("float32"), toy_files.model(), toy_files.images(), np.zeros(60, int)
        )
