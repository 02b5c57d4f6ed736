"""When a float file and its model are alike, and when the file is wrong."""

import keras
import numpy as np
import pytest
from keras import layers as kl

from tfcompress.quantization.float_file import ConversionError, float_file
from tfcompress.quantization.float_parity import are_alike, require_right_file
from tfcompress.quantization.tracing import trace

X = np.float32([[1.0, -2.0]])


@pytest.mark.parametrize(("factor", "alike"), [(1.0, True), (1.001, True), (1.01, False)])
def test_rounding_is_told_from_another_result(factor, alike):
    assert are_alike([factor * X], lambda inputs: [X], [X]) is alike


def test_a_computation_that_magnifies_rounding_is_allowed_to():
    def steep(inputs):
        return [np.float32(inputs[0] * 1e4) ** 2 % 97.0]

    assert are_alike([steep([X])[0] * 1.01], steep, [X])


def test_what_is_not_finite_is_left_out():
    expected = np.float32([np.nan, np.inf, 2.0])
    assert are_alike([np.float32([1.0, 3.0, 2.0])], lambda inputs: [expected], [X])
    assert not are_alike([np.float32([1.0, 3.0, np.nan])], lambda inputs: [expected], [X])


def test_a_file_with_another_kernel_is_refused():
    model = keras.Sequential([keras.Input((4,)), kl.Dense(3)])
    traced = trace(model)
    weights = {name: value.numpy() for name, value in traced.weight_values().items()}
    require_right_file(model, traced, float_file(traced, weights))
    weights = {name: value + 0.5 for name, value in weights.items()}
    with pytest.raises(ConversionError, match=f"file of model '{model.name}' does not compute"):
        require_right_file(model, traced, float_file(traced, weights))
