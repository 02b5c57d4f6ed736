"""The operations of ``structural.py`` on integers.

All real tensors of such an operation have one grid. Only the filling of PAD needs it.
"""

import tensorflow as tf

from tfcompress.quantization.kernels import structural
from tfcompress.quantization.kernels.grids import Integers


def _values(inputs):
    """Plain tensors of all inputs."""
    return [entry.values if isinstance(entry, Integers) else entry for entry in inputs]


def _on_integers(function):
    """Make an integer kernel of one that only moves or chooses values."""

    def kernel(operation, inputs, grids, kernels):
        return function(operation, _values(inputs), None)

    return kernel


def _pad(operation, inputs, grids, kernels):
    """PAD with the zero point, PADV2 with a value."""
    value, paddings = inputs[:2]
    filling = value.grid.zero_point if len(inputs) < 3 else tf.reshape(_values(inputs)[2], [])
    return [structural.padded(value.values, paddings, filling)]


# ZEROS_LIKE has no integer kernel.
_MOVES = {name: kernel for name, kernel in structural.MOVES.items() if name != "ZEROS_LIKE"}
_PLACES = ("SHAPE", "RANK", "ARG_MAX", "ARG_MIN")

MOVING = {
    **{name: _on_integers(function) for name, function in _MOVES.items()},
    **{name: _on_integers(structural.INDICES[name]) for name in _PLACES},
    "PAD": _pad,
    "PADV2": _pad,
}
