"""Whether a rebuilt model computes what its original does: seen by running both."""

import numpy as np
from tensorflow import nest

from tfcompress.compat.tf_keras_models import input_structure

_EXAMPLES = 2
_FREE_SIZE = 32
# Shares of the largest output: two implementations of one layer round differently, no more.
_TOLERANCE = {"float16": 2e-2, "bfloat16": 1e-1}
_FLOAT32_TOLERANCE = 1e-4


def unequal_outputs(guest, rebuilt, example=None) -> str:
    """Compare the outputs of two models on one batch, at inference.

    Args:
        guest: a tf_keras model.
        rebuilt: a Keras 3 model with the same inputs and outputs.
        example: what both take; random numbers by default, and 0 and 1 for integer inputs.

    Returns:
        What differs, or nothing.
    """
    example = _random_inputs(guest) if example is None else example
    expected = _arrays(guest(example, training=False))
    found = _arrays(rebuilt(example, training=False))
    for place, (own, theirs) in enumerate(zip(found, expected, strict=True)):
        if own.shape != theirs.shape:
            return f"output {place} has the shape {own.shape} instead of {theirs.shape}"
        largest = float(np.abs(theirs).max(initial=1e-6))
        tolerance = _TOLERANCE.get(guest.compute_dtype, _FLOAT32_TOLERANCE) * largest
        if not np.allclose(own, theirs, rtol=0, atol=tolerance, equal_nan=True):
            return (
                f"output {place} differs by up to {np.abs(own - theirs).max():.3g}, where the "
                f"largest value is {largest:.3g}"
            )
    return ""


def _random_inputs(guest):
    """Make a batch for a model's inputs, in its own structure."""
    generator = np.random.default_rng(0)
    return nest.map_structure(lambda tensor: _random(generator, tensor), input_structure(guest))


def _random(generator, tensor) -> np.ndarray:
    free, *rest = tensor.shape
    shape = (free or _EXAMPLES, *(size or _FREE_SIZE for size in rest))
    if tensor.dtype.is_floating:
        return generator.standard_normal(shape).astype(tensor.dtype.as_numpy_dtype)
    return generator.integers(0, 2, shape).astype(tensor.dtype.as_numpy_dtype)


def _arrays(outputs) -> list[np.ndarray]:
    """List outputs in the order in which tf_keras and Keras both flatten them."""
    return [np.asarray(output, np.float64) for output in nest.flatten(outputs)]
