import keras
import pytest
from channel_zoo import CONTRACTED, ZOO
from keras import layers as kl

from tfcompress.keras_graph.channels import read_channels, rebuild


def sizes(model):
    return {group.paths: len(group) for group in read_channels(model).groups}


def test_chain():
    model = keras.Sequential(
        [keras.Input((4,)), kl.Dense(6, name="a"), kl.Dense(5, name="b"), kl.Dense(2, name="c")]
    )
    flow = read_channels(model)
    assert sizes(model) == {("a",): 6, ("b",): 5}
    assert flow.macs() == 4 * 6 + 6 * 5 + 5 * 2
    assert flow.macs(flow.groups[0].coupled_sets[:2]) == 4 * 4 + 4 * 5 + 5 * 2
    one = flow.groups[1].coupled_sets[:1]
    assert flow.parameters(one) == (4 * 6 + 6) + (6 * 4 + 4) + (4 * 2 + 2)


def test_what_is_added_shrinks_together():
    inputs = keras.Input((8, 8, 3))
    x = kl.Conv2D(8, 3, padding="same", name="a")(inputs)
    y = kl.Conv2D(8, 3, padding="same", name="b")(x)
    model = keras.Model(inputs, kl.Conv2D(2, 1, name="c")(x + y))
    assert sizes(model) == {("a", "b"): 8}


def test_groups_of_a_grouped_convolution_shrink_alike():
    inputs = keras.Input((4, 4, 3))
    x = kl.Conv2D(12, 1, name="a")(inputs)
    x = kl.Conv2D(24, 1, groups=3, name="b")(x)
    flow = read_channels(keras.Model(inputs, kl.Conv2D(2, 1, name="c")(x)))
    assert [(group.paths, len(group)) for group in flow.groups] == [(("a",), 4), (("b",), 8)]
    assert flow.macs() == 16 * (3 * 12 + 4 * 24 + 24 * 2)
    removed = [flow.groups[0].coupled_sets[0], *flow.groups[1].coupled_sets[:2]]
    assert flow.macs(removed) == 16 * (3 * 9 + 3 * 18 + 18 * 2)


def test_heads_go_as_a_whole():
    flow = read_channels(ZOO["transformer"]())
    found = {group.paths[0].split("_")[0]: len(group) for group in flow.groups}
    assert found == {"multi": 4, "dense": 16}


