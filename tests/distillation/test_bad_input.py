"""What cannot work is refused before the first training step, with names and advice."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import tfcompress as tfc
from tfcompress.distillation import (
    FSP,
    AttentionTransfer,
    Features,
    HardLabels,
    LogitsMSE,
    Relational,
    SoftLabels,
)


def net(classes=3, name="student", activation=None, size=8):
    return keras.Sequential(
        [
            keras.Input((size, size, 1)),
            layers.Conv2D(4, 3, padding="same", name="conv1"),
            layers.MaxPooling2D(name="pool"),
            layers.Conv2D(6, 3, padding="same", name="conv2"),
            layers.GlobalAveragePooling2D(name="embedding"),
            layers.Dense(classes, activation=activation, name="head"),
        ],
        name=name,
    )


@pytest.mark.parametrize("temperature", [0, -1.0, float("nan"), lambda step: 0.0])
def test_temperature_must_be_above_zero(temperature):
    with pytest.raises(ValueError, match="`temperature` must be finite and above 0"):
        SoftLabels(temperature)


@pytest.mark.parametrize(
    ("build", "error", "message"),
    [
        (lambda: SoftLabels("3"), TypeError, "`temperature` must be a number or a callable"),
        (lambda: SoftLabels(True), TypeError, "`temperature` must be a number or a callable"),
        (lambda: HardLabels("relu"), ValueError, "`activation` must be one of"),
        (lambda: AttentionTransfer("a", "b", power=0), ValueError, "`power` must be finite"),
        (lambda: Relational("a", "b", angle_weight=-1), ValueError, "`angle_weight` must be"),
        (lambda: FSP("a", ("b", "c")), ValueError, "pass two layers of each model"),
        (lambda: Features("a", "b", projection="dense"), TypeError, "must be a Keras layer"),
    ],
)
def test_bad_losses(build, error, message):
    with pytest.raises(error, match=message):
        build()


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"losses": []}, ValueError, "at least one loss"),
        ({"losses": "kl"}, TypeError, "Received: 'kl' of type str"),
        ({"losses": [(SoftLabels(), -1.0)]}, ValueError, "`weight` must be finite and at least 0"),
        ({"losses": {SoftLabels(): "1"}}, TypeError, "`weight` must be a number or a callable"),
        ({"task_weight": -0.5}, ValueError, "`task_weight` must be finite and at least 0"),
        ({"losses": SoftLabels(output="size")}, ValueError, r"outputs \['head'\]"),
        ({"losses": SoftLabels(output=1)}, ValueError, "Received: output=1"),
    ],
)
def test_bad_arguments(options, error, message):
    with pytest.raises(error, match=message):
        tfc.Distiller(net(), net(name="teacher"), **options)


def test_a_distiller_needs_a_teacher():
    with pytest.raises(TypeError, match=r"`teacher` must be a Keras.*Received: teacher=None"):
        tfc.Distiller(net(), None)


def test_a_student_must_be_a_built_keras_model():
    with pytest.raises(TypeError, match="`student` must be a Keras 3 model"):
        tfc.Distiller(lambda x: x, net())
    with pytest.raises(ValueError, match="is not built"):
        tfc.Distiller(keras.Sequential([layers.Dense(3)]), net())


def test_a_teacher_must_be_built():
    with pytest.raises(ValueError, match="Teacher 'raw' is not built"):
        tfc.Distiller(net(), keras.Sequential([layers.Dense(3)], name="raw"))


def test_a_teacher_with_nan_weights_is_refused():
    teacher = net(name="teacher")
    kernel = teacher.get_layer("conv2").kernel
    kernel.assign(kernel * np.nan)
    with pytest.raises(ValueError, match=r"'teacher' has NaN .* 'teacher/conv2/kernel'"):
        tfc.Distiller(net(), teacher)


@pytest.mark.parametrize("options", [{}, {"run_eagerly": True}, {"steps_per_execution": 2}])
def test_a_teacher_that_returns_nan_stops_the_first_step(options):
    teacher = net(name="teacher")
    student = net()
    before = student.get_weights()
    # Finite weights, and a logarithm of what is negative.
    distiller = tfc.Distiller(student, lambda x: keras.ops.log(-1.0 - teacher(x) ** 2))
    distiller.compile("adam", **options)
    with pytest.raises(tf.errors.InvalidArgumentError, match="returned NaN or infinite values"):
        distiller.fit(np.ones((4, 8, 8, 1), "float32"), verbose=0)
    for value, weight in zip(before, student.get_weights(), strict=True):
        np.testing.assert_array_equal(value, weight)


def test_outputs_of_different_sizes():
    with pytest.raises(ValueError, match=r"output 'head'.*\(None, 3\), teacher shape \(None, 5\)"):
        tfc.Distiller(net(3), net(5, "teacher"))


def test_different_numbers_of_outputs():
    teacher = net(name="teacher")
    two = keras.Model(teacher.inputs, [teacher.outputs[0], teacher.get_layer("embedding").output])
    with pytest.raises(ValueError, match="the student has 1, the teacher 2"):
        tfc.Distiller(net(), two)


def test_models_that_disagree_only_on_outputs_may_share_features():
    assert tfc.Distiller(net(3), net(5, "teacher"), Features("conv2", "conv2"))


@pytest.mark.parametrize(
    ("ours", "theirs", "from_logits"),
    [("softmax", None, None), (None, "softmax", None), ("softmax", "softmax", True)],
)
def test_logits_against_probabilities(ours, theirs, from_logits):
    student, teacher = net(activation=ours), net(name="teacher", activation=theirs)
    with pytest.raises(ValueError, match="both return logits or both probabilities"):
        tfc.Distiller(student, teacher, from_logits=from_logits)


def test_the_advice_for_a_softmax_teacher_works():
    teacher = net(name="teacher", activation="softmax")
    assert tfc.Distiller(net(), lambda x: keras.ops.log(teacher(x, training=False)))


@pytest.mark.parametrize("activation", [None, "sigmoid"])
@pytest.mark.parametrize("loss", [SoftLabels, HardLabels])
def test_a_softmax_over_one_unit_or_over_sigmoids(loss, activation):
    student, teacher = net(1, activation=activation), net(1, "teacher", activation)
    with pytest.raises(ValueError, match=r"Output 'head' .*\(activation='sigmoid'\)"):
        tfc.Distiller(student, teacher, loss())


@pytest.mark.parametrize(
    ("losses", "message"),
    [
        (Features("conv22", "conv2"), "no layer 'conv22'. Did you mean: conv2"),
        (Features("conv2", "conv22"), "no layer 'conv22'. Did you mean: conv2"),
        (Features("conv1", "conv2"), r"student shapes \[\(None, 8, 8, 6\)\], teacher shapes"),
        (Features("conv1", "embedding"), "Student layer 'conv1' and teacher layer 'embedding'"),
        (AttentionTransfer("conv1", "conv2"), "equal spatial size"),
        (AttentionTransfer("embedding", "embedding"), "at least one axis"),
        (FSP(("conv1", "conv2"), ("conv1", "conv1")), "equal numbers of channels"),
        (FSP(("conv1", "embedding"), ("conv1", "embedding")), "equal rank with positions"),
    ],
)
def test_layers_that_do_not_fit(losses, message):
    with pytest.raises(ValueError, match=message):
        tfc.Distiller(net(), net(name="teacher"), losses)


def test_positions_that_do_not_shrink_evenly():
    inputs = keras.Input((7, 7, 1))
    first = layers.Conv2D(4, 3, padding="same", name="conv1")(inputs)
    second = layers.Conv2D(4, 3, name="conv2")(first)
    outputs = layers.Dense(3)(layers.GlobalAveragePooling2D()(second))
    model = keras.Model(inputs, outputs)
    with pytest.raises(ValueError, match="7 positions do not shrink to 5"):
        tfc.Distiller(model, "self", FSP(("conv1", "conv2"), ("conv1", "conv2")))


def test_a_layer_name_that_is_not_unique():
    inner = [keras.Sequential([keras.Input((4,)), layers.Dense(4, name="dense")], name=n)
             for n in ("left", "right")]  # fmt: skip
    inputs = keras.Input((4,))
    model = keras.Model(inputs, layers.Dense(3)(inner[1](inner[0](inputs))))
    with pytest.raises(ValueError, match="left/dense, right/dense"):
        tfc.Distiller(model, "self", Features("dense", "left/dense"))
    assert tfc.Distiller(model, "self", Features("left/dense", "right/dense"))


def test_a_layer_with_several_outputs():
    inputs = keras.Input((5, 2))
    memory = layers.LSTM(4, return_state=True, name="memory")(inputs)
    model = keras.Model(inputs, layers.Dense(3)(memory[0]))
    with pytest.raises(ValueError, match="Layer 'memory' of the teacher returns several tensors"):
        tfc.Distiller(model, "self", Features("memory", "memory"))


def test_a_layer_inside_a_loop():
    inputs = keras.Input((5, 2))
    model = keras.Model(inputs, layers.Dense(3)(layers.LSTM(4, name="memory")(inputs)))
    cell = model.get_layer("memory").cell.name
    with pytest.raises(ValueError, match="or in a loop"):
        tfc.Distiller(model, "self", Features(cell, cell))


def test_a_student_that_cannot_be_copied():
    class Plain(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = layers.Dense(3)

        def call(self, x):
            return self.dense(x)

    student = Plain()
    student(np.zeros((1, 4), "float32"))
    with pytest.raises(ValueError, match="cannot be copied"):
        tfc.Distiller(student, "self")


def test_subclassed_models_that_disagree_are_refused_before_the_first_step():
    class Plain(keras.Model):
        def __init__(self, units):
            super().__init__()
            self.dense = layers.Dense(units, name="dense")

        def call(self, x):
            return self.dense(x)

    student, teacher = Plain(3), Plain(5)
    for model in (student, teacher):
        model(np.zeros((1, 4), "float32"))
    before = student.get_weights()
    distiller = tfc.Distiller(student, teacher, LogitsMSE())
    distiller.compile("adam")
    with pytest.raises(ValueError, match="differ in the shape of output"):
        distiller.fit(np.ones((4, 4), "float32"), verbose=0)
    np.testing.assert_array_equal(before[0], student.get_weights()[0])


BINARY = [
    "binary_crossentropy",
    "bce",
    keras.losses.BinaryCrossentropy(from_logits=True),
    keras.losses.binary_crossentropy,
    keras.losses.BinaryFocalCrossentropy(from_logits=True),
    ["binary_crossentropy"],
]


@pytest.mark.parametrize("task", BINARY)
@pytest.mark.parametrize("loss", [SoftLabels, HardLabels])
def test_a_softmax_over_labels_that_are_each_a_yes_or_no(loss, task):
    student = net()
    x, y = np.ones((4, 8, 8, 1)), np.ones((4, 3))
    before = [weight.copy() for weight in student.get_weights()]
    distiller = tfc.Distiller(student, net(name="teacher"), loss())
    distiller.compile("sgd", task)
    said = rf"Output 'head' is trained with a binary .*{loss.__name__}\(activation='sigmoid'\)"
    with pytest.raises(ValueError, match=said):
        distiller.fit(x, y, verbose=0)
    for value, weight in zip(before, student.get_weights(), strict=True):
        np.testing.assert_array_equal(value, weight)
    distiller = tfc.Distiller(student, net(name="teacher"), loss(activation="sigmoid"))
    distiller.compile("sgd", task)
    assert distiller.fit(x, y, verbose=0)


def test_a_softmax_head_may_be_trained_with_a_binary_loss():
    distiller = tfc.Distiller(net(activation="softmax"), net(3, "teacher", "softmax"))
    distiller.compile("sgd", "binary_crossentropy")
    assert distiller.fit(np.ones((4, 8, 8, 1)), np.eye(3)[[0, 1, 2, 0]], verbose=0)
