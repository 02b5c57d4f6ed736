"""Faults of ``keras.distillation`` (Keras 3.15): each is shown on Keras, and absent here.

Each test asks the same question of both distillers. Should a later Keras answer it rightly, the
test says so, and the comparison in the documentation needs a new look.
"""

import keras
import numpy as np
import pytest
from keras import layers

import tfcompress as tfc
from tfcompress.distillation import Features, SoftLabels
from tfcompress.keras_graph.interception import intercepted_calls

DIVERGENCE = keras.losses.KLDivergence()
CROSSENTROPY = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def net(width, name, regularizer=None):
    return keras.Sequential(
        [
            keras.Input((4,)),
            layers.Dense(width, kernel_regularizer=regularizer, name="hidden"),
            layers.BatchNormalization(name="norm"),
            layers.Dense(3, name="head"),
        ],
        name=name,
    )


def keras_distiller(student, teacher, features=False):
    losses = [keras.distillation.LogitsDistillation(2.0, DIVERGENCE)]
    if features:
        losses.append(
            keras.distillation.FeatureDistillation(
                teacher_layer_name="hidden", student_layer_name="hidden"
            )
        )
    return keras.distillation.Distiller(teacher, student, losses)


def our_distiller(student, teacher, features=False):
    losses = [SoftLabels(2.0), Features("hidden", "hidden")]
    return tfc.Distiller(student, teacher, losses if features else losses[:1])


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    return rng.normal(size=(16, 4)).astype("float32"), rng.integers(0, 3, 16)


def compiled(build, **options):
    keras.utils.set_random_seed(1)
    student = net(5, "student", options.pop("regularizer", None))
    distiller = build(student, net(5, "teacher"), **options)
    distiller.compile(keras.optimizers.SGD(0.1), CROSSENTROPY)
    return distiller


def train_once(distiller, data, **options):
    logs = distiller.fit(*data, batch_size=16, shuffle=False, verbose=0, **options).history
    return logs["loss"][0]


def counts_regularization(build, data):
    plain = train_once(compiled(build), data)
    penalised = train_once(compiled(build, regularizer=keras.regularizers.L2(0.5)), data)
    return penalised > plain + 0.1


def counts_sample_weight(build, data):
    # All the weight on one example: the others' labels must not matter.
    x, y = data
    weight = np.eye(16)[3]
    other = np.where(np.arange(16) == 3, y, (y + 1) % 3)
    students = []
    for labels in (y, other):
        distiller = compiled(build)
        train_once(distiller, (x, labels), sample_weight=weight)
        students.append(distiller.student.get_weights())
    return all(np.allclose(a, b) for a, b in zip(*students, strict=True))


def runs_the_student_once(build, data):
    distiller = compiled(build, features=True)
    distiller.run_eagerly = True
    runs = []

    def counted(_, call):
        return lambda *args, **kwargs: (runs.append(1), call(*args, **kwargs))[1]

    with intercepted_calls([distiller.student.get_layer("hidden")], counted):
        train_once(distiller, data)
    return len(runs) == 1


def evaluates_without_changing_statistics(build, data):
    distiller = compiled(build, features=True)
    norm = distiller.student.get_layer("norm")
    before = norm.moving_mean.numpy()
    distiller.evaluate(*data, verbose=0)
    return np.array_equal(before, norm.moving_mean.numpy())


def leaves_the_teacher_trainable(build, data):
    teacher = net(5, "teacher")
    flags = [layer.trainable for layer in (teacher, *teacher.layers)]
    build(net(5, "student"), teacher)
    return flags == [layer.trainable for layer in (teacher, *teacher.layers)]


def softens_the_logits_by_default(build, data):
    rng = np.random.default_rng(0)
    teacher, student = rng.normal(size=(2, 8, 3)).astype("float32")
    if build is our_distiller:
        value = np.mean(SoftLabels(2.0).values(teacher, student, 0, from_logits=True))
    else:
        value = keras.distillation.LogitsDistillation(2.0).compute_loss(teacher, student)
    p, q = (np.exp(x / 2) / np.exp(x / 2).sum(-1, keepdims=True) for x in (teacher, student))
    return np.isclose(value, 4 * np.mean(np.sum(p * np.log(p / q), -1)), rtol=1e-4)


QUESTIONS = [
    counts_regularization,
    counts_sample_weight,
    runs_the_student_once,
    evaluates_without_changing_statistics,
    leaves_the_teacher_trainable,
    softens_the_logits_by_default,
]


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda question: question.__name__)
def test_keras_has_the_fault_and_this_distiller_does_not(question, data):
    assert not question(keras_distiller, data)
    assert question(our_distiller, data)
