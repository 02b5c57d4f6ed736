import numpy as np
import pytest
import random_operations
import tensorflow as tf

from tfcompress.quantization.kernels.linear import LINEAR

WINDOW = {
    "padding": "VALID",
    "stride_h": 1,
    "stride_w": 1,
    "dilation_h_factor": 1,
    "dilation_w_factor": 1,
}
NAMES = [
    "CONV_2D int8",
    "CONV_2D int8 x int4",
    "CONV_2D int16",
    "DEPTHWISE_CONV_2D int8",
    "DEPTHWISE_CONV_2D int8 x int4",
    "DEPTHWISE_CONV_2D int16",
    "FULLY_CONNECTED int8",
    "FULLY_CONNECTED int8 x int4",
    "FULLY_CONNECTED int8 x int4, one scale",
    "FULLY_CONNECTED int8 x int2",
    "FULLY_CONNECTED int16",
    "FULLY_CONNECTED int16 x int4",
    "TRANSPOSE_CONV int8",
    "TRANSPOSE_CONV int16",
    "BATCH_MATMUL int8",
    "BATCH_MATMUL int8 constant",
    "BATCH_MATMUL int16",
    "BATCH_MATMUL int16 constant int8",
]
# LiteRT's reference kernels run no depthwise convolution with 4-bit weights.
RUNS = [(name, "xnnpack") for name in NAMES]
RUNS += [(name, "reference") for name in NAMES if name != "DEPTHWISE_CONV_2D int8 x int4"]


@pytest.fixture
def compute(operation):
    def run(name, inputs, grid, kernels, **options):
        (found,) = LINEAR[name](operation(name, **WINDOW | options), inputs, [grid], kernels)
        return found.numpy()

    return run


def test_convolution_of_one_pixel(compute, integers, grid):
    # Sums 2 * (x + 8) + 3 are 19, 3, 219; a quarter of them: 4.75, 0.75, 54.75.
    taken = integers(np.reshape([0, -8, 100], (1, 1, 3, 1)), 0.5, -8)
    weights, bias = integers([[[[2]]]], [0.5]), integers([3], [0.25], dtype="INT32")
    for kernels in ("xnnpack", "reference"):
        found = compute("CONV_2D", [taken, weights, bias], grid(1.0, 1), kernels)
        assert found.ravel().tolist() == [6, 2, 56]


def test_halves(compute, integers, grid):
    taken = integers(np.reshape([2, 6, -2, -6], (1, 1, 4, 1)), 0.25)
    weights, bias = integers([[[[1]]]], [1.0]), integers([0], [0.25], dtype="INT32")
    inputs = [taken, weights, bias]
    assert compute("CONV_2D", inputs, grid(1.0), "xnnpack").ravel().tolist() == [0, 2, 0, -2]
    assert compute("CONV_2D", inputs, grid(1.0), "reference").ravel().tolist() == [1, 2, -1, -2]
    # 4-bit weights are left to the built-in kernel, whose vector instructions take halves up.
    inputs[1] = integers([[[[1]]]], [1.0], dtype="INT4")
    assert compute("CONV_2D", inputs, grid(1.0), "xnnpack").ravel().tolist() == [1, 2, 0, -1]


def test_padding_is_the_zero_point(compute, integers, grid):
    # Three ones over 5, 6, 7 with zero point 5: 0 + 0 + 1, 0 + 1 + 2, 1 + 2 + 0.
    taken = integers(np.reshape([5, 6, 7], (1, 1, 3, 1)), 1.0, 5)
    weights = integers(np.ones((1, 1, 3, 1)), [1.0])
    bias = integers([0], [1.0], dtype="INT32")
    for kernels in ("xnnpack", "reference"):
        found = compute("CONV_2D", [taken, weights, bias], grid(1.0), kernels, padding="SAME")
        assert found.ravel().tolist() == [1, 3, 3]


def test_strides_and_dilation_of_a_depthwise_convolution(compute, integers, grid):
    # Ones two apart on 0 to 6, every second place: 0+2+4 and 2+4+6; the second channel negates.
    taken = integers(np.arange(7).reshape(1, 1, 7, 1), 1.0)
    weights = integers(np.stack([np.ones(3), -np.ones(3)], -1).reshape(1, 1, 3, 2), [1.0, 2.0])
    for kernels in ("xnnpack", "reference"):
        found = compute(
            "DEPTHWISE_CONV_2D",
            [taken, weights, None],
            grid(1.0),
            kernels,
            stride_w=2,
            dilation_w_factor=2,
        )
        assert found.reshape(-1, 2).tolist() == [[6, -12], [12, -24]]


