import math

import numpy as np

from exporters.layer_parity import _partners
from tfcompress.tflite.model import Operation, Subgraph, Tensor
from tfcompress.tflite.numerics import sqnr


def graph(*names, dtype="FLOAT32", shape=(1, 4)):
    """A chain of operations, each giving a tensor of the name."""
    tensors = tuple(
        Tensor(i, name, shape, dtype, None, False, 0, False, shape) for i, name in enumerate(names)
    )
    operations = tuple(Operation(i, "OP", 1, (i,), (i + 1,), {}) for i in range(len(names) - 1))
    return Subgraph(0, "main", tensors, operations, (0,), (len(names) - 1,))


def test_the_ratio_of_power_is_in_decibels():
    assert sqnr(np.array([1.0, 2.0]), np.array([1.0, 1.5])) == 10 * math.log10(5 / 0.25)
    assert sqnr(np.array([1.0]), np.array([1.0])) == math.inf


def test_tensors_are_matched_by_name_then_by_layer_and_node():
    own = graph("x", "m/act_1/Relu6;m/norm_1/add_4;m/conv_1/convolution", "m/sum_1/add_2", "out")
    other = graph("x", "m/act_1/Relu6;m/norm_1/batchnorm/mul", "m/sum_1/inner/add_1", "scores")
    assert _partners(own, other) == {0: 0, 1: 1, 2: 2, 3: 3}


def test_what_leaves_a_choice_is_not_matched():
    own = graph("x", "m/block/add_1", "m/act/Relu", "out")
    two = graph("x", "m/block/add", "m/block/add_7", "m/act/Sigmoid", "y")
    assert _partners(own, two) == {0: 0, 3: 4}
