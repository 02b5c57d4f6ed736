import keras
import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

from tfcompress.quantization.float_file import float_file
from tfcompress.quantization.kernels.batches import completed
from tfcompress.quantization.kernels.registry import compute_float
from tfcompress.quantization.tracing import trace
from tfcompress.tflite.constants import constant_value
from tfcompress.tflite.flatbuffer import read_model

L = keras.layers
IMAGE = (8, 9, 6)
ITEMS = 3


class Call(keras.Layer):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def call(self, value):
        return self.function(value)


def stacked(shape, *layers, dtype="float32"):
    return keras.Sequential([keras.Input(shape, dtype=dtype), *layers])


def beside(shape, *layers):
    value = keras.Input(shape)
    return keras.Model(value, [layer(value) for layer in layers])


def attention(layer):
    value = keras.Input((5, 8))
    return keras.Model(value, layer(value, value))


def joined(*functions):
    first, second = keras.Input((5, 6)), keras.Input((5, 6))
    return keras.Model([first, second], [function([first, second]) for function in functions])


def moves(value):
    return [
        tf.concat([value, value], 1),
        tf.stack([value, value], 1),
        tf.unstack(value, axis=1)[1],
        tf.split(value, [1, 5], 2)[1],
        value[:, 1:3],
        value[:, -1],
        tf.tile(value, [1, 2, 1]),
        tf.reverse(value, [1]),
        tf.gather(value, [1, 3], axis=1),
        tf.pad(value, [[0, 0], [1, 1], [1, 0]], constant_values=2.0),
        tf.pad(value, [[0, 0], [1, 1], [1, 0]], "REFLECT"),
        tf.one_hot(tf.cast(value, tf.int32), 4),
        tf.argmax(value, 1),
        tf.math.top_k(value, 2)[0],
        tf.where(value > 0, value, -1.0),
        tf.concat([tf.constant(np.full((1, 1, 6), 0.5, "f4")), value], 1),
    ]


def functions(value):
    positive = tf.abs(value) + 0.1
    return [
        *(tf.math.log(positive), tf.math.rsqrt(positive), tf.sqrt(positive), positive**1.5),
        *(tf.sin(value), tf.cos(value), tf.floor(value), tf.math.ceil(value), tf.round(value)),
        *(tf.sign(value), -value, tf.square(value), tf.exp(value), value / positive),
        *(tf.cumsum(value, 1), tf.math.floormod(value, 2.0), tf.reduce_prod(value, 1)),
        *(tf.reduce_max(value, 1), tf.reduce_min(value, 2, True), tf.nn.l2_normalize(value, -1)),
    ]


MODELS = {
    "convolutions": lambda: stacked(
        IMAGE, L.Conv2D(4, 3, 2, "same", activation="relu"), L.Conv2D(5, (2, 3))
    ),
    "dilated": lambda: beside(
        IMAGE,
        L.Conv2D(4, 3, dilation_rate=2, padding="same", activation="relu6"),
        L.DepthwiseConv2D(3, dilation_rate=2),
    ),
    "groups": lambda: stacked(IMAGE, L.Conv2D(4, 3, groups=2), L.Conv2D(4, 3, groups=4)),
    "depthwise": lambda: stacked(
        IMAGE, L.DepthwiseConv2D(3, 2, "same", depth_multiplier=2), L.SeparableConv2D(4, 3)
    ),
    "transposed": lambda: stacked(
        IMAGE, L.Conv2DTranspose(4, 3, 2, "same", activation="relu"), L.Conv2DTranspose(3, 2, 2)
    ),
    "one dimension": lambda: stacked(
        (10, 4),
        L.Conv1D(3, 3, padding="causal"),
        L.MaxPool1D(2),
        L.Conv1DTranspose(3, 3, 2),
        L.AveragePooling1D(2),
    ),
    "three dimensions": lambda: stacked(
        (5, 6, 7, 2), L.Conv3D(3, 3, 2, "same"), L.Conv3DTranspose(2, 2, 2)
    ),
    "dense": lambda: stacked(
        (4, 7), L.Dense(5, "tanh"), L.Flatten(), L.Dense(3, use_bias=False), L.Softmax()
    ),
    "activations": lambda: beside(
        (6,),
        *(
            L.Activation(name)
            for name in (
                *("relu", "elu", "selu", "gelu", "softplus", "softsign", "swish", "hard_sigmoid"),
                *("hard_swish", "leaky_relu", "exponential", "log_softmax", "mish", "sigmoid"),
            )
        ),
        L.ReLU(max_value=1.0),
    ),
    "slopes": lambda: stacked((4, 4, 3), L.PReLU(shared_axes=[1, 2]), L.LeakyReLU(0.1), L.PReLU()),
    "pools": lambda: stacked(
        IMAGE, L.AveragePooling2D(3, 2, "same"), L.MaxPool2D(2, 1, "same"), L.GlobalAvgPool2D()
    ),
    "sizes": lambda: stacked(
        IMAGE,
        L.ZeroPadding2D(((1, 2), (0, 1))),
        L.Cropping2D(1),
        L.UpSampling2D(2),
        L.UpSampling2D(2, interpolation="bilinear"),
        L.Resizing(11, 5),
        L.Resizing(5, 7, interpolation="nearest"),
    ),
    "shapes": lambda: stacked(
        (6, 4), L.Reshape((3, 8)), L.Permute((2, 1)), L.Flatten(), L.RepeatVector(3)
    ),
    "normalizations": lambda: stacked(
        (6, 4), L.BatchNormalization(), L.LayerNormalization(), L.GroupNormalization(2)
    ),
    "embedding": lambda: stacked((6,), L.Embedding(5, 3), L.GlobalMaxPool1D(), dtype="int32"),
    "unrolled": lambda: stacked(
        (5, 3), L.LSTM(4, unroll=True, return_sequences=True), L.GRU(3, unroll=True)
    ),
    "both directions": lambda: stacked((5, 3), L.Bidirectional(L.SimpleRNN(4, unroll=True))),
    "attention": lambda: attention(L.MultiHeadAttention(2, 3)),
    "grouped attention": lambda: attention(L.GroupQueryAttention(4, 4, 2)),
    "additive attention": lambda: joined(L.AdditiveAttention()),
    "two inputs": lambda: joined(
        *(L.Add(), L.Subtract(), L.Multiply(), L.Maximum(), L.Minimum(), L.Dot((2, 2))),
        *(L.Concatenate(), L.Concatenate(1)),
    ),
    "moves": lambda: stacked((4, 6), Call(moves)),
    "functions": lambda: stacked((4, 6), Call(functions)),
    "blocks": lambda: beside(
        (4, 6, 4),
        Call(lambda value: tf.nn.space_to_depth(value, 2)),
        Call(lambda value: tf.nn.depth_to_space(value, 2)),
        Call(lambda value: tf.transpose(value, [0, 3, 1, 2])),
    ),
}


