"""The distiller together with everything else that ``fit`` offers."""

import pathlib

import keras
import numpy as np
import pytest
from keras import layers

import tfcompress as tfc
from keras_callbacks import MagnitudePruning
from tfcompress.distillation import Features, LogitsMSE, SoftLabels
from tfcompress.keras_graph.wrapper import ModelWrapper

CROSSENTROPY = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def net(width, name, **options):
    return keras.Sequential(
        [
            keras.Input((4,)),
            layers.Dense(width, activation="relu", name="hidden", **options),
            layers.BatchNormalization(name="norm"),
            layers.Dense(3, name="head"),
        ],
        name=name,
    )


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    return rng.normal(size=(16, 4)).astype("float32"), rng.integers(0, 3, 16)


def logs_of_one_step(distiller, *args, **kwargs):
    history = distiller.fit(*args, batch_size=16, shuffle=False, verbose=0, **kwargs).history
    return {name: values[0] for name, values in history.items()}


def soft_label_values(teacher, student, temperature=3.0):
    p, q = (np.exp(x / temperature) for x in (teacher, student))
    p, q = p / p.sum(-1, keepdims=True), q / q.sum(-1, keepdims=True)
    return temperature**2 * np.sum(p * np.log(p / q), -1)


def test_the_teacher_is_left_as_it_was_found(data):
    student, teacher = net(5, "student"), net(8, "teacher")
    teacher.get_layer("hidden").trainable = False
    flags = [layer.trainable for layer in (teacher, *teacher.layers)]
    before = teacher.get_weights()
    distiller = tfc.Distiller(student, teacher, [SoftLabels(), Features("hidden", "hidden")])
    distiller.compile("adam", CROSSENTROPY)
    distiller.fit(*data, epochs=2, verbose=0)
    assert flags == [layer.trainable for layer in (teacher, *teacher.layers)]
    for value, weight in zip(before, teacher.get_weights(), strict=True):
        np.testing.assert_array_equal(value, weight)


def test_the_teacher_runs_in_inference_mode(data):
    x, _ = data
    teacher = keras.Sequential([keras.Input((4,)), layers.Dropout(0.9), layers.Dense(3)])
    distiller = tfc.Distiller(net(5, "student"), teacher, LogitsMSE())
    distiller.compile(keras.optimizers.SGD(0.0))
    distiller.student.get_layer("norm").trainable = False
    expected = np.mean(
        (teacher.predict(x, verbose=0) - distiller.student.predict(x, verbose=0)) ** 2
    )
    assert logs_of_one_step(distiller, x)["loss"] == pytest.approx(expected, rel=1e-4)


def test_the_students_regularization_counts(data):
    student = net(5, "student", kernel_regularizer=keras.regularizers.L2(0.5))
    student.add(layers.ActivityRegularization(l1=2.0))
    x, _ = data
    activity = 2.0 * np.sum(np.abs(student(x, training=True))) / 16
    penalty = 0.5 * np.sum(student.get_layer("hidden").kernel.numpy() ** 2)
    distiller = tfc.Distiller(student, net(5, "teacher"))
    distiller.compile(keras.optimizers.SGD(0.0), CROSSENTROPY)
    logs = logs_of_one_step(distiller, *data)
    parts = logs["task_loss"] + logs["soft_labels_loss"]
    assert logs["loss"] == pytest.approx(parts + penalty + activity, rel=1e-4)


def test_a_teacher_with_losses_of_its_own_adds_none(data):
    teacher = net(5, "teacher", activity_regularizer=keras.regularizers.L1(100.0))
    distiller = tfc.Distiller(net(5, "student"), teacher)
    distiller.compile(keras.optimizers.SGD(0.0), CROSSENTROPY)
    logs = logs_of_one_step(distiller, *data)
    assert logs["loss"] == pytest.approx(logs["task_loss"] + logs["soft_labels_loss"], rel=1e-5)


