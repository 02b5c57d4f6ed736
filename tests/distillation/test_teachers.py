"""Every kind of teacher says what its model says."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import tfcompress as tfc
from tfcompress.distillation import Features, LogitsMSE


def net(width, name, activation=None):
    return keras.Sequential(
        [
            keras.Input((4,)),
            layers.Dense(width, activation="relu", name="hidden"),
            layers.BatchNormalization(name="norm"),
            layers.Dense(3, activation=activation, name="head"),
        ],
        name=name,
    )


@pytest.fixture
def x():
    return np.random.default_rng(0).normal(size=(16, 4)).astype("float32")


@pytest.fixture
def model():
    return net(8, "teacher")


def mse_with(teacher, x):
    """The loss of one step under a teacher, and the student's outputs in it."""
    student = net(5, "student")
    student.get_layer("norm").trainable = False
    distiller = tfc.Distiller(student, teacher, LogitsMSE())
    distiller.compile(keras.optimizers.SGD(0.0))
    history = distiller.fit(x, batch_size=16, shuffle=False, verbose=0).history
    return history["loss"][0], student.predict(x, verbose=0)


def check(teacher, x, expected, rel=1e-4):
    loss, ours = mse_with(teacher, x)
    assert loss == pytest.approx(np.mean((ours - expected) ** 2), rel=rel)


def to_tflite(model, path, batch=None, quantized_with=None):
    signature = [tf.TensorSpec([batch, 4], tf.float32)]
    function = tf.function(lambda x: model(x, training=False), input_signature=signature)
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function.get_concrete_function()])
    if quantized_with is not None:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: ([row[None]] for row in quantized_with)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = tf.int8
    path.write_bytes(converter.convert())
    return path


def test_a_saved_model(model, x, tmp_path):
    model.export(tmp_path / "saved", verbose=False)
    check(str(tmp_path / "saved"), x, model.predict(x, verbose=0))


def test_a_keras_file(model, x, tmp_path):
    model.save(tmp_path / "teacher.keras")
    check(tmp_path / "teacher.keras", x, model.predict(x, verbose=0))


@pytest.mark.parametrize("batch", [None, 1])
def test_a_tflite_file(model, x, tmp_path, batch):
    check(to_tflite(model, tmp_path / "t.tflite", batch), x, model.predict(x, verbose=0))


def test_an_int8_tflite_file(model, x, tmp_path):
    path = to_tflite(model, tmp_path / "t.tflite", 1, quantized_with=x)
    outputs = model.predict(x, verbose=0)
    # 8 bits over the range of the outputs: the mean square moves by a few percent at most.
    check(path, x, outputs, rel=0.05)


def test_a_tf_keras_model(x):
    import tf_keras

    inputs = tf_keras.Input((4,))
    y = tf_keras.layers.BatchNormalization()(tf_keras.layers.Dense(8)(inputs))
    model = tf_keras.Model(inputs, tf_keras.layers.Dense(3)(tf_keras.layers.Dropout(0.5)(y)))
    before = model.get_weights()
    check(model, x, model.predict(x, verbose=0))
    assert model.trainable
    for value, weight in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(value, weight)


def test_a_callable(model, x):
    def teacher(batch):
        return 2.0 * model(batch, training=False)

    check(teacher, x, 2 * model.predict(x, verbose=0))


def test_a_numpy_function_is_refused_with_advice(x):
    with pytest.raises(TypeError, match=r"tf\.numpy_function"):
        mse_with(lambda batch: np.asarray(batch)[:, :3], x)


CALLED_WRONGLY = {
    "predict": (
        lambda model: lambda batch: model.predict(batch, verbose=0),
        TypeError,
        r"'<lambda>' does not run inside a compiled step.*not by `predict`.*Received: ",
    ),
    "predict_on_batch": (
        lambda model: model.predict_on_batch,
        TypeError,
        r"'predict_on_batch' does not run inside a compiled step.*not by `predict`",
    ),
    "no return": (
        lambda model: lambda batch: None,
        TypeError,
        r"must return the outputs for a batch.*lack a `return`\? Received: None",
    ),
    "a mean": (
        lambda model: lambda batch: keras.ops.mean(model(batch)),
        TypeError,
        "must return the outputs for a batch: a tensor with a row for each example",
    ),
    "one row": (
        lambda model: lambda batch: model(batch)[:1],
        ValueError,
        r"a row for each example of the batch\. Received: shape \(1, 3\) for a batch of 3",
    ),
    "one row in a list": (
        lambda model: lambda batch: [model(batch)[:1]],
        ValueError,
        r"a row for each example of the batch\. Received: shape \(1, 3\)",
    ),
}


@pytest.mark.parametrize("kind", CALLED_WRONGLY)
def test_callables_that_return_something_else(model, x, kind):
    teacher, error, message = CALLED_WRONGLY[kind]
    with pytest.raises(error, match=message):
        mse_with(teacher(model), x)


def test_rows_that_only_a_run_can_count(model, x):
    def teacher(batch):
        return tf.ensure_shape(
            tf.numpy_function(lambda rows: rows[:1, :3], [batch], tf.float32), [None, 3]
        )

    with pytest.raises(tf.errors.InvalidArgumentError, match="a row for each example"):
        mse_with(teacher, x)


def test_several_teachers_are_averaged(model, x):
    other = net(6, "other")
    outputs = [m.predict(x, verbose=0) for m in (model, other)]
    check([model, other], x, (outputs[0] + outputs[1]) / 2)
    check([(model, 3.0), (other, 1.0)], x, 0.75 * outputs[0] + 0.25 * outputs[1])


def test_teachers_of_different_kinds_are_averaged(model, x, tmp_path):
    path = to_tflite(model, tmp_path / "t.tflite")
    check([path, lambda batch: batch[:, :3]], x, (model.predict(x, verbose=0) + x[:, :3]) / 2)


def test_only_keras_teachers_have_layers(model, x, tmp_path):
    student = net(5, "student")
    for teacher in (lambda batch: batch[:, :3], [model, model]):
        with pytest.raises(ValueError, match="teacher_layer='hidden'"):
            tfc.Distiller(student, teacher, Features("hidden", "hidden"))


@pytest.mark.parametrize(
    ("teachers", "error", "message"),
    [
        (lambda m: [], ValueError, "at least one teacher"),
        (lambda m: [(m, 0.0)], ValueError, "`teacher weight` must be finite and above 0"),
        (lambda m: [m, lambda x: x[:, :2]], ValueError, "outputs of equal shapes"),
        (lambda m: [m, net(5, "other", "softmax")], ValueError, "must all end in logits"),
        (lambda m: 3, TypeError, "Received: teacher=3 of type int"),
        (lambda m: "nowhere.tflite", ValueError, r"'nowhere\.tflite'"),
    ],
)
def test_bad_teachers_are_named(model, teachers, error, message):
    with pytest.raises(error, match=message):
        tfc.Distiller(net(5, "student"), teachers(model), LogitsMSE())


def test_a_damaged_tflite_file_is_refused(tmp_path):
    path = tmp_path / "broken.tflite"
    path.write_bytes(b"\x1c\x00\x00\x00TFL3" + b"\xff" * 40)
    with pytest.raises(ValueError, match=r"broken\.tflite"):
        tfc.Distiller(net(5, "student"), path)


def test_a_saved_model_without_a_signature_is_refused(tmp_path):
    tf.saved_model.save(tf.Module(), str(tmp_path / "empty"))
    with pytest.raises(ValueError, match="no signature 'serving_default'"):
        tfc.Distiller(net(5, "student"), tmp_path / "empty")
