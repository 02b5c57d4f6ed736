"""Weights of layers of one's own: kernels where the data are multiplied with them."""

import keras
import numpy as np
import pytest
from keras import layers as kl

from tfcompress.keras_graph.custom_kernels import find_all_kernels, find_custom_weights


class Mixed(kl.Layer):
    """A layer with a known kernel, two unknown ones, a table of positions and a scale."""

    def build(self, shape):
        steps, units = shape[1:]
        self.kernel = self.add_weight(shape=(units, 8), name="kernel")
        self.w = self.add_weight(shape=(8, 8), name="w")
        self.second = self.add_weight(shape=(8, 8), name="second")
        self.position = self.add_weight(shape=(steps, 8), name="position")
        self.scale = self.add_weight(shape=(1, 8), name="scale")
        self.vector = self.add_weight(shape=(8,), name="vector")
        self.still = self.add_weight(shape=(8, 8), name="still", trainable=False)

    def call(self, x):
        x = x @ self.kernel @ self.w + self.position
        second = keras.ops.tanh(keras.ops.transpose(self.second) * 2.0)
        return keras.ops.einsum("bij,jk->bik", x * self.scale, second) * self.vector @ self.still


class Table(kl.Layer):
    def build(self, shape):
        self.rows = self.add_weight(shape=(10, 5), name="rows")

    def call(self, indices):
        return keras.ops.take(self.rows, indices, axis=0)


class Cell(kl.Layer):
    state_size = 4

    def build(self, shape):
        self.inner = self.add_weight(shape=(shape[-1], 4), name="inner")
        self.back = self.add_weight(shape=(4, 4), name="back")

    def call(self, x, states):
        h = keras.ops.tanh(x @ self.inner + states[0] @ self.back)
        return h, [h]


class Convolved(kl.Layer):
    def build(self, shape):
        self.filters = self.add_weight(shape=(3, 3, shape[-1], 2), name="filters")
        self.gains = self.add_weight(shape=shape[1:], name="gains")

    def call(self, x):
        return keras.ops.conv(x * self.gains, self.filters)


class Net(keras.Model):
    def __init__(self):
        super().__init__()
        self.mixed = Mixed(name="mixed")

    def call(self, x):
        return self.mixed(x)


def chain(shape, *layers, dtype=None):
    return keras.Sequential([keras.Input(shape, dtype=dtype), *layers])


def subclassed():
    net = Net()
    net(np.zeros((2, 6, 5), "float32"))
    return net


def nested():
    return chain((6, 5), chain((6, 5), Mixed(name="mixed")), kl.Dense(2))


CASES = {
    "products": (
        lambda: chain((6, 5), Mixed(name="mixed")),
        {"mixed/w": (1,), "mixed/second": (1,)},
        {
            "mixed/position": "applied to the data by AddV2",
            "mixed/scale": "applied to the data by Mul",
        },
    ),
    "a subclassed model": (
        subclassed,
        {"mixed/w": (1,), "mixed/second": (1,)},
        {
            "mixed/position": "applied to the data by AddV2",
            "mixed/scale": "applied to the data by Mul",
        },
    ),
    "a lookup": (lambda: chain((6,), Table(name="table"), dtype="int32"), {"table/rows": (1,)}, {}),
    "a loop": (
        lambda: chain((6, 5), kl.RNN(Cell(name="cell"), name="rnn")),
        {"rnn/cell/inner": (1,), "rnn/cell/back": (1,)},
        {},
    ),
    "a convolution": (
        lambda: chain((6, 6, 2), Convolved(name="own")),
        {"own/filters": (3,), "own/gains": (2,)},
        {},
    ),
    "keras's own layers": (
        lambda: chain((6, 6, 2), kl.PReLU(), kl.LayerNormalization((1, 2, 3)), kl.Dense(2)),
        {},
        {},
    ),
}


@pytest.mark.parametrize("kind", CASES)
def test_the_first_meeting_with_the_data_decides(kind):
    build, kernels, others = CASES[kind]
    found = find_custom_weights(build())
    assert {kernel.path: kernel.output_axes for kernel in found.kernels} == kernels
    assert found.others == others


def test_they_stand_among_the_others_in_the_order_of_the_model():
    model = nested()
    outer = model.layers[0].name
    paths = [f"{outer}/mixed/{name}" for name in ("kernel", "w", "second")]
    dense = f"{model.layers[1].name}/kernel"
    assert [kernel.path for kernel in find_all_kernels(model)] == [*paths, dense]
    assert [kernel.path for kernel in find_all_kernels(model, "mixed")] == paths


def test_what_cannot_be_traced_is_left_out():
    class Stubborn(kl.Layer):
        def build(self, shape):
            self.w = self.add_weight(shape=(shape[-1], 2), name="w")

        def call(self, x):
            return x @ self.w if keras.tree.flatten(x)[0].shape[0] is None else None

        def compute_output_spec(self, x):
            return keras.KerasTensor((None, 2))

    class Eager(keras.Model):
        def __init__(self):
            super().__init__()
            self.own = Stubborn(name="own")

        def call(self, a, b):
            return self.own(a) + b

    model = Eager()
    model.own.build((None, 4))
    model.built = True
    found = find_custom_weights(model)
    assert found.kernels == ()
    assert found.others == {"own/w": "its use could not be traced"}