def test_bias_above_24_bits_is_added_exactly(compute, integers, grid):
    # 1 + (2**24 + 1) is 2**24 + 2, just above half of 2**25. 2**24 + 1 would lose its last bit.
    bias = integers([(1 << 24) + 1], [1.0], dtype="INT32")
    weights = integers([[1]], [1.0])
    taken = integers([[1], [0]], 1.0)
    inputs, options = [taken, weights, bias], {"keep_num_dims": False}
    grid_of_half = grid(2.0**25)
    assert compute("FULLY_CONNECTED", inputs, grid_of_half, "xnnpack", **options).tolist() == [
        [1],
        [0],  # as a kernel converts the sum 2**24 + 1 to float32: 2**24, half to even
    ]
    assert compute("FULLY_CONNECTED", inputs, grid_of_half, "reference", **options).tolist() == [
        [1],
        [1],
    ]


def test_fully_connected_keeps_dimensions(compute, integers, grid):
    taken = integers(np.arange(12).reshape(3, 2, 2), 1.0)
    inputs = [taken, integers([[1, 1]], 1.0), None]
    kept = compute("FULLY_CONNECTED", inputs, grid(1.0), "xnnpack", keep_num_dims=True)
    flat = compute("FULLY_CONNECTED", inputs, grid(1.0), "xnnpack", keep_num_dims=False)
    assert (kept.shape, flat.shape) == ((3, 2, 1), (6, 1))
    assert flat.ravel().tolist() == kept.ravel().tolist() == [1, 5, 9, 13, 17, 21]


def test_sums_of_16_bit_activations_beyond_24_bits(compute, integers, grid):
    # 1000 products of 32767 * 127 sum up to 4,161,409,000; 15 bits of 2**-17 are exact.
    taken = integers(np.full((1, 1000), 32767), 1.0, dtype="INT16")
    inputs = [taken, integers(np.full((1, 1000), 127), 1.0), integers([1], 1.0, dtype="INT64")]
    for kernels in ("xnnpack", "reference"):
        found = compute(
            "FULLY_CONNECTED", inputs, grid(2.0**17, 0, "INT16"), kernels, keep_num_dims=False
        )
        assert found.tolist() == [[round(4161409001 / 2**17)]]


def test_transposed_convolution_of_more_examples_than_the_file_has(compute, integers, grid):
    # Each value is written to two places; the shape says one example, three come.
    taken = integers(np.arange(6).reshape(3, 1, 2, 1), 1.0)
    weights = integers(np.reshape([1, 2], (1, 1, 2, 1)), [1.0])
    shape = tf.constant([1, 1, 4, 1])
    for kernels in ("xnnpack", "reference"):
        inputs = [shape, weights, taken]
        found = compute("TRANSPOSE_CONV", inputs, grid(1.0), kernels, stride_w=2)
        assert found.reshape(3, 4).tolist() == [[0, 0, 1, 2], [2, 4, 3, 6], [4, 8, 5, 10]]


def test_product_of_matrices_with_zero_points(compute, integers, grid):
    # [1 2] [3 4]' = 11, and half of it: 5.5.
    first, second = integers([[2, 3]], 1.0, 1), integers([[4, 5]], 0.5, 1)
    options = {"adj_x": False, "adj_y": True}
    for kernels in ("xnnpack", "reference"):
        found = compute("BATCH_MATMUL", [first, second], grid(1.0), kernels, **options)
        assert found.tolist() == [[6]]
    # Without a zero point on the right XNNPACK takes it, and halves go to the even number.
    second = integers([[2, 4]], 0.25)
    assert compute("BATCH_MATMUL", [first, second], grid(1.0), "xnnpack", **options) == [[2]]
    assert compute("BATCH_MATMUL", [first, second], grid(1.0), "reference", **options) == [[3]]


@pytest.mark.parametrize("bias", [None, 0])
def test_graph_multiplies_the_sums_and_not_constant_weights(operation, integers, grid, bias):
    random = np.random.default_rng(0)
    values = random.integers(-127, 128, (64, 3, 3, 16))
    scales = (random.random(64) * 0.01).astype("f4")
    taken = random.integers(-128, 128, (16, 14, 14, 16)).astype("f4")

    def convolve(given):
        activations = integers([0], 0.02)._replace(values=given)
        inputs = [activations, integers(values, scales), None]
        if bias is not None:
            inputs[2] = integers(np.full(64, bias), scales, dtype="INT32")
        return LINEAR["CONV_2D"](operation("CONV_2D", **WINDOW), inputs, [grid(0.05)], "xnnpack")

    graph = tf.function(convolve, input_signature=[tf.TensorSpec((None, 14, 14, 16))])
    np.testing.assert_array_equal(graph(taken)[0], convolve(tf.constant(taken))[0])


@pytest.mark.parametrize(("name", "kernels"), RUNS)
@pytest.mark.parametrize("graph", [False, True])
def test_random_files_compute_the_same(name, kernels, graph):
    count = random_operations.check(
        random_operations.GENERATORS[name],
        random_operations.kernel_of(name),
        kernels,
        4,
        seed=1 + graph,
        graph=graph,
    )
    assert count.values > 500
    assert count.differing == 0
