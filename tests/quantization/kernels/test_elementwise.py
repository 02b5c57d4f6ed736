import numpy as np
import pytest
import random_operations
import tensorflow as tf

from tfcompress.quantization.kernels.elementwise import ELEMENTWISE
from tfcompress.quantization.kernels.linear import LINEAR

ARITHMETIC = [
    "ADD int8",
    "ADD int8 far",
    "ADD int16",
    "SUB int8",
    "SUB int8 far",
    "SUB int16",
    "MUL int8",
    "MUL int8 by a number",
    "MUL int8 far",
    "MUL int16",
    "QUANTIZE float to int8",
    "QUANTIZE float to int16",
    "QUANTIZE int8 to int8",
    "QUANTIZE int16 to int8",
    "QUANTIZE int16 to int16",
    "DEQUANTIZE int8",
    "DEQUANTIZE int16",
]


@pytest.fixture
def compute(operation):
    def run(name, inputs, grid, kernels, **options):
        (found,) = ELEMENTWISE[name](operation(name, **options), inputs, [grid], kernels)
        return found.numpy().tolist()

    return run


def test_half_sums(compute, integers, grid):
    # Two numbers on a grid of halves, their sum on whole numbers: XNNPACK takes halves up.
    taken = [integers([1, -1, 3, -3], 0.5), integers([0, 0, 0, 0], 0.5)]
    assert compute("ADD", taken, grid(1.0), "xnnpack") == [1, 0, 2, -1]
    assert compute("ADD", taken, grid(1.0), "reference") == [1, -1, 2, -2]


def test_sum_with_zero_points_and_broadcasting(compute, integers, grid):
    # (10 - 4) * 0.5 + (-1 - 1) * 2 = -1, which is -1 / 0.25 + 20 = 16.
    taken = [integers([[10], [4]], 0.5, 4), integers([-1, 1], 2.0, 1)]
    for kernels in ("xnnpack", "reference"):
        assert compute("ADD", taken, grid(0.25, 20), kernels) == [[16, 32], [4, 20]]
        assert compute("SUB", taken, grid(0.25, 20), kernels) == [[48, 32], [36, 20]]


def test_difference_with_relu(compute, integers, grid):
    taken = [integers([5, -5], 1.0), integers([7, -9], 1.0)]
    for kernels in ("xnnpack", "reference"):
        found = compute("SUB", taken, grid(1.0, -3), kernels, fused_activation_function="RELU")
        assert found == [-3, 1]


def test_half_products(compute, integers, grid):
    taken = [integers([2, 6, -2], 0.25), integers([1, 1, 1], 1.0)]
    assert compute("MUL", taken, grid(1.0), "xnnpack") == [0, 2, 0]
    assert compute("MUL", taken, grid(1.0), "reference") == [1, 2, -1]


def test_a_product_with_one_number_is_rounded_before_it_is_scaled(compute, integers, grid):
    # Scaled first, the number is one half exactly, and every product of an odd integer a tie.
    values = list(range(-125, 126, 2))
    taken = [integers(values, 1.0), integers(127, 1 / 510, -128)]
    factor = np.float32(1 / 510)
    expected = np.rint(np.float32(255) * np.float32(values) * factor).tolist()
    assert expected != np.rint(np.float32(values) * (np.float32(255) * factor)).tolist()
    assert compute("MUL", taken, grid(1.0), "xnnpack") == expected


def test_products_in_16_bits(compute, integers, grid):
    taken = [integers([30000, -30000], 0.5, dtype="INT16"), integers([3, 3], 1.0, dtype="INT16")]
    for kernels in ("xnnpack", "reference"):
        assert compute("MUL", taken, grid(2.0, dtype="INT16"), kernels) == [22500, -22500]


def test_real_numbers_halfway(compute, grid):
    values = tf.constant([0.5, 1.5, -0.5, -2.5, 1000.0])
    assert compute("QUANTIZE", [values], grid(1.0, 1), "xnnpack") == [1, 3, 1, -1, 127]
    assert compute("QUANTIZE", [values], grid(1.0, 1), "reference") == [2, 3, 0, -2, 127]


def test_integers_to_a_grid_four_times_as_coarse(compute, integers, grid):
    taken = [integers([2, -2, 6, -128], 0.25)]
    assert compute("QUANTIZE", taken, grid(1.0, 10), "xnnpack") == [11, 10, 12, -22]
    assert compute("QUANTIZE", taken, grid(1.0, 10), "reference") == [11, 9, 12, -22]


def test_xnnpack_moves_integers_with_8_bits_of_the_ratio(compute, integers, grid):
    # 0.7 is 179 / 256: 127 * 179 / 256 = 88.8; 0.7 * 127 = 88.9. With -128: -89.5, up to -89.
    taken = [integers([127, -128], 0.7)]
    assert compute("QUANTIZE", taken, grid(1.0), "xnnpack") == [89, -89]
    assert compute("QUANTIZE", taken, grid(1.0), "reference") == [89, -90]


def test_16_bits_to_8(compute, integers, grid):
    taken = [integers([256, -384, 32767], 1.0, dtype="INT16")]
    for kernels in ("xnnpack", "reference"):
        assert compute("QUANTIZE", taken, grid(256.0, 1), kernels) == [2, -1, 127]


def test_real_numbers_that_integers_mean(compute, integers):
    assert compute("DEQUANTIZE", [integers([3, -5], 0.25, -1)], None, "xnnpack") == [1.0, -1.0]


@pytest.mark.parametrize("name", ARITHMETIC)
@pytest.mark.parametrize("kernels", ["xnnpack", "reference"])
@pytest.mark.parametrize("graph", [False, True])
def test_random_files_compute_the_same(name, kernels, graph):
    count = random_operations.check(
        random_operations.GENERATORS[name],
        random_operations.kernel_of(name),
        kernels,
        3,
        seed=1 + graph,
        graph=graph,
    )
    assert count.values > 500
    assert count.differing == 0


def test_every_generator_is_tested():
    names = random_operations.arithmetic.GENERATORS
    rest = {name for name in names if name.split(maxsplit=1)[0] not in LINEAR}
    assert rest == set(ARITHMETIC)
