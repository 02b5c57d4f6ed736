import keras
import numpy as np
import pytest
from channel_zoo import CONTRACTED, ZOO, deaf, examples, fill, silent
from keras import layers as kl

from tfcompress.keras_graph.channels import read_channels, rebuild


@pytest.mark.parametrize(
    ("make", "without"),
    [(make, deaf) for make in ZOO.values()] + [(make, silent) for make in CONTRACTED.values()],
    ids=[*ZOO, *CONTRACTED],
)
def test_computes_as_the_model_to_which_the_removed_channels_are_nothing(make, without):
    keras.utils.set_random_seed(0)
    model = fill(make())
    flow = read_channels(model)
    generator = np.random.default_rng(3)
    removed = [
        bundle
        for group in flow.groups
        for bundle in generator.permutation(group.coupled_sets)[: len(group) // 2]
    ]
    assert removed
    smaller = rebuild(model, flow, removed)
    x = examples(model)
    expected = without(model, flow, removed).predict(x, verbose=0)
    found = smaller.predict(x, verbose=0)
    for one, other in zip(keras.tree.flatten(expected), keras.tree.flatten(found), strict=True):
        assert one.std() > 1e-3  # an output that says nothing would agree with anything
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)
    assert smaller.count_params() == flow.parameters(removed) < model.count_params()
    assert [layer.name for layer in smaller.layers] == [layer.name for layer in model.layers]


def test_without_removal_the_model_is_a_copy():
    model = fill(ZOO["residual"]())
    twin = rebuild(model, read_channels(model))
    x = examples(model)
    np.testing.assert_array_equal(model(x), twin(x))
    twin.layers[1].kernel.assign(twin.layers[1].kernel * 2)
    assert not np.array_equal(model(x), twin(x))


def test_interface_flags_and_saving_survive(tmp_path):
    model = fill(ZOO["two_outputs"]())
    model.layers[1].trainable = False
    flow = read_channels(model)
    smaller = rebuild(model, flow, flow.groups[0].coupled_sets[:3])
    assert set(smaller.output) == {"logits", "map"}
    assert not smaller.layers[1].trainable
    assert smaller.layers[1].filters == 5
    smaller.save(tmp_path / "smaller.keras")
    loaded = keras.models.load_model(tmp_path / "smaller.keras")
    x = examples(model)
    np.testing.assert_array_equal(loaded(x)["map"], smaller(x)["map"])


def test_a_lambda_keeps_its_function():
    factor = 2.0
    inputs = keras.Input((8, 8, 3))
    x = kl.Conv2D(8, 3)(inputs)
    x = kl.Lambda(lambda x, shift: x * factor + shift, arguments={"shift": 1.0}, name="own")(x)
    model = fill(keras.Model(inputs, kl.Dense(2)(kl.GlobalAveragePooling2D()(x))))
    smaller = rebuild(model, read_channels(model))
    np.testing.assert_array_equal(model(examples(model)), smaller(examples(model)))
    assert smaller.get_layer("own") is not model.get_layer("own")


def test_sequential_stays_sequential():
    model = keras.Sequential([keras.Input((4,)), kl.Dense(6, activation="relu"), kl.Dense(2)])
    flow = read_channels(model)
    smaller = rebuild(model, flow, flow.groups[0].coupled_sets[:2])
    assert isinstance(smaller, keras.Sequential)
    assert smaller.layers[0].kernel.shape == (4, 4)
    assert smaller.layers[1].kernel.shape == (4, 2)


def test_pinned_channels_are_refused():
    model = keras.Sequential([keras.Input((4,)), kl.Dense(6)])
    flow = read_channels(model)
    with pytest.raises(ValueError, match="reach the model's outputs"):
        rebuild(model, flow, [0])
