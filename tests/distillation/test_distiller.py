"""The distiller through fit, evaluate and predict."""

import keras
import numpy as np
import pytest
from keras import layers

import tfcompress as tfc
from tfcompress.distillation import HardLabels, LogitsMSE, SoftLabels

CROSSENTROPY = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def dense_net(units, name, activation=None):
    return keras.Sequential(
        [
            keras.Input((4,)),
            layers.Dense(units, activation="relu", name="hidden"),
            layers.BatchNormalization(name="norm"),
            layers.Dense(3, activation=activation, name="head"),
        ],
        name=name,
    )


@pytest.fixture
def student():
    return dense_net(5, "student")


@pytest.fixture
def teacher():
    return dense_net(8, "teacher")


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    return rng.normal(size=(24, 4)).astype("float32"), rng.integers(0, 3, 24)


def first_loss(distiller, x, y=None, **kwargs):
    """The logs of one step on the whole of the data."""
    return distiller.fit(x, y, batch_size=len(x), shuffle=False, verbose=0, **kwargs).history


def softened(logits, temperature):
    scaled = np.exp(logits / temperature)
    return scaled / scaled.sum(-1, keepdims=True)


def test_the_total_is_the_weighted_sum_of_its_terms(student, teacher, data):
    x, y = data
    ours, theirs = student(x, training=True).numpy(), teacher(x).numpy()
    task = float(CROSSENTROPY(y, ours))
    p, q = softened(theirs, 4.0), softened(ours, 4.0)
    soft = 16 * np.mean(np.sum(p * np.log(p / q), -1))
    hard = float(CROSSENTROPY(theirs.argmax(-1), ours))
    mse = np.mean((ours - theirs) ** 2)
    distiller = tfc.Distiller(
        student,
        teacher,
        losses=[SoftLabels(4.0), (HardLabels(), 0.5), (LogitsMSE(), 2.0)],
        task_weight=0.25,
    )
    distiller.compile("sgd", CROSSENTROPY)
    logs = first_loss(distiller, x, y)
    expected = {
        "task_loss": task,
        "soft_labels_loss": soft,
        "hard_labels_loss": hard,
        "logits_mse_loss": mse,
        "loss": 0.25 * task + soft + 0.5 * hard + 2.0 * mse,
    }
    assert logs.keys() == expected.keys()
    for name, value in expected.items():
        assert logs[name][0] == pytest.approx(value, rel=1e-4), name


def test_it_trains_the_callers_own_student_to_say_what_the_teacher_says(student, teacher, data):
    x, _ = data
    student.get_layer("norm").trainable = False
    before = np.mean((student.predict(x, verbose=0) - teacher.predict(x, verbose=0)) ** 2)
    distiller = tfc.Distiller(student, teacher, losses=LogitsMSE())
    distiller.compile(keras.optimizers.Adam(0.1))
    distiller.fit(x, epochs=80, batch_size=24, verbose=0)
    after = np.mean((student.predict(x, verbose=0) - teacher.predict(x, verbose=0)) ** 2)
    assert distiller.student is student
    assert after < before / 10


def test_evaluate_and_predict_are_the_students_alone(student, teacher, data):
    x, y = data
    distiller = tfc.Distiller(student, teacher)
    distiller.compile("sgd", CROSSENTROPY, metrics=["accuracy"])
    student.compile("sgd", CROSSENTROPY, metrics=["accuracy"])
    assert distiller.evaluate(x, y, verbose=0, return_dict=True) == student.evaluate(
        x, y, verbose=0, return_dict=True
    )
    np.testing.assert_array_equal(distiller.predict(x, verbose=0), student.predict(x, verbose=0))


def test_validation_logs_hold_no_distillation_terms(student, teacher, data):
    distiller = tfc.Distiller(student, teacher)
    distiller.compile("sgd", CROSSENTROPY)
    history = distiller.fit(*data, validation_data=data, verbose=0).history
    assert set(history) == {"loss", "task_loss", "soft_labels_loss", "val_loss"}


def test_the_logs_average_over_the_epoch_and_start_anew(student, teacher, data):
    x, _ = data
    distiller = tfc.Distiller(student, teacher, losses=LogitsMSE())
    distiller.compile(keras.optimizers.SGD(0.0))
    student.get_layer("norm").trainable = False
    history = distiller.fit(x, batch_size=10, epochs=2, verbose=0).history
    expected = np.mean((student.predict(x, verbose=0) - teacher.predict(x, verbose=0)) ** 2)
    np.testing.assert_allclose(history["logits_mse_loss"], [expected] * 2, rtol=1e-4)


def test_the_teacher_is_no_part_of_the_distiller(student, teacher):
    distiller = tfc.Distiller(student, teacher)
    assert [v.path for v in distiller.weights] == [v.path for v in student.weights]