def test_sample_weights_count_in_every_term(data):
    student, teacher = net(5, "student"), net(5, "teacher")
    student.get_layer("norm").trainable = False
    x, y = data
    weight = np.linspace(0.0, 2.0, 16)
    ours, theirs = student.predict(x, verbose=0), teacher.predict(x, verbose=0)
    hidden = [model.get_layer("hidden")(x).numpy() for model in (student, teacher)]
    distiller = tfc.Distiller(student, teacher, [SoftLabels(), Features("hidden", "hidden")])
    distiller.compile(keras.optimizers.SGD(0.0), CROSSENTROPY)
    logs = logs_of_one_step(distiller, x, y, sample_weight=weight)
    soft = np.mean(weight * soft_label_values(theirs, ours))
    features = np.mean(weight * np.mean((hidden[0] - hidden[1]) ** 2, -1))
    assert logs["soft_labels_loss"] == pytest.approx(soft, rel=1e-4)
    assert logs["features_loss"] == pytest.approx(features, rel=1e-4)
    assert logs["task_loss"] == pytest.approx(
        float(CROSSENTROPY(y, ours, sample_weight=weight)), rel=1e-4
    )


def test_class_weights_count_as_sample_weights(data):
    x, y = data
    logs = []
    for options in (
        {"class_weight": {0: 0.5, 1: 2.0, 2: 3.0}},
        {"sample_weight": np.array([0.5, 2.0, 3.0])[y]},
    ):
        keras.utils.set_random_seed(1)
        distiller = tfc.Distiller(net(5, "student"), net(5, "teacher"))
        distiller.compile("sgd", CROSSENTROPY)
        logs.append(logs_of_one_step(distiller, x, y, **options))
    assert logs[0] == pytest.approx(logs[1], rel=1e-5)


def tagger(name):
    return keras.Sequential(
        [
            keras.Input((6,), dtype="int32"),
            layers.Embedding(9, 4, mask_zero=True),
            layers.LSTM(5, return_sequences=True, name="memory"),
            layers.Dense(3, kernel_initializer=keras.initializers.RandomNormal(0, 5), name="tags"),
        ],
        name=name,
    )


def test_masked_positions_do_not_count():
    rng = np.random.default_rng(0)
    x = rng.integers(1, 9, (8, 6))
    x[:, 4:] = 0
    x[:3, 2:] = 0
    student, teacher = tagger("student"), tagger("teacher")
    values = soft_label_values(teacher(x).numpy(), student(x).numpy())
    distiller = tfc.Distiller(student, teacher, [SoftLabels(), Features("memory", "memory")])
    distiller.compile(keras.optimizers.SGD(0.0), CROSSENTROPY)
    logs = logs_of_one_step(distiller, x, rng.integers(0, 3, (8, 6)))
    assert logs["soft_labels_loss"] == pytest.approx(values[x > 0].mean(), rel=1e-4)


def two_headed(width, name):
    inputs = keras.Input((4,))
    x = layers.Dense(width, activation="relu", name="hidden")(inputs)
    label = layers.Dense(3, activation="softmax", name="label")(x)
    size = layers.Dense(1, name="size")(x)
    return keras.Model(inputs, {"label": label, "size": size}, name=name)


def test_multi_output_models_choose_their_outputs(data):
    x, y = data
    student, teacher = two_headed(5, "student"), two_headed(8, "teacher")
    ours, theirs = (model.predict(x, verbose=0) for model in (student, teacher))
    distiller = tfc.Distiller(
        student, teacher, [SoftLabels(1.0, output="label"), LogitsMSE(output="size")]
    )
    distiller.compile(
        keras.optimizers.SGD(0.0), {"label": "sparse_categorical_crossentropy", "size": "mse"}
    )
    weight = {"label": np.linspace(0, 1, 16), "size": np.linspace(1, 0, 16)}
    logs = logs_of_one_step(
        distiller, x, {"label": y, "size": np.zeros((16, 1))}, sample_weight=weight
    )
    divergence = np.sum(theirs["label"] * np.log(theirs["label"] / ours["label"]), -1)
    square = (theirs["size"] - ours["size"])[:, 0] ** 2
    assert logs["soft_labels_loss"] == pytest.approx(
        np.mean(weight["label"] * divergence), rel=1e-4
    )
    assert logs["logits_mse_loss"] == pytest.approx(np.mean(weight["size"] * square), rel=1e-4)
    assert {"label_loss", "size_loss"} <= logs.keys()


