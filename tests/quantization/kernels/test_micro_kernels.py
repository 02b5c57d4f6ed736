"""TFLite Micro's kernels: where they differ from the reference set, and against its interpreter."""

import importlib
import importlib.util

import pytest
import random_operations

from tfcompress.quantization.kernels.registry import INTEGER, KERNEL_SETS, has_integer_kernel
from tfcompress.quantization.scheme import KERNELS

needs_micro = pytest.mark.skipif(
    importlib.util.find_spec("tflite_micro") is None,
    reason="tflite-micro is not installed: pip install '.[micro]'",
)
# Their quotient lies a little below 3 / 2; rounded to float32 it is 3 / 2.
SCALE, OUTPUT_SCALE = 0.000118184820166789, 7.878988253651187e-05


@pytest.fixture
def compute(operation):
    def run(kernels, name, inputs, grid, **options):
        return INTEGER[name](operation(name, **options), inputs, [grid], kernels)[0].numpy()

    return run


def test_schemes_name_the_kernel_sets():
    assert tuple(KERNEL_SETS) == KERNELS


def test_fully_connected_rounds_twice(compute, integers, grid):
    # 0.49999998 is rounded to a half, and that to one.
    inputs = [integers([[1]], 0.49999997), integers([[1]], 1.0), None]
    found = {
        kernels: compute(kernels, "FULLY_CONNECTED", inputs, grid(1.0), keep_num_dims=False)
        for kernels in ("reference", "micro")
    }
    assert found == {"reference": [[0]], "micro": [[1]]}


def test_fully_connected_with_16_bits_has_15_bits_of_the_factor(compute, integers, grid):
    # The factor 1 - 2**-20 is 32767 / 32768 in 15 bits: 20000 * 32767 / 32768 is 19999.39.
    scale = 1 - 2.0**-20
    inputs = [integers([[20000]], scale, dtype="INT16"), integers([[1]], 1.0), None]
    output = grid(1.0, dtype="INT16")
    found = [
        compute(kernels, "FULLY_CONNECTED", inputs, output, keep_num_dims=False).item()
        for kernels in ("reference", "micro")
    ]
    assert found == [20000, 19999]


@pytest.mark.parametrize("name", ["RELU", "LEAKY_RELU", "ABS"])
def test_factors_are_made_in_float64(compute, integers, grid, name):
    # 515 * 3 / 2 is 772.5.
    inputs, output = [integers([515], SCALE, dtype="INT16")], grid(OUTPUT_SCALE, dtype="INT16")
    found = [
        compute(kernels, name, inputs, output, alpha=0.25).item()
        for kernels in ("reference", "micro")
    ]
    assert found == [773, 772]


def test_products_are_scaled_in_float64(compute, integers, grid):
    inputs = [integers([515], SCALE, dtype="INT16"), integers([1], 1.0, dtype="INT16")]
    output = grid(OUTPUT_SCALE, dtype="INT16")
    found = [compute(kernels, "MUL", inputs, output).item() for kernels in ("reference", "micro")]
    assert found == [773, 772]


def test_relu6_clamps_on_the_grid_of_its_input(compute, integers, grid):
    taken = integers([-128, -10, 30, 127], 0.1, -10)
    same = compute("micro", "RELU6", [taken], grid(0.1, -10))
    assert same.tolist() == compute("reference", "RELU6", [taken], grid(0.1, -10)).tolist()
    assert same.tolist() == [-10, -10, 30, 50]
    assert compute("micro", "RELU6", [taken], grid(0.05, 3)).tolist() == [-10, -10, 30, 50]


def test_inverse_roots_with_16_bits(compute, integers, grid):
    steps = integers([0, 1, 4, 10000], 1.0, dtype="INT16")
    found = compute("micro", "RSQRT", [steps], grid(2.0**-14, dtype="INT16"))
    assert found.tolist() == [32767, 16384, 8192, 164]


@pytest.mark.parametrize(
    ("name", "dtype"), [("EXP", "INT8"), ("TILE", "INT8"), ("LESS", "INT16"), ("GREATER", "INT16")]
)
def test_what_micro_lacks(name, dtype):
    assert has_integer_kernel(name, dtype, "reference")
    assert not has_integer_kernel(name, dtype, "micro")


def test_what_only_micro_and_xnnpack_have():
    found = [has_integer_kernel("SUM", "INT8", kernels) for kernels in KERNEL_SETS]
    assert found == [True, False, True]


@needs_micro
@pytest.mark.parametrize(
    ("kind", "operations"), [("arithmetic", 30), ("functions", 41), ("moves", 55)]
)
@pytest.mark.parametrize("graph", [False, True])
def test_random_files_compute_the_same(kind, operations, graph):
    names = getattr(random_operations, kind).GENERATORS
    found = {
        name: random_operations.check(
            names[name], random_operations.kernel_of(name), "micro", 2, seed=3 + graph, graph=graph
        )
        for name, _ in random_operations.runs(names, ["micro"])
    }
    assert len(found) == operations
    assert min(count.values for count in found.values()) >= 8
    assert {name: count for name, count in found.items() if count.differing} == {}
