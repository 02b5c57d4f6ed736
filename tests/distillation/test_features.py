"""Losses on layers, through fit: every kind of model, projections, what they leave alone."""

import keras
import numpy as np
import pytest
from keras import layers

import tfcompress as tfc
from tfcompress.distillation import FSP, AttentionTransfer, Features, Relational, SoftLabels


def conv_net(width, name, size=8):
    return keras.Sequential(
        [
            keras.Input((size, size, 2)),
            layers.Conv2D(width, 3, padding="same", activation="relu", name="early"),
            layers.BatchNormalization(name="norm"),
            layers.MaxPooling2D(name="pool"),
            layers.Conv2D(2 * width, 3, padding="same", activation="relu", name="late"),
            layers.GlobalAveragePooling2D(name="embedding"),
            layers.Dense(3, name="head"),
        ],
        name=name,
    )


def nested_net(width, name):
    encoder = keras.Sequential(
        [keras.Input((8, 8, 2)), layers.Conv2D(width, 3, padding="same", name="early")],
        name="encoder",
    )
    inputs = keras.Input((8, 8, 2))
    x = layers.GlobalAveragePooling2D()(encoder(inputs))
    return keras.Model(inputs, layers.Dense(3)(x), name=name)


@keras.saving.register_keras_serializable(package="tests")
class SubclassedNet(keras.Model):
    def __init__(self, width, **kwargs):
        super().__init__(**kwargs)
        self.width = width
        self.early = layers.Conv2D(width, 3, padding="same", name="early")
        self.pool = layers.GlobalAveragePooling2D()
        self.head = layers.Dense(3, name="head")

    def call(self, x):
        return self.head(self.pool(self.early(x)))

    def get_config(self):
        return {"width": self.width}


def subclassed_net(width, name):
    model = SubclassedNet(width, name=name)
    model(np.zeros((1, 8, 8, 2), "float32"))
    return model


@pytest.fixture
def images():
    return np.random.default_rng(0).normal(size=(6, 8, 8, 2)).astype("float32")


def layer_output(model, name, x):
    """The output of a layer of a Sequential model, by running the layers one by one."""
    for layer in model.layers:
        x = layer(x)
        if layer.name == name:
            return x.numpy()
    raise AssertionError(name)


def one_step(distiller, x, optimizer=None):
    distiller.compile(optimizer or keras.optimizers.SGD(0.0))
    return distiller.fit(x, batch_size=len(x), shuffle=False, verbose=0).history["loss"][0]


def test_features_of_equal_width_are_compared_as_they_are(images):
    student, teacher = conv_net(3, "student"), conv_net(3, "teacher")
    expected = np.mean(
        (layer_output(student, "early", images) - layer_output(teacher, "early", images)) ** 2
    )
    distiller = tfc.Distiller(student, teacher, losses=Features("early", "early"))
    assert len(distiller.weights) == len(student.weights)
    assert one_step(distiller, images) == pytest.approx(expected, rel=1e-4)


def test_a_projection_brings_the_students_feature_to_the_teachers_width(images):
    student, teacher = conv_net(3, "student"), conv_net(5, "teacher")
    distiller = tfc.Distiller(student, teacher, losses=Features("early", "early"))
    (projection,) = distiller.projections.values()
    kernel, bias = (w.numpy() for w in projection.weights)
    assert kernel.shape == (3, 5)
    ours = layer_output(student, "early", images) @ kernel + bias
    expected = np.mean((ours - layer_output(teacher, "early", images)) ** 2)
    assert one_step(distiller, images) == pytest.approx(expected, rel=1e-4)


def test_the_projection_is_trained_and_the_student_does_not_keep_it(images):
    student, teacher = conv_net(3, "student"), conv_net(5, "teacher")
    distiller = tfc.Distiller(student, teacher, losses=Features("early", "early"))
    (projection,) = distiller.projections.values()
    before = projection.kernel.numpy()
    one_step(distiller, images, keras.optimizers.SGD(0.1))
    assert np.any(projection.kernel.numpy() != before)
    assert len(distiller.trainable_weights) == len(student.trainable_weights) + 2


