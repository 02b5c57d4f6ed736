"""Files with several inputs and outputs, and with a batch size other than 1."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

from exporters.bundle import write_bundle
from exporters.converting import convert_model
from exporters.running.runtime import load
from exporters.validation import validate
from tfcompress.compat.tensorflow_graphs import freeze_variables


@functools.cache
def model() -> keras.Model:
    """An image and a number in; classes and a mask out."""
    image, number = keras.Input((4, 4, 2), name="image"), keras.Input((3,), name="number")
    mask = keras.layers.Conv2D(1, 1, name="mask")(image)
    pooled = keras.layers.GlobalAveragePooling2D()(image)
    scores = keras.layers.Dense(5, name="scores")(keras.layers.Concatenate()([pooled, number]))
    return keras.Model({"image": image, "number": number}, {"scores": scores, "mask": mask})


@functools.cache
def content(batch) -> bytes:
    specs = {
        "image": tf.TensorSpec((batch, 4, 4, 2), tf.float32, name="image"),
        "number": tf.TensorSpec((batch, 3), tf.float32, name="number"),
    }
    function = tf.function(lambda image, number: model()({"image": image, "number": number}))
    concrete = freeze_variables(function.get_concrete_function(**specs))
    return tf.lite.TFLiteConverter.from_concrete_functions([concrete], model()).convert()


def examples(count):
    generator = np.random.default_rng(0)
    return {
        "image": generator.random((count, 4, 4, 2), np.float32),
        "number": generator.random((count, 3), np.float32),
    }


@pytest.mark.parametrize("batch", [1, 4, None])
def test_any_number_of_examples_runs_whatever_the_batch(batch):
    values = examples(10)
    expected = model()(values)
    with load(content(batch)) as loaded:
        found = loaded.predict(values)
        assert len(found) == 2
        for output in found:
            name = "scores" if output.ndim == 2 else "mask"
            np.testing.assert_allclose(output, expected[name], atol=1e-5)


def test_an_input_that_is_given_out_has_a_name_on_either_side():
    x = keras.Input((3,), name="x")
    same = keras.Model(x, keras.layers.Dropout(0.5, name="same")(x))
    with load(convert_model(same, "float32").flatbuffer) as loaded:
        assert [port.name for port in (*loaded.inputs, *loaded.outputs)] == ["x", "same"]
        np.testing.assert_array_equal(loaded.predict({"x": np.eye(3, dtype="f")})[0], np.eye(3))


@pytest.mark.parametrize("batch", [1, 4])
def test_inputs_come_by_name_or_in_the_files_order(batch):
    values = examples(3)
    with load(content(batch)) as loaded:
        ordered = [values[details.name] for details in loaded.inputs]
        for one, two in zip(loaded.predict(values), loaded.predict(ordered), strict=True):
            np.testing.assert_array_equal(one, two)


def test_inputs_of_different_lengths_are_refused():
    values = examples(3)
    values["number"] = values["number"][:2]
    with load(content(1)) as loaded, pytest.raises(ValueError, match="same number of examples"):
        loaded.predict(values)


def test_several_outputs_are_compared_each_by_its_own():
    values = examples(6)
    with load(content(1)) as loaded:
        order = ["scores" if len(details.shape) == 2 else "mask" for details in loaded.outputs]
    reference = model()(values)
    agreement = validate(
        content(1), [np.asarray(reference[name]) for name in order], values, kernels=("builtin",)
    )
    assert len(agreement.runs[0].outputs) == 2
    assert all(output.within_one == 1.0 for output in agreement.runs[0].outputs)


def test_a_list_of_inputs_is_in_the_order_of_the_model():
    """Whatever order the file has: both orders are tried, one of them is not the file's."""
    values = examples(4)
    for order in (("image", "number"), ("number", "image")):
        inputs = [keras.Input(values[name].shape[1:], name=name) for name in order]
        by_name = dict(zip(order, inputs, strict=True))
        listed = keras.Model(inputs, model()(by_name)["scores"])
        with load(content(1)) as loaded:
            place = [len(details.shape) for details in loaded.outputs].index(2)
            other = np.asarray(model()(values)["mask"])

        class Both:
            """The listed model, with the file's second output beside."""

            def __init__(self, listed, place, other):
                self.inputs, self.listed = listed.inputs, listed
                self.place, self.other = place, other

            def __call__(self, batch):
                outputs = [self.other]
                outputs.insert(self.place, self.listed(batch))
                return outputs

        data = [values[name] for name in order]
        both = Both(listed, place, other)
        agreement = validate(content(1), both, data, kernels=("builtin",), tolerance=1e-5)
        assert all(output.within_one == 1.0 for output in agreement.runs[0].outputs)


def test_a_bundle_of_several_ports(tmp_path):
    path = tmp_path / "two.tflite"
    path.write_bytes(content(1))
    golden = np.load(write_bundle(path, tmp_path / "bundle", count=3) / "golden.npz")
    assert sorted(golden.files) == ["input_0", "input_1", "output_0", "output_1"]
    assert {golden[name].shape[0] for name in golden.files} == {3}
