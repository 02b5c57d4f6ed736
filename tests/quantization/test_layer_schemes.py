import keras
import pytest
from keras import layers as kl

from tfcompress.quantization import Scheme
from tfcompress.quantization.layer_schemes import float_paths, resolve_schemes

INT8, INT4 = Scheme.int8(), Scheme.int4_weights()


@pytest.fixture
def model():
    branch = keras.Sequential(
        [keras.Input((8,)), kl.Dense(4, name="dense"), kl.ReLU(name="relu")], name="branch"
    )
    inputs = keras.Input((8,))
    return keras.Model(inputs, kl.Dense(2, name="dense")(branch(inputs)))


def test_all_layers_have_the_scheme_by_default(model):
    assert set(resolve_schemes(model, INT8).values()) == {INT8}


def test_later_overrides_win_and_sublayers_go_along(model):
    scheme = INT4.override(["branch"], INT8).override("relu$", None)
    found = resolve_schemes(model, scheme)
    assert {path: found[path] for path in ("branch/dense", "branch/relu")} == {
        "branch/dense": INT8,
        "branch/relu": None,
    }
    assert found["dense"].weight_bits == 4


def test_layers_with_kernels_that_are_left_out_stay_float(model):
    assert float_paths(resolve_schemes(model, INT8, ["branch"])) == ["dense"]
    assert float_paths(resolve_schemes(model, INT8, "^dense$")) == ["branch/dense"]


def test_override_that_matches_nothing(model):
    with pytest.raises(ValueError, match="no layer 'conv'"):
        resolve_schemes(model, INT8.override(["conv"], None))
    with pytest.raises(ValueError, match="matches no layer"):
        resolve_schemes(model, INT8.override("^conv", None))


def test_any_scheme_leaves_layers_in_float(model):
    assert float_paths(resolve_schemes(model, Scheme.dynamic_range(), ["branch"])) == ["dense"]