def test_schedules_follow_the_step(student, teacher, data):
    x, y = data
    student.get_layer("norm").trainable = False
    ramp = keras.optimizers.schedules.PolynomialDecay(1.0, 2, end_learning_rate=3.0)
    distiller = tfc.Distiller(
        student, teacher, losses={SoftLabels(ramp): ramp}, task_weight=lambda step: 0.0 * step
    )
    distiller.compile(keras.optimizers.SGD(0.0))
    logs = distiller.fit(x, y, batch_size=24, epochs=3, verbose=0).history
    ours, theirs = student.predict(x, verbose=0), teacher.predict(x, verbose=0)
    for epoch, value in enumerate([1.0, 2.0, 3.0]):
        p, q = softened(theirs, value), softened(ours, value)
        soft = value**2 * np.mean(np.sum(p * np.log(p / q), -1))
        assert logs["soft_labels_loss"][epoch] == pytest.approx(soft, rel=1e-3)
        assert logs["loss"][epoch] == pytest.approx(value * soft, rel=1e-3)


@pytest.mark.parametrize("options", [
    {"run_eagerly": True},
    {"steps_per_execution": 2},
    {"jit_compile": True},
    {"jit_compile": False},
])  # fmt: skip
def test_every_way_to_run_a_step_gives_the_same_losses(options, data):
    x, y = data
    results = []
    for compiled in ({}, options):
        keras.utils.set_random_seed(3)
        distiller = tfc.Distiller(dense_net(5, "student"), dense_net(8, "teacher"))
        distiller.compile("sgd", CROSSENTROPY, **compiled)
        history = distiller.fit(x, y, batch_size=6, epochs=2, shuffle=False, verbose=0).history
        results.append(np.array([history[key] for key in sorted(history)]))
    np.testing.assert_allclose(results[0], results[1], rtol=1e-4)


def test_probabilities_teach_as_their_logits_do(data):
    x, _ = data
    losses = {}
    for activation in (None, "softmax"):
        keras.utils.set_random_seed(7)
        distiller = tfc.Distiller(
            dense_net(5, "student", activation), dense_net(8, "teacher", activation)
        )
        distiller.compile("sgd")
        losses[activation] = first_loss(distiller, x)["soft_labels_loss"][0]
    assert losses["softmax"] == pytest.approx(losses[None], rel=1e-4)


def test_a_sigmoid_unit_teaches_as_two_classes(data):
    x, _ = data
    student = keras.Sequential([keras.Input((4,)), layers.Dense(1, activation="sigmoid")])
    teacher = keras.Sequential([keras.Input((4,)), layers.Dense(1, activation="sigmoid")])
    p, q = teacher(x).numpy(), student(x).numpy()
    expected = np.mean(p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q)))
    distiller = tfc.Distiller(student, teacher, losses=SoftLabels(1.0, activation="sigmoid"))
    distiller.compile("sgd")
    assert first_loss(distiller, x)["loss"][0] == pytest.approx(expected, rel=1e-4)


def test_self_distillation_copies_the_student_as_it_is(student, data):
    x, _ = data
    before = student.predict(x, verbose=0)
    distiller = tfc.Distiller(student, "self", losses=LogitsMSE())
    student.set_weights([w + 0.5 for w in student.get_weights()])
    taught = distiller.teacher.signals(x, []).outputs
    np.testing.assert_allclose(taught, before, rtol=1e-5)
    assert distiller.weights == student.weights


def test_a_saved_distiller_comes_back_without_its_teacher(student, teacher, data, tmp_path):
    x, y = data
    distiller = tfc.Distiller(student, teacher, losses=[(SoftLabels(2.0), 0.5)], task_weight=0.3)
    distiller.compile("adam", CROSSENTROPY)
    distiller.fit(x, y, verbose=0)
    distiller.save(tmp_path / "distiller.keras")
    loaded = keras.saving.load_model(tmp_path / "distiller.keras")
    assert loaded.evaluate(x, y, verbose=0) == pytest.approx(distiller.evaluate(x, y, verbose=0))
    assert loaded.get_config()["losses"] == distiller.get_config()["losses"]
    with pytest.raises(ValueError, match="has no teacher"):
        loaded.fit(x, y, verbose=0)
    loaded.set_teacher(teacher)
    ours = first_loss(distiller, x, y)
    assert first_loss(loaded, x, y)["loss"] == pytest.approx(ours["loss"], rel=1e-5)


def test_the_student_saves_and_loads_as_any_model(student, teacher, data, tmp_path):
    x, y = data
    distiller = tfc.Distiller(student, teacher)
    distiller.compile("adam", CROSSENTROPY)
    distiller.fit(x, y, verbose=0)
    distiller.student.save(tmp_path / "student.keras")
    loaded = keras.saving.load_model(tmp_path / "student.keras")
    np.testing.assert_array_equal(loaded.predict(x, verbose=0), distiller.predict(x, verbose=0))


def test_another_teacher_can_take_over(student, teacher, data):
    x, _ = data
    student.get_layer("norm").trainable = False
    distiller = tfc.Distiller(student, dense_net(6, "first"), LogitsMSE())
    distiller.compile(keras.optimizers.SGD(0.0))
    first_loss(distiller, x)
    distiller.set_teacher(teacher)
    expected = np.mean((student.predict(x, verbose=0) - teacher.predict(x, verbose=0)) ** 2)
    assert first_loss(distiller, x)["loss"][0] == pytest.approx(expected, rel=1e-4)
