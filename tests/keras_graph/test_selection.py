import keras
import pytest
from keras import layers as kl

from tfcompress.keras_graph.selection import select_layers, walk_layers


@pytest.fixture
def model():
    encoder = keras.Sequential([keras.Input((4,)), kl.Dense(3, name="dense")], name="encoder")
    inputs = keras.Input((4,))
    shared = kl.Dense(4, name="shared")
    outputs = kl.Dense(2, name="head")(encoder(shared(shared(inputs))))
    return keras.Model(inputs, outputs, name="net")


def paths(found):
    return [path for path, _ in found]


def test_walk_lists_nested_layers_under_their_path_and_shared_ones_once(model):
    found = [path for path in paths(walk_layers(model)) if "input" not in path]
    assert found == ["shared", "encoder", "encoder/dense", "head"]


def test_none_selects_all(model):
    assert select_layers(model) == walk_layers(model)


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        ("^encoder/", ["encoder/dense"]),
        ("dense|head", ["encoder/dense", "head"]),
        (["head", "shared"], ["shared", "head"]),
        (["encoder/dense"], ["encoder/dense"]),
        (lambda layer: getattr(layer, "units", 0) == 2, ["head"]),
    ],
)
def test_selectors(model, selector, expected):
    found = [path for path in paths(select_layers(model, selector)) if "input" not in path]
    assert found == expected


def test_layer_objects_select_themselves(model):
    assert paths(select_layers(model, [model.get_layer("head")])) == ["head"]


def test_unknown_name_lists_the_near_ones(model):
    with pytest.raises(ValueError, match=r"no layer 'haed'. Did you mean: .*head"):
        select_layers(model, ["haed"])


def test_layer_of_another_model_is_refused(model):
    with pytest.raises(ValueError, match="no layer 'stranger'"):
        select_layers(model, [kl.Dense(1, name="stranger")])


def test_pattern_without_match_names_model_and_layers(model):
    with pytest.raises(ValueError, match=r"matches no layer of model 'net'.*encoder/dense"):
        select_layers(model, "conv")


def test_bad_pattern(model):
    with pytest.raises(ValueError, match="not a valid regular expression"):
        select_layers(model, "(")


def test_bad_type(model):
    with pytest.raises(TypeError, match="Received: layers=3 of type int"):
        select_layers(model, 3)
