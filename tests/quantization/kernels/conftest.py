"""Builds operations and tensors."""

import numpy as np
import pytest
import tensorflow as tf

from tfcompress.quantization.kernels.grids import Grid, Integers
from tfcompress.tflite.model import Operation


@pytest.fixture
def operation():
    def build(name, **options):
        return Operation(0, name, 1, (), (), {"fused_activation_function": "NONE"} | options)

    return build


@pytest.fixture
def grid():
    def build(scale, zero_point=0, dtype="INT8", axis=0):
        return Grid(tf.constant(scale, tf.float32), tf.constant(zero_point), dtype, axis)

    return build


@pytest.fixture
def integers(grid):
    def build(values, *args, **fields):
        described = grid(*args, **fields)
        wide = {"INT32": "int32", "INT64": "int64"}.get(described.dtype, "float32")
        return Integers(tf.constant(np.asarray(values), wide), described)

    return build
