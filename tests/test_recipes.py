"""Recipes: what they make trains, exports and runs; what they print is the same training."""

import dataclasses
import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers as kl
from stored_kernels import stored_kernels

import tfcompress as tfc
from exporters.converting import convert_model
from tfcompress.recipes import end_layers, ramp

LOSS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
WEIGHTS = {"conv": 16 * 27, "point": 32 * 16, "head": 32 * 4}
GENERATOR = np.random.default_rng(0)
X = GENERATOR.normal(size=(256, 6, 6, 3)).astype("float32")
Y = (X.mean((1, 2)) @ GENERATOR.normal(size=(3, 4))).argmax(1)
LENGTH = {"steps_per_epoch": 8, "epochs": 5}


def net(outputs=4):
    inputs = keras.Input((6, 6, 3))
    x = kl.Conv2D(16, 3, activation="relu", name="conv")(inputs)
    x = kl.Conv2D(32, 1, activation="relu", name="point")(x)
    x = kl.Dense(outputs, name="head")(kl.GlobalAveragePooling2D()(x))
    return keras.Model(inputs, x, name="student")


def batches():
    return tf.data.Dataset.from_tensor_slices((X, Y)).batch(32)


@pytest.fixture(scope="module")
def trained():
    keras.utils.set_random_seed(0)
    model = net()
    model.compile(keras.optimizers.Adam(0.02), LOSS, jit_compile=False)
    model.fit(X, Y, epochs=20, verbose=0)
    return model


def copied(trained):
    model = net()
    model.set_weights(trained.get_weights())
    return model


def fit(recipe):
    recipe.model.compile(recipe.optimizer, LOSS, jit_compile=False)
    recipe.model.fit(batches(), epochs=recipe.epochs, verbose=0, callbacks=recipe.callbacks)


def test_a_pruned_and_quantized_student_reaches_its_file(trained, tmp_path):
    model = copied(trained)
    recipe = tfc.recipe(model, steps_per_epoch=8, epochs=15, sparsity=0.5, loss=LOSS)
    fit(recipe)
    file = tfc.export_tflite(recipe.model, tmp_path / "model.tflite")
    assert not file.report.float_operations
    zeros = sum(np.sum(k.values == 0) for k in stored_kernels(file.path, WEIGHTS))
    # Of weights that are not masked some may round to zero.
    assert 0.5 * sum(WEIGHTS.values()) <= zeros < 0.55 * sum(WEIGHTS.values())
    with tfc.load(file.path) as loaded:
        (scores,) = loaded.predict(X)
    before = np.mean(trained.predict(X, verbose=0).argmax(-1) == Y)
    assert before > 0.85
    assert np.mean(scores.argmax(-1) == Y) > before - 0.1


def test_first_and_last_layers_keep_8_bits(trained):
    recipe = tfc.recipe(copied(trained), **LENGTH, bits=4, teacher=None)
    assert recipe.scheme == tfc.Scheme.int4_weights().override(["conv", "head"], tfc.Scheme.int8())
    file = convert_model(recipe.model.calibrate(X[:64])).flatbuffer
    largest = {k.layer: np.abs(k.values).max() for k in stored_kernels(file, WEIGHTS)}
    assert largest == {"conv": 127, "point": 7, "head": 127}


def test_all_ends_of_a_model_of_several_inputs_and_outputs_are_found():
    first, second = keras.Input((8, 8, 3)), keras.Input((8, 8, 1))
    tower = keras.Sequential(
        [keras.Input((8, 8, 3)), kl.ReLU(), kl.Conv2D(4, 3, name="stem"), kl.Conv2D(4, 3)],
        name="tower",
    )
    x = kl.GlobalAveragePooling2D()(tower(first))
    y = kl.Flatten()(kl.BatchNormalization()(second))
    x = kl.Dense(5, name="middle")(kl.Concatenate()([x, kl.Dense(4, name="side")(y)]))
    outputs = kl.Softmax()(kl.Dense(3, name="classes")(x)), kl.Dense(1, name="box")(x)
    found = end_layers(keras.Model([first, second], outputs))
    assert sorted(found) == ["box", "classes", "side", "tower/stem"]


def test_a_model_of_ends_alone_keeps_none_of_them():
    assert end_layers(keras.Sequential([keras.Input((4,)), kl.Dense(4), kl.Dense(2)])) == []


@pytest.mark.parametrize(
    "chosen",
    [
        {"sparsity": 0.5, "bits": None, "teacher": None},
        {"sparsity": 0.75, "bits": 8, "teacher": "self"},
        {"bits": None, "teacher": "other"},
        {"bits": 4, "teacher": None},
    ],
    ids=str,
)
def test_the_printed_code_is_the_training(trained, chosen):
    teacher = copied(trained) if chosen["teacher"] == "other" else chosen["teacher"]
    recipe = tfc.recipe(copied(trained), **LENGTH, **{**chosen, "teacher": teacher}, loss=LOSS)
    fit(recipe)
    names = {"model": copied(trained), "teacher": teacher, "loss": LOSS, "dataset": batches()}
    exec(str(recipe), names)
    for ours, theirs in zip(
        recipe.student.get_weights(), names["model"].get_weights(), strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)
    assert not np.array_equal(recipe.student.get_weights()[0], trained.get_weights()[0])


def test_printed_code_is_quick_on_other_backends(trained, monkeypatch):
    recipe = tfc.recipe(copied(trained), **LENGTH, sparsity=0.5, bits=None, teacher=None)
    assert "jit_compile=False" in str(recipe)
    monkeypatch.setattr("tfcompress.backends.runs_on", lambda name: name == "jax")
    assert "jit_compile='auto'" in str(recipe)


