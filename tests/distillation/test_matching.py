"""Outputs of student and teacher find each other by name."""

import keras
import numpy as np
import pytest
from keras import layers as kl

import tfcompress as tfc
from tfcompress.distillation import LogitsMSE, cache_teacher
from tfcompress.distillation.signals import (
    given_names,
    is_binary,
    loss_of_output,
    match_outputs,
)

X = np.random.default_rng(0).normal(size=(12, 4)).astype("float32")
SAME, OTHER = (None, 3), (None, 5)


@pytest.mark.parametrize(
    ("ours", "theirs", "places"),
    [
        (["kind", "colour"], ["colour", "kind"], [1, 0]),
        (["kind", "colour", "size"], ["size", "kind", "colour"], [1, 2, 0]),
        (["kind", None], [None, "kind"], [1, 0]),
        ([None, None], ["kind", "colour"], [0, 1]),
        (["head"], ["predictions"], [0]),
    ],
)
def test_matches(ours, theirs, places):
    shapes = [SAME] * len(ours)
    assert match_outputs(ours, theirs, (shapes, shapes)) == places


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (["kind", "colour"], ["a", "b"]),
        (["kind", "colour"], ["kind", "b"]),
        (["kind", "colour"], ["b", "kind"]),
    ],
)
def test_names_that_conflict(ours, theirs):
    said = rf"in its place.*a dict with the student's names.*{ours[0]}.*{theirs[1]}"
    with pytest.raises(ValueError, match=said):
        match_outputs(ours, theirs, ([SAME] * 2, [SAME] * 2))


def test_shapes_decide_where_no_name_agrees():
    shapes = [SAME, OTHER]
    assert match_outputs(["kind", "colour"], ["a", "b"], (shapes, shapes)) == [0, 1]


def two_heads(order, keys=False, automatic=False):
    """Return a model whose head "kind" says 1 and whose head "colour" says 2."""
    inputs = keras.Input((4,))
    heads = {
        name: kl.Dense(
            3,
            name=None if automatic else name,
            kernel_initializer="zeros",
            bias_initializer=keras.initializers.Constant(value),
        )(inputs)
        for name, value in (("kind", 1.0), ("colour", 2.0))
    }
    outputs = {name: heads[name] for name in order} if keys else [heads[name] for name in order]
    return keras.Model(inputs, outputs)


def mse(student, teacher, data=X):
    distiller = tfc.Distiller(student, teacher, LogitsMSE())
    distiller.compile(keras.optimizers.SGD(0.0))
    return distiller.fit(data, verbose=0).history["logits_mse_loss"][0]


@pytest.mark.parametrize("ours", [("kind", "colour"), ("colour", "kind")])
@pytest.mark.parametrize("keys", [False, True])
def test_a_teacher_with_its_outputs_in_another_order(ours, keys):
    assert mse(two_heads(ours), two_heads(("colour", "kind"), keys)) == 0.0
    assert mse(two_heads(ours, keys=True), two_heads(("colour", "kind"), keys)) == 0.0


def test_teachers_of_every_kind_are_matched(tmp_path):
    student, teacher = two_heads(("kind", "colour")), two_heads(("colour", "kind"))
    named = two_heads(("kind", "colour"), keys=True)
    assert mse(student, lambda x: named(x, training=False)) == 0.0
    assert mse(student, [teacher, two_heads(("kind", "colour"))]) == 0.0
    cache = cache_teacher(teacher, X, tmp_path / "cache", batch_size=4)
    assert mse(student, cache, cache.attach(X, batch_size=4)) == 0.0


def test_names_that_keras_gave_do_not_count():
    automatic = two_heads(("colour", "kind"), automatic=True)
    assert given_names(automatic(X), automatic) == [None, None]
    # In their order, each head meets the other one: (2 - 1)^2 twice.
    assert mse(two_heads(("kind", "colour")), automatic) == 2.0


def test_conflicts_are_refused_before_training():
    inputs = keras.Input((4,))
    teacher = keras.Model(inputs, {"a": kl.Dense(3)(inputs), "b": kl.Dense(3)(inputs)})
    with pytest.raises(ValueError, match="name their outputs differently"):
        tfc.Distiller(two_heads(("kind", "colour")), teacher)


def test_the_loss_of_an_output_is_found_by_name_or_position():
    names = ["kind", "colour"]
    assert loss_of_output({"colour": "bce"}, 1, names) == "bce"
    assert loss_of_output({"colour": "bce"}, 0, names) is None
    assert loss_of_output(["mse", "bce"], 1, names) == "bce"
    assert is_binary("bce")
    assert not is_binary("mse")
    assert not is_binary(None)
