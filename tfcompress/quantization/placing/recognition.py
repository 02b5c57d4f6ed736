"""Recognising the tensors of a converted file among those of the model that it was made of.

The converter names a fused tensor after any of its parts, so names cannot tell a convolution's
output from that of the BatchNormalization behind it. Values can.
"""

import dataclasses
from collections.abc import Iterable

import numpy as np

from tfcompress.graph.taps import TapPoint
from tfcompress.tflite.model import Operation

# What a rectifier that is fused into another operation is called in a TensorFlow graph.
_FUSED = {"RELU": "Relu", "RELU6": "Relu6"}

# Relative to the largest value: what float rounding alone can make of a tensor, and what it cannot.
_SAME = 5e-6
_DIFFERENT = 1e-2


@dataclasses.dataclass(frozen=True)
class Candidate:
    """A tensor of the float model that could have a range.

    Attributes:
        point: where the model hands it out.
        kind: the type of the TensorFlow operation that makes it.
        value: its value in the run.
        ends: its smallest and its largest value.
    """

    point: TapPoint
    kind: str
    value: np.ndarray
    ends: tuple[float, float]


class Candidates:
    """The tensors of a float model, to be recognised by their values in its file."""

    def __init__(self, candidates: Iterable[Candidate]):
        self._by_size: dict[int, list[Candidate]] = {}
        for candidate in candidates:
            self._by_size.setdefault(candidate.value.size, []).append(candidate)
        self._taken: set[TapPoint] = set()

    def recognise(self, value: np.ndarray | None, operation: Operation) -> TapPoint | None:
        """Find the point that hands out a tensor of the file.

        Args:
            value: the tensor's value; None if it has none.
            operation: the operation that makes it.

        Returns:
            The point, or None. Of several with equal values the first one that no other tensor of
            the file has been: later ones only pass it on.
        """
        if value is None:
            return None
        least, near = self._nearest(value)
        fused = operation.options.get("fused_activation_function")
        if fused in _FUSED:
            # A rectifier that changes nothing on this input is still the last to touch the tensor.
            near = [candidate for candidate in near if candidate.kind == _FUSED[fused]] or near
        points = [candidate.point for candidate in near]
        if not points:
            return None
        if least > _SAME:  # the file has no such tensor: a bias is added elsewhere in it
            return points[0]
        point = next((point for point in points if point not in self._taken), points[0])
        self._taken.add(point)
        return point

    def _nearest(self, value):
        flat = value.ravel()
        ends = (flat.min(), flat.max())
        size = max(abs(ends[0]), abs(ends[1]), 1e-6)
        found = []
        for candidate in self._by_size.get(flat.size, ()):
            apart = max(abs(a - b) for a, b in zip(candidate.ends, ends, strict=True))
            if apart <= _DIFFERENT * size:
                difference = np.max(np.abs(candidate.value.ravel() - flat)) / size
                found.append((difference, candidate))
        least = min((difference for difference, _ in found), default=np.inf)
        if not least <= _DIFFERENT:
            return least, []
        return least, [candidate for difference, candidate in found if difference <= least + _SAME]