def test_numbers_are_plain_and_can_be_changed(trained):
    recipe = tfc.recipe(copied(trained), **LENGTH, sparsity=0.75, loss=LOSS)
    config = json.loads(json.dumps(recipe.get_config()))
    assert (config["end_step"], config["frequency"]) == (20, 1)
    assert {
        **LENGTH,
        "sparsity": 0.75,
        "initial_sparsity": 0.0,
        "bits": 8,
    }.items() <= config.items()
    assert config["learning_rate"] == 0.004  # 5e-4 over the density to the power of 1.5
    with pytest.raises(dataclasses.FrozenInstanceError):
        recipe.sparsity = 0.5
    other = dataclasses.replace(recipe, learning_rate=1e-4, sparsity=0.5)
    assert float(other.optimizer.learning_rate) == pytest.approx(1e-4)
    assert other.callbacks[0].schedule == tfc.PolynomialDecay(0.0, 0.5, 0, 20, frequency=1)
    assert recipe.schedule.final == 0.75


def test_a_sparse_model_goes_on_from_its_zeros(trained):
    model = copied(trained)
    kernel = model.get_layer("point").kernel
    kernel.assign(np.where(np.arange(32) < 16, kernel.numpy(), 0))
    recipe = tfc.recipe(model, **LENGTH, sparsity=0.5, loss=LOSS)
    assert recipe.initial_sparsity == 256 / sum(WEIGHTS.values())
    with pytest.raises(ValueError, match=r"has more zeros already: the nearest is sparsity=0\.239"):
        tfc.recipe(model, **LENGTH, sparsity=0.1, loss=LOSS)


def test_a_model_that_is_as_sparse_as_is_wanted_keeps_its_zeros(trained):
    sparsity = 0.9  # of 1,072 weights: 965 zeros are a larger share
    pruned = tfc.prune_weights(trained, X[:64], sparsity)
    zeros = [layer.kernel.numpy() == 0 for layer in pruned.layers if hasattr(layer, "kernel")]
    assert sum(map(np.sum, zeros)) == round(sparsity * sum(WEIGHTS.values()))
    recipe = tfc.recipe(pruned, **LENGTH, sparsity=sparsity, teacher=trained, loss=LOSS)
    assert recipe.initial_sparsity == sparsity
    fit(recipe)
    kernels = [layer.kernel.numpy() for layer in pruned.layers if hasattr(layer, "kernel")]
    for kernel, zero in zip(kernels, zeros, strict=True):
        np.testing.assert_array_equal(kernel == 0, zero)


def test_without_wrappers_the_model_is_the_users_own(trained):
    model = copied(trained)
    recipe = tfc.recipe(model, **LENGTH, sparsity=0.5, bits=None, teacher=None)
    assert recipe.model is model
    assert tfc.recipe(model, **LENGTH, teacher=None).callbacks == []


def test_the_ramp_takes_half():
    assert ramp(900) == (450, 22)
    assert ramp(40) == (20, 1)
    assert ramp(90_000) == (45_000, 100)


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ({"bits": 2}, "the nearest is bits=4"),
        ({"bits": 16}, "the nearest is bits=8"),
        ({"bits": None, "teacher": None}, "the nearest that compresses is bits=8"),
        ({"sparsity": 0.5, "epochs": 3}, "the nearest that is long enough is epochs=5"),
        ({"sparsity": 1.0}, r"must lie in \[0, 1\)"),
        ({"sparsity": -0.5}, r"must lie in \[0, 1\)"),
        ({"epochs": 0}, "`epochs` must be a positive integer"),
        ({"steps_per_epoch": 2.5}, "`steps_per_epoch` must be a positive integer"),
        ({"bits": None}, "prunes, quantizes, teaches"),
        ({"loss": None, "teacher": "self"}, "pass `loss`, as `compile` takes it"),
        ({"loss": None, "sparsity": 0.5}, "pass `loss`, as `compile` takes it"),
        ({"teacher": "of five classes"}, r"\(None, 4\), teacher shape \(None, 5\)"),
    ],
    ids=str,
)
def test_what_does_not_go_together_is_refused_before_training(trained, chosen, message):
    if chosen.get("teacher") == "of five classes":
        chosen = {"teacher": net(outputs=5)}
    with pytest.raises(ValueError, match=message):
        tfc.recipe(copied(trained), **{**LENGTH, "loss": LOSS, **chosen})


def test_a_model_that_is_pruned_is_its_own_teacher(trained):
    pruned = tfc.recipe(copied(trained), **LENGTH, sparsity=0.5, loss=LOSS)
    assert (pruned.teacher, pruned.temperature) == ("self", 4.0)


@pytest.mark.parametrize("bits", [8, 4])
def test_a_model_that_is_only_quantized_needs_no_teacher_and_no_loss(trained, bits):
    rounded = tfc.recipe(copied(trained), **LENGTH, bits=bits)
    assert (rounded.teacher, rounded.loss) == (None, None)
    assert "Distiller" not in str(rounded)
    taught = tfc.recipe(copied(trained), **LENGTH, bits=bits, teacher=trained, loss=LOSS)
    assert (taught.teacher, taught.temperature) == (trained, 1.0)


def test_a_wrapper_is_refused(trained):
    with pytest.raises(ValueError, match=r"pass its `\.model`"):
        tfc.recipe(tfc.quantize_aware(copied(trained)), **LENGTH)
