import keras
import pytest
from keras import layers as kl

from tfcompress.keras_graph.kernels import find_kernels


@pytest.mark.parametrize(
    ("layer", "shape", "expected"),
    [
        (kl.Dense(3), (4,), [("kernel", (4, 3), (1,), False)]),
        (kl.Conv1D(5, 3), (8, 2), [("kernel", (3, 2, 5), (2,), False)]),
        (kl.Conv2D(5, 3), (8, 8, 2), [("kernel", (3, 3, 2, 5), (3,), False)]),
        (kl.Conv2DTranspose(5, 3), (8, 8, 2), [("kernel", (3, 3, 5, 2), (2,), False)]),
        (
            kl.DepthwiseConv2D(3, depth_multiplier=2),
            (8, 8, 4),
            [("kernel", (3, 3, 4, 2), (2, 3), True)],
        ),
        (
            kl.SeparableConv2D(6, 3),
            (8, 8, 4),
            [
                ("depthwise_kernel", (3, 3, 4, 1), (2, 3), True),
                ("pointwise_kernel", (1, 1, 4, 6), (3,), False),
            ],
        ),
        (
            kl.EinsumDense("abc,cde->abde", (None, 2, 3)),
            (7, 4),
            [("kernel", (4, 2, 3), (1, 2), False)],
        ),
        (
            kl.EinsumDense("abcd,cde->abe", (None, 6)),
            (7, 2, 3),
            [("kernel", (2, 3, 6), (2,), False)],
        ),
        (kl.BatchNormalization(), (4,), []),
    ],
)
def test_kernels_and_their_output_axes(layer, shape, expected):
    layer.name = "layer"
    model = keras.Sequential([keras.Input(shape), layer])
    found = [
        (k.path, tuple(k.variable.shape), k.output_axes, k.depthwise) for k in find_kernels(model)
    ]
    assert found == [(f"layer/{name}", *rest) for name, *rest in expected]


def test_recurrent_attention_and_embedding_kernels():
    tokens = keras.Input((6,), dtype="int32")
    x = kl.Embedding(10, 8, name="words")(tokens)
    x = kl.MultiHeadAttention(2, 4, name="attention")(x, x)
    outputs = kl.LSTM(5, name="lstm")(x)
    found = [(k.path, tuple(k.variable.shape)) for k in find_kernels(keras.Model(tokens, outputs))]
    assert found == [
        ("words/embeddings", (10, 8)),
        ("attention/query/kernel", (8, 2, 4)),
        ("attention/key/kernel", (8, 2, 4)),
        ("attention/value/kernel", (8, 2, 4)),
        ("attention/attention_output/kernel", (2, 4, 8)),
        ("lstm/lstm_cell/kernel", (8, 20)),
        ("lstm/lstm_cell/recurrent_kernel", (5, 20)),
    ]


def test_selecting_a_layer_selects_what_is_inside():
    inputs = keras.Input((6, 8))
    x = kl.MultiHeadAttention(2, 4, name="attention")(inputs, inputs)
    model = keras.Model(inputs, kl.Dense(3, name="head")(x))
    found = find_kernels(model, ["attention"])
    assert [kernel.path.split("/")[0] for kernel in found] == ["attention"] * 4


def test_shared_layer_counts_once_and_custom_layer_counts():
    class Scaled(keras.layers.Layer):
        def build(self, shape):
            self.kernel = self.add_weight(shape=(shape[-1], 4), name="matrix")

        def call(self, x):
            return x @ self.kernel

    inputs = keras.Input((4,))
    shared = Scaled(name="scaled")
    model = keras.Model(inputs, shared(shared(inputs)))
    assert [(k.path, k.size) for k in find_kernels(model)] == [("scaled/matrix", 16)]


def fine_tuned(freeze):
    """Return a model with a nested backbone of three layers, some of them frozen."""
    inputs = keras.Input((4,))
    x = kl.Dense(4, name="a")(inputs)
    backbone = keras.Model(inputs, kl.Dense(4, name="c")(kl.Dense(4, name="b")(x)), name="backbone")
    inputs = keras.Input((4,))
    model = keras.Model(inputs, kl.Dense(2, name="head")(backbone(inputs)))
    freeze(backbone)
    return model


def freeze_one(backbone):
    backbone.get_layer("a").trainable = False


def freeze_each(backbone):
    for layer in backbone.layers:
        layer.trainable = False


def freeze_whole(backbone):
    backbone.trainable = False


def freeze_around_a_free_one(backbone):
    backbone.trainable = False
    backbone.get_layer("b").trainable = True  # the frozen model around it keeps it still


@pytest.mark.parametrize(
    ("freeze", "trained"),
    [
        (freeze_one, ["backbone/b/kernel", "backbone/c/kernel", "head/kernel"]),
        (freeze_each, ["head/kernel"]),
        (freeze_whole, ["head/kernel"]),
        (freeze_around_a_free_one, ["head/kernel"]),
    ],
)
def test_a_callable_asks_the_layer_itself_whether_it_is_trained(freeze, trained):
    model = fine_tuned(freeze)
    before = [layer.trainable for layer in model._flatten_layers()]
    found = find_kernels(model, lambda layer: layer.trainable)
    assert [kernel.path for kernel in found] == trained
    assert [layer.trainable for layer in model._flatten_layers()] == before


def test_a_callable_that_selects_a_model_selects_what_is_trained_in_it():
    model = fine_tuned(freeze_one)
    found = find_kernels(model, lambda layer: layer.name == "backbone")
    assert [kernel.path for kernel in found] == ["backbone/b/kernel", "backbone/c/kernel"]
