import keras
from compat.canary import canary

from tfcompress.compat import keras_attributes


@canary("keras", "Layer.__setattr__")
def test_set_untracked():
    layer = keras.layers.Layer()
    keras_attributes.set_untracked(layer, "kept", keras.Variable(1.0))
    assert layer.variables == []
    assert float(layer.kept) == 1.0


@canary("keras", "Layer.__dict__")
def test_get_untracked():
    layer = keras.layers.Dense(1)
    assert keras_attributes.get_untracked(layer, "call") is None
    assert keras_attributes.get_untracked(layer, "units") == 1


@canary("keras", "Layer.__dict__")
def test_has_untracked():
    layer = keras.layers.Dense(1)
    assert keras_attributes.has_untracked(layer, "activation")
    assert not keras_attributes.has_untracked(layer, "call")


@canary("keras", "Layer.__call__")
def test_remove_untracked():
    layer, negative = keras.layers.ReLU(), keras.ops.convert_to_tensor(-1.0)
    keras_attributes.set_untracked(layer, "call", lambda x: x)
    assert float(layer(negative)) == -1.0
    keras_attributes.remove_untracked(layer, "call")
    assert float(layer(negative)) == 0.0


@canary("keras", "Layer.__dict__")
def test_replaced_attributes():
    layer = keras.layers.Dense(1)
    with keras_attributes.replaced_attributes(layer, units=2, call=len):
        assert (layer.units, layer.call) == (2, len)
    assert layer.units == 1
    assert "call" not in layer.__dict__
