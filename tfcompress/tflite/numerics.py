"""Between real numbers and a file's integers, rounded as the runtimes round."""

import numpy as np


def round_half_away(values: np.ndarray) -> np.ndarray:
    """Round to integers, halves away from zero: C's ``round``, which the QUANTIZE kernel uses.

    Args:
        values: floats, any shape.

    Returns:
        Floats of the same type that are whole numbers.

    Example:
    ```python
    round_half_away(np.array([0.5, -0.5, 1.5, 2.5]))  # [1, -1, 2, 3], where numpy has 0, 0, 2, 2
    ```
    """
    whole = np.trunc(values)
    # values - whole is exact, values + 0.5 is not: 0.49999997 + 0.5 is 1 in float32.
    return whole + np.copysign(np.abs(values - whole) >= 0.5, values)


def quantize(values: np.ndarray, scale: float, zero_point: int, dtype) -> np.ndarray:
    """Turn real numbers into a tensor's integers.

    Args:
        values: real numbers, any shape.
        scale: the tensor's scale.
        zero_point: the tensor's zero point.
        dtype: the tensor's integer type.

    Returns:
        ``round(values / scale) + zero_point``, clipped to the type.

    Raises:
        ValueError: a value is not finite.
    """
    values = np.asarray(values, np.float32)
    if not np.isfinite(values).all():
        raise ValueError(
            "Only finite numbers can be quantized. Received: "
            f"{int((~np.isfinite(values)).sum())} NaN or infinite values of {values.size}"
        )
    range_ = np.iinfo(dtype)
    integers = round_half_away(values / np.float32(scale)).astype(np.float64) + zero_point
    return np.clip(integers, range_.min, range_.max).astype(dtype)


def dequantize(integers: np.ndarray, scale: float, zero_point: int) -> np.ndarray:
    """Turn a tensor's integers into real numbers.

    Args:
        integers: any shape.
        scale: the tensor's scale.
        zero_point: the tensor's zero point.

    Returns:
        float32 ``scale * (integers - zero_point)``.
    """
    return np.float32(scale) * (integers.astype(np.int64) - zero_point).astype(np.float32)
