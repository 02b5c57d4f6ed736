"""Each layer, trained with its deployed numerics, against the interpreter that runs its file."""

import keras
import numpy as np
import pytest
from keras import layers as kl

import tfcompress as tfc
from exporters import export_tflite

IMAGE, SERIES, VECTOR = (8, 8, 4), (12, 4), (16,)


def chain(*layers):
    def build(inputs):
        for layer in layers:
            inputs = layer(inputs)
        return inputs

    return build


def two_branches(join):
    def build(inputs):
        return join([kl.Conv2D(4, 1)(inputs), kl.Conv2D(4, 1, activation="relu")(inputs)])

    return build


def pooled_for_three(inputs):
    x = kl.MaxPooling2D(2, 1)(kl.Conv2D(4, 3, activation="relu")(inputs))
    pooled = kl.AveragePooling2D(3, 1, padding="same")(x)
    return kl.Concatenate()([kl.Conv2D(4, 1)(x), kl.Conv2D(3, 1)(x), kl.Conv2D(2, 1)(pooled)])


def both_ways(inputs):
    x = kl.Dense(4)(inputs)
    return x * keras.ops.flip(x, 1)


class Positions(kl.Layer):
    """Adds a vector of its own to each place."""

    def build(self, input_shape):
        self.vectors = self.add_weight(shape=input_shape[1:], name="vectors")

    def call(self, x):
        return x + self.vectors


class GatedMean(kl.Layer):
    """Stores four tensors of its own: a gate, a product and two sums."""

    def build(self, input_shape):
        self.kernel = self.add_weight(shape=(input_shape[-1], input_shape[-1]), name="kernel")

    def call(self, x):
        gate = keras.ops.sigmoid(keras.ops.matmul(x, self.kernel))
        return keras.ops.sum(x * gate, axis=1) / (keras.ops.sum(gate, axis=1) + 1.0)