def test_without_a_choice_a_loss_is_summed_over_all_outputs(data):
    x, _ = data
    student, teacher = two_headed(5, "student"), two_headed(8, "teacher")
    student.get_layer("label").activation = keras.activations.linear
    teacher.get_layer("label").activation = keras.activations.linear
    ours, theirs = (model.predict(x, verbose=0) for model in (student, teacher))
    distiller = tfc.Distiller(student, teacher, LogitsMSE())
    distiller.compile(keras.optimizers.SGD(0.0))
    expected = sum(np.mean((theirs[key] - ours[key]) ** 2) for key in ("label", "size"))
    assert logs_of_one_step(distiller, x)["loss"] == pytest.approx(expected, rel=1e-4)


def test_several_inputs_in_a_dictionary(data):
    x, y = data

    def build(name):
        inputs = {key: keras.Input((4,), name=key) for key in ("left", "right")}
        joined = layers.Concatenate()([inputs["left"], inputs["right"]])
        return keras.Model(inputs, layers.Dense(3)(joined), name=name)

    distiller = tfc.Distiller(build("student"), build("teacher"))
    distiller.compile("sgd", CROSSENTROPY)
    logs = logs_of_one_step(distiller, {"left": x, "right": 2 * x}, y)
    assert logs["soft_labels_loss"] > 0


class Doubling(ModelWrapper):
    """A student that runs under other rules: its outputs are doubled."""

    def call(self, inputs, training=None):
        return 2.0 * self.model(inputs, training=training)


def test_a_wrapped_student_is_taught_as_it_runs(data):
    x, _ = data
    inner, teacher = net(5, "student"), net(5, "teacher")
    inner.get_layer("norm").trainable = False
    wrapped = Doubling(inner)
    expected = np.mean((2 * inner.predict(x, verbose=0) - teacher.predict(x, verbose=0)) ** 2)
    distiller = tfc.Distiller(wrapped, teacher, [LogitsMSE(), (Features("hidden", "hidden"), 0.0)])
    assert distiller.student is wrapped
    distiller.compile(keras.optimizers.SGD(0.0))
    assert logs_of_one_step(distiller, x)["logits_mse_loss"] == pytest.approx(expected, rel=1e-4)


def test_the_float_model_teaches_its_wrapped_self(data):
    x, _ = data
    inner = net(5, "student")
    distiller = tfc.Distiller(Doubling(inner), "self")
    taught = distiller.teacher.signals(x, []).outputs
    np.testing.assert_allclose(taught, inner.predict(x, verbose=0), rtol=1e-5)


def test_a_pruned_student_stays_sparse_and_teaches_nothing_to_the_projection(data):
    student = net(8, "student")
    distiller = tfc.Distiller(
        student, net(5, "teacher"), [SoftLabels(), Features("hidden", "hidden")]
    )
    distiller.compile("adam", CROSSENTROPY)
    schedule = tfc.ConstantSparsity(0.75, begin_step=0, frequency=1)
    pruning = MagnitudePruning(schedule, sparsity_distribution="uniform")
    distiller.fit(*data, epochs=3, verbose=0, callbacks=[pruning])
    for name in ("hidden", "head"):
        kernel = student.get_layer(name).kernel.numpy()
        assert np.mean(kernel == 0) == pytest.approx(0.75, abs=0.05)
    assert np.all(distiller.projections["features"].kernel.numpy() != 0)


