import pytest
import tensorflow as tf

from tfcompress.quantization.kernels.registry import INTEGER, has_integer_kernel

KERNELS = ["xnnpack", "reference"]
WINDOW = {"filter_height": 2, "filter_width": 2, "stride_h": 2, "stride_w": 2}


@pytest.fixture
def compute(operation):
    def run(name, inputs, grid, kernels, **options):
        (found,) = INTEGER[name](operation(name, **options), inputs, [grid], kernels)
        return found.numpy().tolist()

    return run


def test_half_means(compute, integers, grid):
    axes = tf.constant([1])
    # Halves: XNNPACK rounds to even, the reference kernels away from zero.
    taken = [integers([[1, 2, 2, 1], [2, 3, 3, 2], [-1, -2, -1, -2]], 1.0), axes]
    assert compute("MEAN", taken, grid(1.0), "xnnpack") == [2, 2, -2]
    assert compute("MEAN", taken, grid(1.0), "reference") == [2, 3, -2]


def test_xnnpack_rounds_means_behind_the_zero_point(compute, integers, grid):
    # A mean of 2.5, which is 1.5 above the zero point.
    taken = [integers([[2, 3, 3, 2]], 1.0, 1), tf.constant([1])]
    assert compute("MEAN", taken, grid(1.0, 1), "xnnpack") == [2]
    assert compute("MEAN", taken, grid(1.0, 1), "reference") == [3]


@pytest.mark.parametrize("kernels", KERNELS)
def test_means_over_height_and_width(compute, integers, grid, kernels):
    taken = [integers([[[[1, 10], [2, 20]], [[3, 30], [4, 40]]]], 0.5, -4), tf.constant([1, 2])]
    found = compute("MEAN", taken, grid(0.25, 10), kernels, keep_dims=True)
    assert found == [[[[23, 68]]]]


def test_sums(compute, integers, grid):
    taken = [integers([[1, 2, 3]], 0.5, 1), tf.constant([1])]
    assert compute("SUM", taken, grid(0.25, -2), "xnnpack") == [4]
    assert not has_integer_kernel("SUM", "INT8", "reference")


@pytest.mark.parametrize("kernels", KERNELS)
def test_products(compute, integers, grid, kernels):
    taken = [integers([[4, 6]], 0.5), tf.constant([1])]
    assert compute("REDUCE_PROD", taken, grid(1.0), kernels) == [6]


@pytest.mark.parametrize("kernels", KERNELS)
def test_averages_round_halves_away_from_zero(compute, integers, grid, kernels):
    values = [[[[1], [2]], [[1], [2]]], [[[-1], [-2]], [[-1], [-2]]]]
    found = compute(
        "AVERAGE_POOL_2D", [integers(values, 1.0)], grid(1.0), kernels, padding="VALID", **WINDOW
    )
    assert found == [[[[2]]], [[[-2]]]]


@pytest.mark.parametrize("kernels", KERNELS)
def test_averages_leave_the_padding_out(compute, integers, grid, kernels):
    taken = [integers([[[[9], [7], [5]]]], 1.0)]
    found = compute("AVERAGE_POOL_2D", taken, grid(1.0), kernels, padding="SAME", **WINDOW)
    assert found == [[[[8], [5]]]]


@pytest.mark.parametrize("kernels", KERNELS)
def test_largest_of_windows_with_relu6(compute, integers, grid, kernels):
    taken = [integers([[[[-7], [-9], [3], [120]]]], 0.1, 0)]
    found = compute(
        "MAX_POOL_2D",
        taken,
        grid(0.1),
        kernels,
        padding="SAME",
        fused_activation_function="RELU6",
        **WINDOW,
    )
    assert found == [[[[0], [60]]]]


def test_bilinear_halves(compute, integers, grid):
    # Between -1 and 0, in the middle: XNNPACK takes halves up, the reference away from zero.
    taken = [integers([[[[-1], [0], [1]]]], 1.0), tf.constant([1, 6])]
    expected = {"xnnpack": [-1, 0, 0, 1, 1, 1], "reference": [-1, -1, 0, 1, 1, 1]}
    for kernels, values in expected.items():
        ((found,),) = compute("RESIZE_BILINEAR", taken, grid(1.0), kernels)
        assert [value for (value,) in found] == values


@pytest.mark.parametrize("kernels", KERNELS)
def test_nearest_neighbours(compute, integers, grid, kernels):
    taken = [integers([[[[1], [2]]]], 1.0), tf.constant([1, 4])]
    found = compute("RESIZE_NEAREST_NEIGHBOR", taken, grid(1.0), kernels)
    assert found == [[[[1], [1], [2], [2]]]]
