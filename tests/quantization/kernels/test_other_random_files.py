import pytest
import random_operations

FUNCTIONS = [
    *("LOGISTIC INT8", "LOGISTIC INT16", "TANH INT8", "TANH INT16", "HARD_SWISH INT8", "ELU INT8"),
    *("ABS INT8", "ABS INT16", "EXP INT8", "EXP INT16", "NEG INT8", "GELU INT8"),
    *("LEAKY_RELU INT8", "LEAKY_RELU INT16", "RSQRT INT8", "RSQRT INT16", "LOG INT8", "LOG INT16"),
    *("SQRT INT8", "SQRT INT16", "GELU INT16", "NEG INT16", "DIV INT16"),
    *("SOFTMAX INT8", "SOFTMAX INT16", "LOG_SOFTMAX INT8", "PRELU INT8", "L2_NORMALIZATION INT8"),
    *("AVERAGE_POOL_2D INT8", "AVERAGE_POOL_2D INT16", "MAX_POOL_2D INT8", "MAX_POOL_2D INT16"),
    *("MEAN INT8", "MEAN INT16", "MEAN 4D INT8", "MEAN 4D INT16", "MEAN 4D same INT8"),
    *("SUM INT8", "SUM INT16", "REDUCE_PROD INT8", "REDUCE_PROD INT16"),
    *("REDUCE_MAX INT8", "REDUCE_MAX INT16", "REDUCE_MIN INT8", "REDUCE_MIN INT16"),
    *("RESIZE_BILINEAR INT8", "RESIZE_BILINEAR INT16"),
    *("RESIZE_NEAREST_NEIGHBOR INT8", "RESIZE_NEAREST_NEIGHBOR INT16"),
    *("SQUARED_DIFFERENCE INT8", "DIV INT8", "RELU INT8", "RELU INT16", "RELU6 INT8"),
    *("RELU6 INT16", "RELU_N1_TO_1 INT8", "RELU_0_TO_1 INT8", "RELU same INT8", "RELU6 same INT8"),
]


# XNNPACK computes these itself.
TAKEN = ("LOGISTIC", "TANH", "ELU", "LEAKY_RELU", "MAX_POOL_2D", "MEAN", "SUM", "RESIZE_BILINEAR")


def differing(name, kernels, graph):
    assert random_operations.runs([name], [kernels])
    generator, kernel = random_operations.GENERATORS[name], random_operations.kernel_of(name)
    count = random_operations.check(generator, kernel, kernels, 2, seed=1, graph=graph)
    assert count.values >= 8
    return count.differing


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_equal_xnnpack(name):
    assert differing(name, "xnnpack", graph=False) == 0


@pytest.mark.parametrize("name", [name for name in FUNCTIONS if name.split()[0] in TAKEN])
def test_functions_equal_xnnpack_in_a_graph(name):
    assert differing(name, "xnnpack", graph=True) == 0


@pytest.mark.parametrize(
    "name", [name for name in FUNCTIONS if name.split()[0] not in ("ELU", "SUM")]
)
def test_functions_equal_the_reference_in_a_graph(name):
    assert differing(name, "reference", graph=True) == 0


@pytest.mark.parametrize("kernels", ["xnnpack", "reference"])
def test_moves_are_the_same_everywhere(kernels):
    for name in random_operations.moves.GENERATORS:
        assert differing(name, kernels, graph=False) == 0, name


def test_every_generator_is_tested():
    assert set(random_operations.functions.GENERATORS) == set(FUNCTIONS)
