import keras
import numpy as np
import pytest
from keras import layers as kl

import tfcompress as tfc
from tfcompress.pruning.blocks import find_blocks

SCALES = {"one": 0.5, "two": 0.01, "three": 0.2}


def make_model():
    """Three blocks that add a scaled copy of their input, and one that changes the shape."""
    inputs = keras.Input((4, 4, 2))
    x = kl.Conv2D(3, 1, name="stem")(inputs)
    for name in SCALES:
        y = kl.Conv2D(3, 1, use_bias=False, name=f"{name}_conv")(kl.ReLU(name=f"{name}_relu")(x))
        x = kl.Add(name=name)([x, kl.Dropout(0.5, name=f"{name}_dropout")(y)])
    y = kl.Conv2D(4, 1, name="widen")(x)
    x = kl.Add(name="wide")([kl.Conv2D(4, 1, name="shortcut")(x), y])
    model = keras.Model(inputs, kl.Dense(2, name="head")(kl.GlobalAveragePooling2D()(x)))
    for name, scale in SCALES.items():
        model.get_layer(f"{name}_conv").kernel.assign(scale * np.eye(3)[None, None])
    return model


def examples():
    return np.random.default_rng(0).normal(size=(6, 4, 4, 2)).astype("float32")


def test_finds_the_blocks_that_can_go():
    blocks = find_blocks(make_model())
    assert [block.path for block in blocks] == list(SCALES)
    assert blocks[0].layers == ("one_relu", "one_conv", "one_dropout")


@pytest.mark.parametrize("criterion", ["output", "branch"])
def test_those_that_contribute_least_go(criterion):
    model = make_model()
    said = []
    shallower = tfc.remove_blocks(
        model, 2, data=examples(), criterion=criterion, progress=said.append
    )
    names = [layer.name for layer in shallower.layers]
    assert [name for name in SCALES if name in names] == ["one"]
    assert "two_conv" not in names
    assert len(said) == 2
    assert said[0].startswith("1/2: two removed")
    np.testing.assert_array_equal(
        shallower.get_layer("stem").kernel, model.get_layer("stem").kernel
    )
    assert "two" in [layer.name for layer in model.layers]


def test_a_block_that_adds_nothing_is_removed_exactly():
    model = make_model()
    model.get_layer("two_conv").kernel.assign(np.zeros((1, 1, 3, 3)))
    shallower = tfc.remove_blocks(model, 1, data=examples())
    np.testing.assert_array_equal(shallower(examples()), model(examples()))
    assert shallower.count_params() == model.count_params() - 9
    shallower.compile("adam", "mse")
    shallower.fit(examples(), np.zeros((6, 2)), verbose=0)


def test_the_branch_criterion_is_the_ratio_of_the_norms():
    inputs = keras.Input((1,))
    x = kl.Dense(1, use_bias=False, name="half")(inputs)
    x = kl.Add(name="first")([inputs, x])
    x = x + kl.Dense(1, use_bias=False, name="quarter")(x)
    model = keras.Model(inputs, x)
    model.get_layer("half").kernel.assign([[0.5]])
    model.get_layer("quarter").kernel.assign([[0.25]])
    said = []
    x = np.ones((2, 1))
    shallower = tfc.remove_blocks(model, 1, data=x, criterion="branch", progress=said.append)
    assert said[0].endswith("branch 0.25")
    np.testing.assert_allclose(shallower(x), 1.5 * x)
    tfc.remove_blocks(model, 1, data=x, progress=said.append)
    # 1.5 instead of 1.875 is an error of 0.2, squared.
    assert said[1].endswith("output 0.04")


def test_branches_used_elsewhere_stay():
    inputs = keras.Input((3,))
    y = kl.Dense(3, name="inner")(inputs)
    x = kl.Add()([inputs, kl.Dense(3)(y)])
    assert find_blocks(keras.Model(inputs, kl.Concatenate()([x, y]))) == []
    assert find_blocks(keras.Model(inputs, [x, y])) == []
    assert len(find_blocks(keras.Model(inputs, x))) == 1


def test_blocks_inside_blocks_go_with_them():
    inputs = keras.Input((3,))
    inner = kl.Dense(3, name="a")(inputs)
    inner = kl.Add(name="inner")([inner, kl.Dense(3, name="b")(inner)])
    model = keras.Model(inputs, kl.Add(name="outer")([inputs, inner]))
    assert [block.path for block in find_blocks(model)] == ["inner", "outer"]
    scores = {"inner": 2.0, "outer": 1.0}
    x = np.ones((1, 3))
    shallower = tfc.remove_blocks(model, 1, data=x, criterion=lambda block: scores[block.path])
    np.testing.assert_array_equal(shallower(x), x)
    with pytest.raises(ValueError, match="blocks inside blocks"):
        tfc.remove_blocks(model, 2, data=x, criterion=lambda block: scores[block.path])


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"count": 0}, "count=0"),
        ({"count": 4}, "has 3 residual blocks"),
        ({"count": 1, "layers": "stem"}, "has 0 residual blocks"),
        ({"count": 1, "criterion": "best"}, "criterion='best'"),
        ({"count": 1, "data": np.empty((0, 4, 4, 2))}, "at least one example"),
    ],
)
def test_refuses_what_cannot_be(how, message):
    with pytest.raises(ValueError, match=message):
        tfc.remove_blocks(make_model(), **{"data": examples(), **how})
