import pytest

from tfcompress.quantization.kernels.registry import INTEGER

KERNELS = ["xnnpack", "reference"]


@pytest.fixture
def compute(operation):
    def run(name, inputs, grid, kernels, **options):
        (found,) = INTEGER[name](operation(name, **options), inputs, [grid], kernels)
        return found.numpy().tolist()

    return run


@pytest.mark.parametrize("kernels", KERNELS)
def test_relu_moves_to_another_grid_and_clamps(compute, integers, grid, kernels):
    # Real numbers -1, 2, 5 and 8 on a grid of 0.25 around -20.
    taken = [integers([-12, -6, 0, 6], 0.5, -10)]
    assert compute("RELU", taken, grid(0.25, -20), kernels) == [-20, -12, 0, 12]
    assert compute("RELU6", taken, grid(0.25, -20), kernels) == [-20, -12, 0, 4]
    assert compute("RELU_N1_TO_1", taken, grid(0.25, -20), kernels) == [-24, -16, -16, -16]
    assert compute("RELU_0_TO_1", taken, grid(0.25, -20), kernels) == [-20, -16, -16, -16]


def test_negative_halves(compute, integers, grid):
    # -0.5 and -1.5: XNNPACK takes halves up, the reference kernels away from zero.
    taken = [integers([3, -2, -4, -6], 1.0)]
    assert compute("LEAKY_RELU", taken, grid(1.0), "xnnpack", alpha=0.25) == [3, 0, -1, -1]
    assert compute("LEAKY_RELU", taken, grid(1.0), "reference", alpha=0.25) == [3, -1, -1, -2]


@pytest.mark.parametrize("kernels", KERNELS)
def test_slopes_per_channel(compute, integers, grid, kernels):
    taken = [integers([[-8, -8], [4, 4]], 0.5), integers([64, 32], 1 / 128)]
    assert compute("PRELU", taken, grid(0.5), kernels) == [[-4, -2], [4, 4]]


@pytest.mark.parametrize("kernels", KERNELS)
def test_sigmoid_and_tanh(compute, integers, grid, kernels):
    # sigmoid(0) = 128 / 256, sigmoid(2) = 225.5 / 256; tanh(2) = 123.4 / 128.
    taken = [integers([0, 4, -4, 127], 0.5)]
    assert compute("LOGISTIC", taken, grid(1 / 256, -128), kernels) == [0, 97, -97, 127]
    assert compute("TANH", taken, grid(1 / 128), kernels) == [0, 123, -123, 127]


@pytest.mark.parametrize("kernels", KERNELS)
def test_hard_swish(compute, integers, grid, kernels):
    # x * relu6(x + 3) / 6 at -4, -1.5, 0, 1.5 and 4.
    taken = [integers([-64, -24, 0, 24, 64], 1 / 16)]
    assert compute("HARD_SWISH", taken, grid(1 / 16), kernels) == [0, -6, 0, 18, 64]


@pytest.mark.parametrize("kernels", KERNELS)
def test_elementary_functions(compute, integers, grid, kernels):
    taken = [integers([16, 4, 1], 1.0, 0)]
    assert compute("RSQRT", taken, grid(0.25), kernels) == [1, 2, 4]
    assert compute("LOG", taken, grid(0.1), kernels) == [28, 14, 0]
    assert compute("EXP", [integers([0, 2, 4], 0.5)], grid(0.1), kernels) == [10, 27, 74]
    assert compute("ABS", [integers([-3, 3], 1.0, 1)], grid(0.5, -9), kernels) == [-1, -5]
    assert compute("GELU", [integers([0, 20, -20], 0.1)], grid(0.1), kernels) == [0, 20, 0]


@pytest.mark.parametrize("kernels", KERNELS)
def test_rows_become_probabilities(compute, integers, grid, kernels):
    # One of four equal values is 64 / 256; 0 beside -ln 3 is 3/4.
    equal = [integers([[5, 5, 5, 5]], 0.1)]
    assert compute("SOFTMAX", equal, grid(1 / 256, -128), kernels, beta=1.0) == [[-64] * 4]
    pair = [integers([[0, -10]], 0.109861)]
    assert compute("SOFTMAX", pair, grid(1 / 256, -128), kernels, beta=1.0) == [[64, -64]]
    assert compute("LOG_SOFTMAX", pair, grid(1 / 16, 127), kernels) == [[122, 105]]


@pytest.mark.parametrize("kernels", KERNELS)
def test_softmax_of_16_bits(compute, integers, grid, kernels):
    taken = [integers([[7, 7]], 0.01, dtype="INT16")]
    unit = grid(1 / 32768, dtype="INT16")
    assert compute("SOFTMAX", taken, unit, kernels, beta=1.0) == [[16384, 16384]]


@pytest.mark.parametrize("kernels", KERNELS)
def test_rows_of_length_one(compute, integers, grid, kernels):
    # 3, 4 of length 5: 0.6 and 0.8 in steps of 1/128, with a zero point of 10.
    taken = [integers([[13, 14]], 0.3, 10)]
    assert compute("L2_NORMALIZATION", taken, grid(1 / 128), kernels) == [[77, 102]]


@pytest.mark.parametrize("kernels", KERNELS)
def test_quotients_and_squared_differences(compute, integers, grid, kernels):
    taken = [integers([12, -9], 0.5, 0), integers([4, 3], 0.25)]
    assert compute("DIV", taken, grid(0.5), kernels) == [12, -12]
    taken = [integers([5, -3], 1.0, 1), integers([2, 2], 1.0)]
    assert compute("SQUARED_DIFFERENCE", taken, grid(1.0, -8), kernels) == [-4, 28]


@pytest.mark.parametrize("kernels", KERNELS)
def test_numbers_on_two_grids_are_compared(operation, integers, kernels):
    taken = [integers([4, 4, 4], 0.25), integers([3, 2, 1], 0.5)]
    expected = {"GREATER": [False, False, True], "EQUAL": [False, True, False]}
    for name, truths in expected.items():
        (found,) = INTEGER[name](operation(name), taken, [None], kernels)
        assert found.numpy().tolist() == truths
