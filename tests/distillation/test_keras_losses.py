"""Keras's own loss objects in the distiller."""

import keras
import numpy as np
import pytest
from keras import layers
from keras.distillation import FeatureDistillation, LogitsDistillation

import tfcompress as tfc
from tfcompress.distillation import SoftLabels
from tfcompress.distillation.keras_losses import adapt


def net(name):
    return keras.Sequential(
        [keras.Input((4,)), layers.Dense(5, name="hidden"), layers.Dense(3, name="head")], name=name
    )


@pytest.fixture
def x():
    return np.random.default_rng(0).normal(size=(8, 4)).astype("float32")


def loss_of(distiller, x, **options):
    distiller.compile(keras.optimizers.SGD(0.0))
    return distiller.fit(x, batch_size=8, shuffle=False, verbose=0, **options).history["loss"][0]


@pytest.mark.parametrize(
    "loss",
    [
        LogitsDistillation(3.0, keras.losses.KLDivergence()),
        LogitsDistillation(2.0, "categorical_crossentropy"),
        FeatureDistillation("mse"),
        FeatureDistillation(keras.losses.CosineSimilarity()),
    ],
)
def test_output_losses_give_what_keras_computes(loss, x):
    student, teacher = net("student"), net("teacher")
    expected = float(loss.compute_loss(teacher(x), student(x)))
    assert loss_of(tfc.Distiller(student, teacher, loss), x) == pytest.approx(expected, rel=1e-4)


def test_layers_are_read_by_name(x):
    student, teacher = net("student"), net("teacher")
    loss = FeatureDistillation("mse", teacher_layer_name="hidden", student_layer_name="hidden")
    ours, theirs = (model.get_layer("hidden")(x).numpy() for model in (student, teacher))
    expected = np.mean((ours - theirs) ** 2)
    assert loss_of(tfc.Distiller(student, teacher, loss), x) == pytest.approx(expected, rel=1e-4)


def test_the_default_divergence_is_the_one_that_keras_documents(x):
    student, teacher = net("student"), net("teacher")
    ours = loss_of(tfc.Distiller(student, teacher, SoftLabels(3.0)), x)
    keras_default = loss_of(tfc.Distiller(student, teacher, LogitsDistillation(3.0)), x)
    assert keras_default == pytest.approx(ours, rel=1e-4)


def test_sample_weights_count(x):
    student, teacher = net("student"), net("teacher")
    loss = FeatureDistillation("mse")
    weight = np.arange(8.0)
    expected = np.mean(np.mean((student(x) - teacher(x)).numpy() ** 2, -1) * weight)
    distiller = tfc.Distiller(student, teacher, loss)
    assert loss_of(distiller, x, sample_weight=weight, y=np.zeros(8)) == pytest.approx(
        expected, rel=1e-4
    )


def test_the_adapters_serialise():
    named = FeatureDistillation("mse", teacher_layer_name="a", student_layer_name="b")
    for loss in (LogitsDistillation(2.5), named):
        again = keras.saving.deserialize_keras_object(
            keras.saving.serialize_keras_object(adapt(loss))
        )
        assert again.get_config() == adapt(loss).get_config()


def test_a_structure_of_losses_is_refused():
    with pytest.raises(ValueError, match="list one loss per output"):
        adapt(LogitsDistillation(2.0, ["kl_divergence", None]))


def test_one_layer_name_alone_is_refused():
    with pytest.raises(ValueError, match="a layer of both models"):
        adapt(FeatureDistillation("mse", teacher_layer_name="hidden"))
