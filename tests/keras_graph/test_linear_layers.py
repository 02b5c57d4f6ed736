import keras
import numpy as np
import pytest
from keras import layers as kl

from tfcompress.keras_graph.linear_layers import LinearLayer, linear_layers

# Made in the tests: layers start TensorFlow.
KINDS = {
    "dense": (lambda: kl.Dense(5), (6,)),
    "dense at positions": (lambda: kl.Dense(5), (7, 6)),
    "convolution": (lambda: kl.Conv2D(6, 3, strides=2, padding="same"), (7, 7, 4)),
    "dilated": (lambda: kl.Conv2D(6, (3, 2), dilation_rate=2), (7, 7, 4)),
    "two groups": (lambda: kl.Conv2D(6, 3, groups=2), (7, 7, 4)),
    "depthwise": (lambda: kl.DepthwiseConv2D(3, depth_multiplier=2), (7, 7, 4)),
    "one dimension": (lambda: kl.Conv1D(6, 3, padding="causal"), (7, 4)),
    "depthwise, one dimension": (lambda: kl.DepthwiseConv1D(3, padding="same"), (7, 4)),
}


@pytest.fixture(params=KINDS, ids=str)
def linear_and_input(request):
    make, shape = KINDS[request.param]
    layer = make()
    x = np.random.default_rng(0).normal(size=(3, *shape)).astype("float32")
    layer(x)
    layer.bias.assign(np.arange(layer.bias.shape[0]) * 0.1)
    return LinearLayer("layer", layer), x


def kernel_of(linear):
    return keras.ops.convert_to_numpy(linear.kernel)


def test_products_of_rows_are_what_the_layer_computes(linear_and_input):
    linear, x = linear_and_input
    wanted = keras.ops.convert_to_numpy(linear.layer(x)).reshape(-1, linear.outputs)
    rows = linear.rows(x, max_rows=10**6, seed=0)
    found = linear.products(rows, linear.to_matrices(kernel_of(linear))) + linear.bias
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)


def test_kernels_survive_being_rearranged(linear_and_input):
    linear, _ = linear_and_input
    kernel = kernel_of(linear)
    matrices = linear.to_matrices(kernel)
    assert matrices.shape[0] == linear.groups
    np.testing.assert_array_equal(linear.from_matrices(matrices), kernel)
    by_channels = linear.to_channels(kernel)
    assert by_channels.shape[1] == linear.inputs
    np.testing.assert_array_equal(linear.from_channels(by_channels), kernel)


def test_scaling_an_input_channel_of_the_kernel_scales_that_input(linear_and_input):
    linear, x = linear_and_input
    wanted = keras.ops.convert_to_numpy(linear.layer(x))
    factors = 2.0 ** np.arange(linear.inputs)
    scaled = linear.to_channels(kernel_of(linear)) * factors[None, :, None]
    linear.kernel.assign(linear.from_channels(scaled))
    found = linear.layer((x / factors).astype("float32"))
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4)


def test_rows_of_equal_seeds_are_at_the_same_positions():
    layer = kl.Dense(2)
    x = np.arange(60.0).reshape(20, 3)
    layer(x)
    linear = LinearLayer("dense", layer)
    first, second = linear.rows(x, 5, seed=3), linear.rows(x + 100.0, 5, seed=3)
    np.testing.assert_array_equal(second - first, np.full((5, 1, 3), 100.0))


def test_other_kernels_are_named():
    model = keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            kl.Conv2D(4, 3, name="conv"),
            kl.Conv2DTranspose(4, 3, name="up"),
            kl.SeparableConv2D(4, 3, name="separable"),
            kl.TimeDistributed(kl.Dense(2, name="dense"), name="rows"),
        ]
    )
    found, left = linear_layers(model)
    assert [linear.path for linear in found] == ["conv"]
    assert left["up"] == "layers of type Conv2DTranspose are not supported"
    assert left["rows/dense"] == "it is called inside another layer"
    assert left["separable"] == "layers of type SeparableConv2D are not supported"