CASES = {
    "convolution": (IMAGE, lambda: chain(kl.Conv2D(6, 3, strides=2, padding="same"))),
    "convolution, positions": (
        IMAGE,
        lambda: chain(kl.Conv2D(6, 4, 4), kl.Reshape((4, 6)), Positions()),
    ),
    "convolution without bias, positions": (
        IMAGE,
        lambda: chain(kl.Conv2D(6, 4, 4, use_bias=False), kl.Reshape((4, 6)), Positions()),
    ),
    "convolution with relu": (IMAGE, lambda: chain(kl.Conv2D(6, 3, activation="relu"))),
    "convolution with swish": (IMAGE, lambda: chain(kl.Conv2D(6, 3, activation="swish"))),
    "convolution with sigmoid": (IMAGE, lambda: chain(kl.Conv2D(6, 3, activation="sigmoid"))),
    "convolution, norm, relu6": (
        IMAGE,
        lambda: chain(kl.Conv2D(6, 3, use_bias=False), kl.BatchNormalization(), kl.ReLU(6.0)),
    ),
    "depthwise": (IMAGE, lambda: chain(kl.DepthwiseConv2D(3, depth_multiplier=2))),
    "separable": (IMAGE, lambda: chain(kl.SeparableConv2D(6, 3, activation="relu"))),
    "transposed": (IMAGE, lambda: chain(kl.Conv2DTranspose(3, 2, strides=2))),
    "transposed, norm": (
        IMAGE,
        lambda: chain(kl.Conv2DTranspose(3, 3, padding="same"), kl.BatchNormalization()),
    ),
    "dilated": (IMAGE, lambda: chain(kl.Conv2D(3, 3, dilation_rate=2))),
    "convolution in one dimension": (SERIES, lambda: chain(kl.Conv1D(6, 3, activation="relu"))),
    "convolution of one filter in one dimension": (SERIES, lambda: chain(kl.Conv1D(1, 3))),
    "dense": (VECTOR, lambda: chain(kl.Dense(8))),
    "dense with softmax": (VECTOR, lambda: chain(kl.Dense(8, activation="softmax"))),
    "dense with tanh": (VECTOR, lambda: chain(kl.Dense(8, activation="tanh"))),
    "dense, norm, relu": (
        VECTOR,
        lambda: chain(kl.Dense(8), kl.BatchNormalization(), kl.ReLU()),
    ),
    "dense on a series": (SERIES, lambda: chain(kl.Dense(8, activation="relu"))),
    "norm alone": (IMAGE, lambda: chain(kl.MaxPooling2D(), kl.BatchNormalization())),
    "leaky relu": (IMAGE, lambda: chain(kl.Conv2D(4, 3), kl.LeakyReLU(0.1))),
    "parametric relu": (
        IMAGE,
        lambda: chain(kl.Conv2D(4, 3), kl.PReLU("uniform", shared_axes=[1, 2])),
    ),
    "hard swish": (IMAGE, lambda: chain(kl.Conv2D(4, 3), kl.Activation("hard_swish"))),
    "gelu": (IMAGE, lambda: chain(kl.Conv2D(4, 3), kl.Activation("gelu"))),
    "max pooling": (IMAGE, lambda: chain(kl.Conv2D(4, 3), kl.MaxPooling2D())),
    "average pooling": (IMAGE, lambda: chain(kl.Conv2D(4, 3), kl.AveragePooling2D(2))),
    "global average pooling": (IMAGE, lambda: chain(kl.Conv2D(4, 3), kl.GlobalAveragePooling2D())),
    "global max pooling": (IMAGE, lambda: chain(kl.Conv2D(4, 3), kl.GlobalMaxPooling2D())),
    "nearest upsampling": (IMAGE, lambda: chain(kl.Conv2D(4, 3), kl.UpSampling2D())),
    "bilinear upsampling": (
        IMAGE,
        lambda: chain(kl.Conv2D(4, 3), kl.UpSampling2D(interpolation="bilinear")),
    ),
    "pooling, read by an average and by others": (IMAGE, lambda: pooled_for_three),
    "padding": (IMAGE, lambda: chain(kl.ZeroPadding2D(), kl.Conv2D(4, 3))),
    "cropping": (IMAGE, lambda: chain(kl.Conv2D(4, 3), kl.Cropping2D())),
    "rescaling": (IMAGE, lambda: chain(kl.Rescaling(2.0, -1.0), kl.Conv2D(4, 3))),
    "normalization": (
        IMAGE,
        lambda: chain(
            kl.Normalization(mean=[0.4, 0.5, 0.3, 0.2], variance=[0.1, 0.2, 0.3, 0.1]),
            kl.Conv2D(4, 3),
        ),
    ),
    "reshape and permute": (
        IMAGE,
        lambda: chain(kl.Reshape((16, 16)), kl.Permute((2, 1)), kl.Flatten(), kl.Dense(4)),
    ),
    "elu": (IMAGE, lambda: chain(kl.Conv2D(4, 3), kl.ELU(0.5))),
    "selu": (IMAGE, lambda: chain(kl.Conv2D(4, 3, activation="selu"))),
    "softplus": (IMAGE, lambda: chain(kl.Conv2D(4, 3), kl.Activation("softplus"))),
    "mish": (IMAGE, lambda: chain(kl.Conv2D(4, 3, activation="mish"))),
    "softsign": (IMAGE, lambda: chain(kl.Conv2D(4, 3), kl.Activation("softsign"))),
    "hard sigmoid": (IMAGE, lambda: chain(kl.Conv2D(4, 3), kl.Activation("hard_sigmoid"))),
    "convolution in three dimensions": (
        (5, 8, 8, 2),
        lambda: chain(kl.Conv3D(4, 3, strides=(2, 1, 1), padding="same", activation="relu")),
    ),
    "grouped convolution": (IMAGE, lambda: chain(kl.Conv2D(8, 3, groups=2))),
    "grouped convolution, norm": (
        IMAGE,
        lambda: chain(kl.Conv2D(8, 1, groups=2, use_bias=False), kl.BatchNormalization()),
    ),
    "layer norm": (SERIES, lambda: chain(kl.Dense(8), kl.LayerNormalization())),
    "group norm": (IMAGE, lambda: chain(kl.Conv2D(8, 3), kl.GroupNormalization(4))),
    "rms norm": (SERIES, lambda: chain(kl.Dense(8), kl.RMSNormalization())),
    "unit norm": (SERIES, lambda: chain(kl.Dense(8), kl.UnitNormalization())),
    "attention, causal": (
        SERIES,
        lambda: lambda x: kl.MultiHeadAttention(2, 4)(x, x, use_causal_mask=True),
    ),
    "attention of one head, causal": (
        SERIES,
        lambda: lambda x: kl.Attention()([kl.Dense(8)(x), kl.Dense(8)(x)], use_causal_mask=True),
    ),
    "additive attention": (
        SERIES,
        lambda: lambda x: kl.AdditiveAttention()([kl.Dense(8)(x), kl.Dense(8)(x)]),
    ),
    "convolutional lstm": (
        (2, 6, 6, 2),
        lambda: chain(kl.ConvLSTM2D(3, 3, dropout=0.2, return_sequences=True)),
    ),
    "attention": (SERIES, lambda: lambda x: kl.MultiHeadAttention(2, 4, dropout=0.1)(x, x)),
    "grouped query attention": (SERIES, lambda: lambda x: kl.GroupQueryAttention(4, 4, 2)(x, x)),
    "a layer of one's own": (SERIES, lambda: chain(kl.Dense(8), GatedMean())),
    "series and its reverse": (SERIES, lambda: both_ways),
    "add": (IMAGE, lambda: two_branches(kl.Add())),
    "subtract": (IMAGE, lambda: two_branches(kl.Subtract())),
    "multiply": (IMAGE, lambda: two_branches(kl.Multiply())),
    "average": (IMAGE, lambda: two_branches(kl.Average())),
    "maximum": (IMAGE, lambda: two_branches(kl.Maximum())),
    "concatenate": (IMAGE, lambda: two_branches(kl.Concatenate())),
    "add and relu": (IMAGE, lambda: lambda x: kl.ReLU()(two_branches(kl.Add())(x))),
    "operations without layers": (
        IMAGE,
        lambda: lambda x: kl.Conv2D(4, 1)(kl.Conv2D(4, 1)(x) * 2.0 + 1.0),
    ),
}