def converted(model):
    traced = trace(model)
    weights = {name: value.numpy() for name, value in traced.weight_values().items()}
    return float_file(traced, weights)[0]


def run_graph(content):
    model = read_model(content)
    graph = model.subgraphs[0]
    operations = [completed(operation, graph.tensors) for operation in graph.operations]
    constants = {
        tensor.index: tf.constant(constant_value(model, tensor))
        for tensor in graph.tensors
        if tensor.constant
    }

    def run(*inputs):
        values = {**constants, **dict(zip(graph.inputs, inputs, strict=True)), -1: None}
        for operation in operations:
            found = compute_float(operation, [values[index] for index in operation.inputs])
            values.update(zip(operation.outputs, found, strict=True))
        return [values[index] for index in graph.outputs]

    return run


def on_device(content, inputs):
    interpreter = Interpreter(model_content=content)
    interpreter.allocate_tensors()
    results = []
    for item in range(ITEMS):
        for detail, value in zip(interpreter.get_input_details(), inputs, strict=True):
            interpreter.set_tensor(detail["index"], value[item : item + 1])
        interpreter.invoke()
        results.append(
            [interpreter.get_tensor(each["index"]) for each in interpreter.get_output_details()]
        )
    return [np.concatenate(items) for items in zip(*results, strict=True)]


@pytest.mark.parametrize("name", MODELS)
def test_a_file_computes_the_same_on_several_items(name):
    keras.utils.set_random_seed(0)
    random = np.random.default_rng(0)
    model = MODELS[name]()
    for weight in model.weights:
        if not weight.path.endswith("variance") and "seed" not in weight.path:
            weight.assign(random.normal(0, 0.4, weight.shape))
    inputs = [
        random.integers(0, 5, (ITEMS, *tensor.shape[1:])).astype("i4")
        if tensor.dtype == "int32"
        else random.normal(0, 1, (ITEMS, *tensor.shape[1:])).astype("f4")
        for tensor in model.inputs
    ]
    content = converted(model)
    expected = on_device(content, inputs)
    run = run_graph(content)
    specs = [tf.TensorSpec((None, *value.shape[1:]), value.dtype) for value in inputs]
    for compute in (run, tf.function(run, input_signature=specs)):
        for found, value in zip(compute(*map(tf.constant, inputs)), expected, strict=True):
            assert found.shape == value.shape
            largest = max(1.0, np.abs(value).max())
            np.testing.assert_allclose(found / largest, value / largest, atol=2e-6)


@pytest.mark.parametrize("name", ["dilated", "groups", "transposed", "slopes", "unrolled"])
def test_gradients_equal_keras(name):
    keras.utils.set_random_seed(0)
    model = MODELS[name]()
    run = run_graph(converted(model))
    shape = model.inputs[0].shape[1:]
    value = tf.constant(np.random.default_rng(0).normal(0, 1, (ITEMS, *shape)), tf.float32)

    @tf.function
    def gradient(function, value):
        with tf.GradientTape() as tape:
            tape.watch(value)
            total = tf.add_n([tf.reduce_sum(tf.sin(y)) for y in tf.nest.flatten(function(value))])
        return tape.gradient(total, value)

    np.testing.assert_allclose(gradient(run, value), gradient(model, value), atol=1e-5)
