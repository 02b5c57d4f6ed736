"""Rectifiers on integers: each value by a factor that depends on its sign, then limits.

XNNPACK takes LEAKY_RELU. The other built-in kernels equal the reference kernels: both multiply in
fixed point by factors made in float32. Those of TFLite Micro make them in float64.
"""

import tensorflow as tf

from tfcompress.quantization.kernels.grids import less_zero_point
from tfcompress.quantization.kernels.requantization import (
    activation_limits,
    clamped,
    factor_in_float32,
    factor_in_float64,
    fixed_point_multiplier,
    multiply_fixed_point,
    product_in_float32,
    quotient,
    round_half_away,
)


def _rescaled(steps, real):
    """Multiply int32 steps by a float64 factor, as the built-in kernels do."""
    return multiply_fixed_point(steps, *fixed_point_multiplier(real))


def _relu(lowest, highest, factor=factor_in_float32):
    """Make the kernel of RELU and the like: move to the output's grid, then clamp."""

    def kernel(operation, inputs, grids, kernels):
        taken, grid = inputs[0], grids[0]
        real = factor(grid.scale, taken.grid.scale)
        steps = _rescaled(tf.cast(less_zero_point(taken), tf.int32), real)
        limits = [
            float("inf")
            if limit is None
            else round_half_away(quotient(tf.constant(limit), grid.scale))
            for limit in (lowest, highest)
        ]
        steps = tf.clip_by_value(tf.cast(steps, tf.float32), *limits)
        return [_on_grid(steps, grid)]

    return kernel


def _relu6_on_one_grid(operation, inputs, grids, kernels):
    """RELU6 of TFLite Micro: clamp on the input's grid, whatever the output's is."""
    limits = activation_limits("RELU6", inputs[0].grid, "reference")
    return [tf.clip_by_value(inputs[0].values, *limits)]


def _leaky_relu(operation, inputs, grids, kernels):
    """LEAKY_RELU."""
    taken, grid = inputs[0], grids[0]

    def built_in():
        return _leaky_in_fixed_point(operation, taken, grid, factor_in_float32)

    if kernels != "xnnpack" or grid.dtype != "INT8":
        return [built_in()]
    identity = tf.cast(factor_in_float32(grid.scale, taken.grid.scale), tf.float32)
    below = tf.cast(product_in_float32(identity, operation.options["alpha"]), tf.float32)

    def by_xnnpack():
        values = less_zero_point(taken)
        factors = tf.round(256.0 * tf.where(values >= 0, identity, below))
        steps = tf.floor((values * factors + 128.0) * 2.0**-8)
        return clamped(steps, "NONE", grid, "xnnpack")

    taken_over = (identity >= 2.0**-8) & (identity <= 2.0**7)
    taken_over &= (below >= -(2.0**7) + 2.0**-8) & (below <= 2.0**7)
    taken_over &= tf.abs(below) >= 2.0**-8
    return [tf.cond(taken_over, by_xnnpack, built_in)]


def _leaky_relu_by_float64_factors(operation, inputs, grids, kernels):
    """LEAKY_RELU of TFLite Micro."""
    return [_leaky_in_fixed_point(operation, inputs[0], grids[0], factor_in_float64)]


def _leaky_in_fixed_point(operation, taken, grid, factor):
    """Multiply what is below zero by one factor and the rest by another."""
    alpha = operation.options["alpha"]
    below = factor(grid.scale, taken.grid.scale, tf.constant(abs(alpha), tf.float32))
    steps = tf.cast(less_zero_point(taken), tf.int32)
    negative = _rescaled(steps, below)
    negative = -negative if alpha < 0 else negative
    positive = _rescaled(steps, factor(grid.scale, taken.grid.scale))
    return _on_grid(tf.where(steps >= 0, positive, negative), grid)


def _prelu(factor):
    """Make the kernel of PRELU."""

    def kernel(operation, inputs, grids, kernels):
        taken, slope = inputs
        grid = grids[0]
        identity = factor(grid.scale, taken.grid.scale)
        below = factor(grid.scale, taken.grid.scale, slope.grid.scale)
        values = tf.cast(less_zero_point(taken), tf.int32)
        slopes = tf.cast(less_zero_point(slope), tf.int32)
        negative = _rescaled(values * slopes, below)
        return [_on_grid(tf.where(values >= 0, _rescaled(values, identity), negative), grid)]

    return kernel


def _abs(factor):
    """Make the kernel of ABS."""

    def kernel(operation, inputs, grids, kernels):
        taken, grid = inputs[0], grids[0]
        steps = tf.cast(tf.abs(less_zero_point(taken)), tf.int32)
        return [_on_grid(_rescaled(steps, factor(grid.scale, taken.grid.scale)), grid)]

    return kernel


def _on_grid(steps, grid):
    """Add the zero point and keep the type's range."""
    return clamped(steps, "NONE", grid, "reference")


RECTIFIERS = {
    "RELU": _relu(0.0, None),
    "RELU6": _relu(0.0, 6.0),
    "RELU_N1_TO_1": _relu(-1.0, 1.0),
    "RELU_0_TO_1": _relu(0.0, 1.0),
    "LEAKY_RELU": _leaky_relu,
    "PRELU": _prelu(factor_in_float32),
    "ABS": _abs(factor_in_float32),
}
MICRO_RECTIFIERS = {
    "RELU": _relu(0.0, None, factor_in_float64),
    "RELU6": _relu6_on_one_grid,
    "LEAKY_RELU": _leaky_relu_by_float64_factors,
    "PRELU": _prelu(factor_in_float64),
    "ABS": _abs(factor_in_float64),
}