def test_mixed_precision_computes_the_terms_in_float32(data):
    policy = keras.dtype_policies.DTypePolicy("mixed_float16")

    def build(name):
        return keras.Sequential(
            [
                keras.Input((4,)),
                layers.Dense(5, dtype=policy, name="hidden"),
                layers.Dense(3, dtype=policy, name="head"),
            ],
            name=name,
        )

    x, y = data
    student, teacher = build("student"), build("teacher")
    ours, theirs = student(x).numpy(), teacher(x).numpy()
    assert ours.dtype == np.float16
    soft = np.mean(soft_label_values(theirs.astype("float32"), ours.astype("float32"), 50.0))
    distiller = tfc.Distiller(student, teacher, [SoftLabels(50.0), Features("hidden", "hidden")])
    distiller.compile(keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.1)), CROSSENTROPY)
    logs = logs_of_one_step(distiller, x, y)
    assert logs["soft_labels_loss"] == pytest.approx(soft, rel=5e-3)
    assert np.all(np.isfinite(student.get_weights()[0]))


def test_backup_and_restore_resumes_exactly(data, tmp_path):
    ramp = keras.optimizers.schedules.PolynomialDecay(1.0, 10, end_learning_rate=5.0)

    def build():
        keras.utils.set_random_seed(2)
        distiller = tfc.Distiller(
            net(5, "student"),
            net(8, "teacher"),
            [(SoftLabels(ramp), ramp), Features("hidden", "hidden")],
        )
        distiller.compile("adam", CROSSENTROPY)
        return distiller

    class Interrupt(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 2:
                raise KeyboardInterrupt

    def fit(distiller, *callbacks):
        distiller.fit(*data, epochs=4, shuffle=False, verbose=0, callbacks=list(callbacks))
        return distiller.get_weights()

    expected = fit(build())
    backup = pathlib.Path(tmp_path) / "backup"
    with pytest.raises(KeyboardInterrupt):
        fit(build(), keras.callbacks.BackupAndRestore(str(backup)), Interrupt())
    resumed = fit(build(), keras.callbacks.BackupAndRestore(str(backup)))
    for one, two in zip(expected, resumed, strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-5, atol=1e-6)


def test_a_quantized_pruned_student_learns_from_its_float_self(data):
    x, y = data
    inner = net(8, "student")
    floats = inner.predict(x, verbose=0)
    student = tfc.quantize_aware(inner)
    distiller = tfc.Distiller(student, "self", [LogitsMSE(), Features("hidden", "hidden")])
    distiller.compile(keras.optimizers.Adam(0.01), CROSSENTROPY)
    schedule = tfc.ConstantSparsity(0.5, begin_step=0, frequency=1)
    pruning = MagnitudePruning(schedule, sparsity_distribution="uniform")
    history = distiller.fit(x, y, epochs=30, verbose=0, callbacks=[pruning]).history
    assert history["logits_mse_loss"][-1] < history["logits_mse_loss"][0]
    assert np.mean(inner.get_layer("hidden").kernel.numpy() == 0) == pytest.approx(0.5, abs=0.05)
    assert len(distiller.weights) == len(student.weights)
    np.testing.assert_allclose(distiller.teacher.signals(x, []).outputs, floats, rtol=1e-5)
    np.testing.assert_array_equal(distiller.predict(x, verbose=0), student.predict(x, verbose=0))


def test_what_a_quantized_student_computes_is_compared(data):
    x, _ = data
    inner = net(8, "student")
    inner.get_layer("norm").trainable = False
    student = tfc.quantize_aware(inner)
    student(x, training=True)
    distiller = tfc.Distiller(student, "self", LogitsMSE())
    distiller.compile(keras.optimizers.SGD(0.0))
    first, second = (logs_of_one_step(distiller, x)["loss"] for _ in range(2))
    quantized = student.predict(x, verbose=0)
    expected = np.mean((quantized - inner.predict(x, verbose=0)) ** 2)
    assert expected > 0
    assert first == pytest.approx(expected, rel=1e-3)
    assert second == pytest.approx(first, rel=1e-3)
