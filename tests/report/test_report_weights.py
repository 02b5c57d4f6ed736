import numpy as np
import pytest

from tfcompress.report.weights import (
    Histogram,
    file_sparsity,
    histogram,
    operation_weights,
    real_values,
)
from tfcompress.tflite.flatbuffer import read_model


def test_a_histogram_counts_on_a_symmetric_range_and_leaves_zeros_out():
    arrays = [np.array([[-2.0, 0.0]]), np.array([0.9, 1.1, 0.0])]
    assert histogram(arrays, bins=4) == Histogram(-2.0, 2.0, (1, 0, 1, 1))
    assert histogram([np.zeros(3)]) is None


def kernel_of(model, place):
    """The kernel tensor of the operation at a place, and the operation."""
    operation = model.subgraphs[0].operations[place]
    return model.subgraphs[0].tensors[operation.inputs[1]], operation


def test_float_weights_are_those_of_the_model(made):
    model = read_model(made.float32)
    kernel, operation = kernel_of(model, 1)
    expected = np.moveaxis(made.model.get_layer("conv_1").kernel.numpy(), -1, 0)
    np.testing.assert_allclose(real_values(model, kernel), expected, rtol=1e-6)
    weights = operation_weights(model, operation)
    assert (weights.count, weights.zeros, weights.bits) == (432, 216, 32)
    assert weights.distinct == 217  # zero is one of them
    assert sum(weights.histogram.counts) == 216


def test_int8_weights_stand_for_real_numbers_through_a_scale_for_each_channel(made):
    model = read_model(made.int8)
    place = next(
        op.index for op in model.subgraphs[0].operations if kernel_of_shape(model, op, (8, 3, 3, 6))
    )
    kernel, operation = kernel_of(model, place)
    assert len(kernel.quantization.scales) == 8
    expected = np.moveaxis(made.model.get_layer("conv_1").kernel.numpy(), -1, 0)
    half_a_step = np.array(kernel.quantization.scales).reshape(-1, 1, 1, 1) / 2
    assert (np.abs(real_values(model, kernel) - expected) <= 1.01 * half_a_step).all()
    weights = operation_weights(model, operation)
    assert weights.bits == 8
    assert weights.sparsity >= 0.5
    assert weights.histogram.high == pytest.approx(np.abs(expected).max(), rel=0.01)


def kernel_of_shape(model, operation, shape):
    tensors = model.subgraphs[0].tensors
    return len(operation.inputs) > 1 and tensors[operation.inputs[1]].shape == shape


def test_the_sparsity_of_a_file_is_that_of_all_its_weights(made):
    kernels = [w for w in made.model.get_weights() if w.ndim > 1]
    zeros = sum((kernel == 0).sum() for kernel in kernels)
    expected = zeros / sum(kernel.size for kernel in kernels)
    assert file_sparsity(read_model(made.float32)) == pytest.approx(expected)


def test_an_operation_without_weights_has_none(made):
    model = read_model(made.float32)
    mean = next(op for op in model.subgraphs[0].operations if op.name == "MEAN")
    assert operation_weights(model, mean) is None