def test_a_seed_makes_the_projection_reproducible():
    kernels = []
    for _ in range(2):
        distiller = tfc.Distiller(
            conv_net(3, "student"),
            conv_net(5, "teacher"),
            losses=Features("early", "early", seed=4),
        )
        kernels.append(distiller.projections["features"].kernel.numpy())
    np.testing.assert_array_equal(*kernels)


def test_a_projection_of_the_users_own_may_change_positions(images):
    student, teacher = conv_net(3, "student"), conv_net(5, "teacher")
    own = layers.Conv2D(10, 3, strides=2, padding="same")
    distiller = tfc.Distiller(student, teacher, losses=Features("early", "late", projection=own))
    one_step(distiller, images)
    assert not own.built
    assert distiller.projections["features"].kernel.shape == (3, 3, 3, 10)


@pytest.mark.parametrize("build", [conv_net, nested_net, subclassed_net])
def test_every_kind_of_model_is_read_by_name(build, images):
    student, teacher = build(3, "student"), build(5, "teacher")
    name = "encoder/early" if build is nested_net else "early"
    distiller = tfc.Distiller(student, teacher, losses=Features(name, "early"))
    distiller.compile(keras.optimizers.Adam(0.02))
    losses = distiller.fit(images, batch_size=6, epochs=30, verbose=0).history["features_loss"]
    assert losses[-1] < 0.5 * losses[0]
    assert len(distiller.projections) == 1


def test_a_shared_layer_that_runs_twice_is_refused(images):
    shared = layers.Dense(4, name="shared")
    inputs = keras.Input((4,))
    twice = keras.Model(inputs, shared(shared(inputs)), name="twice")
    with pytest.raises(ValueError, match="'shared' of model 'twice' runs more than once"):
        tfc.Distiller(twice, "self", losses=Features("shared", "shared"))


@pytest.mark.parametrize(
    "loss",
    [
        AttentionTransfer("late", "late"),
        Relational("embedding", "embedding"),
        Features("late", "late"),
        FSP(("early", "late"), ("early", "late")),
    ],
    ids=lambda loss: loss.name,
)
def test_each_loss_falls_during_training_and_survives_serialisation(loss, images):
    width = 3 if isinstance(loss, FSP) else 5
    student, teacher = conv_net(3, "student"), conv_net(width, "teacher")
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(loss))
    assert again.get_config() == loss.get_config()
    student.get_layer("norm").trainable = False
    distiller = tfc.Distiller(student, teacher, losses=again)
    distiller.compile(keras.optimizers.Adam(0.01))
    losses = distiller.fit(images, batch_size=6, epochs=40, verbose=0).history["loss"]
    assert losses[-1] < 0.6 * losses[0]


def test_feature_losses_leave_the_models_as_they_were(images):
    student, teacher = conv_net(3, "student"), conv_net(5, "teacher")
    attributes = {id(layer): set(vars(layer)) for layer in (*student.layers, *teacher.layers)}
    before = [w.numpy() for w in teacher.weights]
    distiller = tfc.Distiller(student, teacher, losses=[SoftLabels(), Features("early", "early")])
    one_step(distiller, images, "adam")
    for layer in (*student.layers, *teacher.layers):
        assert "call" not in vars(layer)
        assert attributes[id(layer)] == set(vars(layer))
    for weight, value in zip(teacher.weights, before, strict=True):
        np.testing.assert_array_equal(weight, value)


def test_projections_are_saved_with_the_distiller(images, tmp_path):
    student, teacher = conv_net(3, "student"), conv_net(5, "teacher")
    distiller = tfc.Distiller(student, teacher, losses=Features("early", "early"))
    one_step(distiller, images, "adam")
    distiller.save(tmp_path / "distiller.keras")
    loaded = keras.saving.load_model(tmp_path / "distiller.keras")
    np.testing.assert_array_equal(
        loaded.projections["features"].kernel, distiller.projections["features"].kernel
    )
    loaded.set_teacher(teacher)
    again = [model.fit(images, shuffle=False, verbose=0).history for model in (distiller, loaded)]
    assert again[0]["loss"] == pytest.approx(again[1]["loss"], rel=1e-5)
