"""Looking at, and changing, what a quantization-aware model computes, after it was rounded."""

import contextlib

from tfcompress.graph.taps import Tap
from tfcompress.quantization.phase import Phase
from tfcompress.quantization.quantize_aware import QuantizeAware


class _TappedTwice:
    """Taps whose every value is offered to a second function, after the first has rounded it."""

    def __init__(self, taps, tap: Tap):
        self._taps, self._tap = taps, tap

    def active(self, tap, wrap=None):
        def both(point, tensor, **how):
            rounded = tap(point, tensor, **how)
            replaced = self._tap(point, rounded)
            return rounded if replaced is rounded else tap(point, replaced, **how)

        return self._taps.active(both, wrap)


@contextlib.contextmanager
def tapped(quantized: QuantizeAware, tap: Tap):
    """Offer each tensor of a quantization-aware model to a function while the block runs.

    Calls inside the block must be eager or traced anew: a compiled step takes no notice.

    Args:
        quantized: the model.
        tap: takes a ``TapPoint`` and the tensor, rounded if the device stores it; returns the
            tensor to go on with, of the same shape and dtype, which is rounded as well.

    Example:
    >>> seen = {}
    >>> with tapped(quantized, lambda point, x: seen.setdefault(point, x)):
    ...     quantized(images, training=False)
    """
    taps = quantized._taps
    quantized._taps = _TappedTwice(taps, tap)
    try:
        yield
    finally:
        quantized._taps = taps


def run_in_float(quantized: QuantizeAware, inputs):
    """Run a quantization-aware model with nothing rounded, its inner tensors in sight.

    Args:
        quantized: the model.
        inputs: what it takes.

    Returns:
        What it gives.
    """
    phase = Phase(rounding=False, ranges_move=False)
    return quantized._run(inputs, False, None, phase, lambda point, tensor, **how: tensor)