@pytest.mark.parametrize(
    "hold",
    [
        kl.LayerNormalization(),
        kl.Softmax(),
        kl.Lambda(lambda x: x[..., ::-1]),
        kl.RMSNormalization(),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_what_cannot_be_followed_stays_whole_and_is_named(hold):
    inputs = keras.Input((4, 4, 3))
    x = hold(kl.Conv2D(8, 1)(inputs))
    x = kl.Conv2D(4, 1, name="free")(x)
    flow = read_channels(keras.Model(inputs, kl.Conv2D(2, 1)(x)))
    assert [group.paths for group in flow.groups] == [("free",)]
    assert flow.unfollowed == (hold.name,)


def test_groups_that_are_normalized_go_as_a_whole():
    assert sizes(ZOO["groups_of_channels"]()) == {("a",): 4, ("b",): 8}


def test_parts_of_a_split_shrink_alike():
    assert [len(group) for group in read_channels(ZOO["bare_operations"]()).groups] == [4]


def test_products_of_channels_are_counted():
    flow = read_channels(CONTRACTED["attention_by_hand"]())
    assert sorted(map(len, flow.groups)) == [6, 8]
    dense = 4 * 5 * (8 + 8 + 6) + 4 * 6 * 3
    assert flow.macs() == dense + 4 * 4 * 8 + 4 * 4 * 6


def test_what_is_taken_by_its_place_stays():
    inputs = keras.Input((6,))
    x = kl.Dense(8, name="a")(inputs)
    model = keras.Model(inputs, kl.Dense(2)(x[:, 2:5]))
    assert read_channels(model).groups == ()
    x = keras.ops.split(kl.Dense(8)(inputs), [2, 5], axis=1)[1]
    assert read_channels(keras.Model(inputs, kl.Dense(2)(x))).groups == ()


def test_softmax_inside_a_layer_holds_its_channels():
    inputs = keras.Input((6,))
    x = kl.Dense(4, activation="softmax")(inputs)
    assert read_channels(keras.Model(inputs, kl.Dense(2)(x))).groups == ()


def test_a_number_for_each_channel_in_the_graph_holds_them():
    inputs = keras.Input((6,))
    x = kl.Dense(3)(inputs) * keras.ops.convert_to_tensor([1.0, 2.0, 3.0])
    assert read_channels(keras.Model(inputs, kl.Dense(2)(x))).groups == ()


def test_scalars_and_spatial_maps_hold_nothing():
    inputs = keras.Input((4, 4, 3))
    x = kl.Conv2D(8, 1, name="a")(inputs) * 0.5 + 1.0
    gate = kl.Conv2D(1, 1, activation="sigmoid", name="gate")(x)
    model = keras.Model(inputs, kl.Conv2D(2, 1)(kl.Multiply()([x, gate])))
    assert sizes(model) == {("a",): 8}


def test_subclassed_models_are_refused():
    class Own(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = kl.Dense(2)

        def call(self, x):
            return self.dense(x)

    model = Own()
    model.build((None, 3))
    with pytest.raises(ValueError, match="Functional"):
        read_channels(model)


def test_masks_of_nested_models_are_no_inputs():
    tokens = keras.Input((5,), dtype="int32")
    x = kl.Embedding(7, 4, mask_zero=True)(tokens)
    inner = keras.Sequential([keras.Input((5, 4)), kl.Dense(6, name="a")], name="inner")
    model = keras.Model(tokens, kl.Dense(2, name="b")(inner(x)))
    assert sizes(model)[("inner/a",)] == 6


def test_an_einsum_of_what_cannot_be_followed():
    inputs = keras.Input((6,))
    x = kl.EinsumDense("ab,bc->ac", 5, name="a")(keras.ops.cumsum(inputs, axis=-1))
    model = keras.Model(inputs, kl.Dense(2, name="b")(x))
    assert sizes(model) == {("a",): 5}


@pytest.mark.parametrize("followed_first", [True, False])
@pytest.mark.parametrize(
    "layer",
    [
        lambda: kl.PReLU(shared_axes=[1]),
        lambda: kl.Reshape((8, 6)),
        lambda: kl.EinsumDense("abc,cd->abd", (None, 6)),
        lambda: kl.TimeDistributed(kl.Dense(6)),
        lambda: kl.TimeDistributed(kl.BatchNormalization()),
    ],
    ids=["PReLU", "Reshape", "EinsumDense", "TimeDistributed Dense", "TimeDistributed norm"],
)
def test_a_layer_keeps_its_weights_for_all_of_its_calls(layer, followed_first):
    shared, inputs = layer(), keras.Input((8, 3))
    x = kl.Dense(6, name="a")(inputs)
    calls = [x, kl.LayerNormalization()(kl.Dense(6)(inputs))]
    one, other = map(shared, calls if followed_first else calls[::-1])
    x = kl.Dense(4, name="free")(one)
    model = keras.Model(inputs, [kl.Dense(2)(x), kl.Dense(2)(other)])
    flow = read_channels(model)
    assert ("free",) in [group.paths for group in flow.groups]
    assert "a" not in {path for group in flow.groups for path in group.paths}
    removed = [bundle for group in flow.groups for bundle in group.coupled_sets[::2]]
    assert rebuild(model, flow, removed).count_params() == flow.parameters(removed)


def test_channels_that_a_product_does_not_sum_over_remain():
    flow = read_channels(CONTRACTED["memory"]())
    assert sorted(map(len, flow.groups)) == [6, 8]
    dense = 5 * 4 * (8 + 6) + 4 * 8 + 6 * 3
    assert flow.macs() == dense + 5 * 8 + 2 * 5 * 6
    assert sizes(CONTRACTED["products_of_one"]()) == {("free",): 8}