def scatter_constants(model):
    """Give normalizations scales and shifts that show whether they are rounded alike."""
    random = np.random.default_rng(1)
    for variable in model.variables:
        if variable.name in ("gamma", "moving_variance"):
            variable.assign(random.uniform(0.5, 1.5, variable.shape))
        if variable.name in ("beta", "moving_mean"):
            variable.assign(random.uniform(-0.5, 0.5, variable.shape))


def in_groups(largest=14):
    """Put cases that read the same shape together, so that one model has them all."""
    shapes = {}
    for case, (shape, _) in CASES.items():
        shapes.setdefault(shape, []).append(case)
    for cases in shapes.values():
        for start in range(0, len(cases), largest):
            yield cases[start : start + largest]


@pytest.mark.parametrize("cases", list(in_groups()), ids=lambda cases: f"{cases[0]} to {cases[-1]}")
def test_file_computes_what_was_trained(cases, tmp_path):
    shape, _ = CASES[cases[0]]
    inputs = keras.Input(shape)
    model = keras.Model(inputs, [CASES[case][1]()(inputs) for case in cases])
    scatter_constants(model)
    examples = np.random.default_rng(0).random((64, *shape), dtype="float32")
    q = tfc.quantize_aware(model)
    q.compile(keras.optimizers.SGD(0.01), "mse", jit_compile=False)
    q.fit(examples, [np.zeros((64, *x.shape[1:])) for x in model.outputs], epochs=2, verbose=0)
    report = export_tflite(q, tmp_path / "m.tflite", validation_data=examples).report
    assert report.float_operations == ()
    found = dict(zip(cases, report.agreement.runs[0].outputs, strict=True))
    assert {case: output.equal for case, output in found.items()} == dict.fromkeys(cases, 1.0)


NEAR_ZERO = {
    "layer norm": kl.LayerNormalization,
    "group norm": lambda: kl.GroupNormalization(4),
    "RMS norm": kl.RMSNormalization,
    "logarithm": lambda: lambda x: keras.ops.log(keras.ops.abs(x) + 1e-3),
    "square root": lambda: lambda x: keras.ops.sqrt(keras.ops.abs(x) + 1e-6),
}


@pytest.mark.parametrize("eagerly", [False, True])
def test_numbers_that_rounding_makes_zero(eagerly, tmp_path):
    inputs, outputs = keras.Input(SERIES), []
    for build in NEAR_ZERO.values():
        hidden = kl.Dense(4, kernel_initializer="identity")(inputs)
        outputs.append(kl.Dense(3)(build()(hidden)))
    model = keras.Model(inputs, outputs)
    scatter_constants(model)
    random = np.random.default_rng(0)
    sizes = random.choice([0.0, 1e-3, 0.03, 1.0], (64, 1, 1))
    examples = (random.normal(size=(64, *SERIES)) * sizes).astype("float32")
    q = tfc.quantize_aware(model)
    q.compile(keras.optimizers.SGD(0.001), "mse", run_eagerly=eagerly, jit_compile=False)
    wanted = [np.zeros((64, SERIES[0], 3)) for _ in outputs]
    losses = q.fit(examples, wanted, epochs=2, verbose=0).history
    assert np.isfinite(list(losses.values())).all()
    assert all(np.isfinite(keras.ops.convert_to_numpy(v)).all() for v in q.variables)
    report = export_tflite(q, tmp_path / "m.tflite", validation_data=examples).report
    assert report.float_operations == ()
    found = dict(zip(NEAR_ZERO, report.agreement.runs[0].outputs, strict=True))
    assert {case: output.equal for case, output in found.items()} == dict.fromkeys(NEAR_ZERO, 1.0)
