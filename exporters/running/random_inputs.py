"""Random inputs for a file that is run for its time or its sameness, not for its answers."""

from collections.abc import Sequence

import numpy as np

from exporters.running.ports import Port


def random_inputs(ports: Sequence[Port], seed: int) -> list[np.ndarray]:
    """Make an input that a file takes: numbers over the whole range of small integer types.

    Args:
        ports: the file's inputs.
        seed: of the numbers.

    Returns:
        An array for each input. Wide integers, which are mostly indices, are 0.
    """
    generator = np.random.default_rng(seed)

    def values(port: Port) -> np.ndarray:
        if port.dtype.kind == "f":
            return generator.standard_normal(port.shape).astype(port.dtype)
        if port.dtype.kind in "iu" and port.dtype.itemsize <= 2:
            span = np.iinfo(port.dtype)
            return generator.integers(span.min, span.max, port.shape, port.dtype, endpoint=True)
        return np.full(port.shape, b"" if port.dtype.kind == "O" else 0, port.dtype)

    return [values(port) for port in ports]
