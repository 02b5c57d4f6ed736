"""Sparsity patterns: which weights are masked together.

A pattern pools the scores of weights into scores of groups, and spreads a decision about groups
back to the weights. Every docstring shows the pattern at 50 % on this kernel of a Dense layer with
four inputs (rows) and four outputs (columns), by magnitude::

    9 2 7 1
    4 8 3 6
    5 1 8 2
    6 7 2 3
"""

import dataclasses
import math
import re
from typing import Any

import keras
import numpy as np

from tfcompress.pruning.configuration import Configuration


class Pattern(Configuration):
    """Base class of the sparsity patterns. Subclasses are frozen, serializable dataclasses."""

    def check(self, path: str, shape: tuple[int, ...], output_axes: tuple[int, ...]) -> None:
        """Raise ValueError, naming the kernel, if the pattern does not fit its shape."""

    def check_sparsity(self, final: float, highest: float) -> None:
        """Raise ValueError if the pattern cannot reach the sparsities of a schedule."""

    def pool(self, scores: np.ndarray, output_axes: tuple[int, ...]) -> np.ndarray:
        """Return a score for each group; infinite where the group must be kept.

        Args:
            scores: a score for each weight, of the kernel's shape.
            output_axes: the kernel's axes that index output channels.
        """
        raise NotImplementedError

    def spread(self, groups: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        """Return the value of its group for each weight.

        Args:
            groups: an array as returned by ``pool``.
            shape: the shape of the kernel.
        """
        raise NotImplementedError

    def sizes(self, shape: tuple[int, ...], output_axes: tuple[int, ...]) -> np.ndarray:
        """Return the number of weights of each group, in the shape that ``pool`` returns."""
        raise NotImplementedError


class _SingleWeights(Pattern):
    """A pattern whose groups are single weights."""

    def spread(self, groups: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        """Return the groups: each is a weight."""
        return groups

    def sizes(self, shape: tuple[int, ...], output_axes: tuple[int, ...]) -> np.ndarray:
        """Return ones."""
        return np.broadcast_to(np.int64(1), shape)


@keras.saving.register_keras_serializable(package="tfcompress")
@dataclasses.dataclass(frozen=True)
class Element(_SingleWeights):
    """Single weights: the most accurate pattern; few kernels run it faster.

    Example: the eight smallest of sixteen weights are masked::

        9 2 7 1      9 . 7 .
        4 8 3 6  ->  . 8 . 6
        5 1 8 2      5 . 8 .
        6 7 2 3      6 7 . .
    """

    def pool(self, scores: np.ndarray, output_axes: tuple[int, ...]) -> np.ndarray:
        """Return the scores: each weight is a group."""
        return scores


@keras.saving.register_keras_serializable(package="tfcompress")
@dataclasses.dataclass(frozen=True)
class Block(Pattern):
    """Blocks of weights of the shape that a sparse kernel loads at once.

    Args:
        shape: the size of a block along the last axes of the kernel; 1 along the axes before. In
            Keras a Dense kernel is (inputs, outputs) and a Conv2D kernel (height, width, inputs,
            outputs): (1, 4) is four outputs of one input, (16, 1) sixteen inputs of one output,
            (3, 3, 1, 1) a whole spatial filter. Blocks at the edge may be smaller.
        pooling: "average" or "max": how the scores of a block are pooled.

    Raises:
        ValueError: ``shape`` is not made of positive integers, ``pooling`` is unknown, or a kernel
            has fewer axes than the block.

    Example: blocks of (1, 2) are two neighbors in a row. Their averages are 5.5 and 4, 6 and 4.5,
    3 and 5, 6.5 and 2.5; the four smallest blocks are masked::

        9 2 7 1      9 2 . .
        4 8 3 6  ->  4 8 . .
        5 1 8 2      . . 8 2
        6 7 2 3      6 7 . .

    Their maxima are 9 and 7, 8 and 6, 5 and 8, 7 and 3; of the two at 7, the first in memory order
    is masked::

        9 2 7 1      9 2 . .
        4 8 3 6  ->  4 8 . .
        5 1 8 2      . . 8 2
        6 7 2 3      6 7 . .
    """

    shape: tuple[int, ...]
    pooling: str = "average"

    def __post_init__(self) -> None:
        # Configs hold lists.
        object.__setattr__(self, "shape", tuple(self.shape))
        if not self.shape or not all(isinstance(n, int) and n >= 1 for n in self.shape):
            raise ValueError(
                "`shape` of Block must hold positive integers, one for each of the kernel's last "
                f"axes. Received: shape={self.shape!r}"
            )
        if self.pooling not in ("average", "max"):
            raise ValueError(
                f'`pooling` of Block must be "average" or "max". Received: pooling={self.pooling!r}'
            )

    def check(self, path: str, shape: tuple[int, ...], output_axes: tuple[int, ...]) -> None:
        """Raise ValueError if a kernel has fewer axes than the block."""
        if len(self.shape) > len(shape):
            raise ValueError(
                f"Kernel {path!r} has {len(shape)} axes, fewer than the block. Use a block with at "
                f"most {len(shape)} axes, or exclude the layer with `layers=`. "
                f"Received: shape={self.shape} for a kernel of shape {shape}"
            )

    def pool(self, scores: np.ndarray, output_axes: tuple[int, ...]) -> np.ndarray:
        """Return the average or the maximum of each block."""
        if self.pooling == "max":
            return self._reduce(np.maximum, scores)
        return self._reduce(np.add, scores) / self.sizes(scores.shape, output_axes)

    def spread(self, groups: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        """Repeat each block's value over the block."""
        for axis, (block, size) in enumerate(zip(self._per_axis(len(shape)), shape, strict=True)):
            groups = np.repeat(groups, block, axis).take(range(size), axis)
        return groups

    def sizes(self, shape: tuple[int, ...], output_axes: tuple[int, ...]) -> np.ndarray:
        """Count the weights of each block."""
        return self._reduce(np.add, np.ones(shape, dtype=np.int64))

    def _per_axis(self, rank: int) -> tuple[int, ...]:
        return (1,) * (rank - len(self.shape)) + self.shape

    def _reduce(self, ufunc: np.ufunc, values: np.ndarray) -> np.ndarray:
        for axis, block in enumerate(self._per_axis(values.ndim)):
            if block > 1:
                values = ufunc.reduceat(values, np.arange(0, values.shape[axis], block), axis)
        return values


@keras.saving.register_keras_serializable(package="tfcompress")
@dataclasses.dataclass(frozen=True)
class NofM(_SingleWeights):
    """At most ``n`` of every ``m`` neighboring weights are kept: 2:4 for sparse tensor cores.

    Only the ``m - n`` smallest of each ``m`` are ever masked. Until the schedule reaches its final
    sparsity of 1 - n / m, the smallest of these are masked first.

    Args:
        n: number of weights to keep, at least 1.
        m: number of neighbors, more than ``n``.
        axis: the kernel's axis along which neighbors lie; by default its last axis that does not
            index output channels: the inputs of a Dense layer or a convolution.

    Raises:
        ValueError: ``n`` and ``m`` are not integers with 1 <= n < m; ``m`` does not divide the
            axis of a kernel, or there is no such axis; or the schedule does not end at 1 - n / m.

    Example: 2:4 along the inputs (down each column) keeps two of every four::

        9 2 7 1      9 . 7 .
        4 8 3 6  ->  . 8 . 6
        5 1 8 2      . . 8 .
        6 7 2 3      6 7 . 3

    At a sparsity of 25 %, on the way there, the four smallest of those eight are masked::

        9 2 7 1      9 . 7 .
        4 8 3 6  ->  4 8 3 6
        5 1 8 2      5 . 8 .
        6 7 2 3      6 7 2 3

    Source: Zhou et al., "Learning N:M fine-grained structured sparse neural networks", 2021.
    """

    n: int
    m: int
    axis: int | None = None

    def __post_init__(self) -> None:
        whole = all(isinstance(value, int) for value in (self.n, self.m))
        if not whole or not 1 <= self.n < self.m:
            raise ValueError(
                "NofM keeps `n` of every `m` weights and needs integers with 1 <= n < m. "
                f"Received: n={self.n!r}, m={self.m!r}"
            )

    def check(self, path: str, shape: tuple[int, ...], output_axes: tuple[int, ...]) -> None:
        """Raise ValueError if ``m`` does not divide the axis of a kernel."""
        axis = self._axis(len(shape), output_axes)
        if not -len(shape) <= axis < len(shape):
            raise ValueError(
                f"Kernel {path!r} has no axis {axis}. Received: axis={self.axis} for a kernel of "
                f"shape {shape}"
            )
        if shape[axis] % self.m:
            raise ValueError(
                f"{self.n}:{self.m} needs an axis that {self.m} divides, but axis {axis} of kernel "
                f"{path!r} has {shape[axis]} weights. Choose another axis or pattern, or exclude "
                f"the layer with `layers=`. Received: a kernel of shape {shape}"
            )

    def check_sparsity(self, final: float, highest: float) -> None:
        """Raise ValueError unless a schedule ends at the pattern's sparsity."""
        target = 1.0 - self.n / self.m
        if not math.isclose(final, target, abs_tol=1e-6) or highest > final:
            raise ValueError(
                f"A {self.n}:{self.m} sparse kernel has a sparsity of {target:.6g}: the schedule "
                "must end there and must not exceed it. "
                f"Received: a final sparsity of {final:.6g} and a peak of {highest:.6g}"
            )

    def pool(self, scores: np.ndarray, output_axes: tuple[int, ...]) -> np.ndarray:
        """Return the scores, infinite for the ``n`` largest of each ``m``."""
        axis = self._axis(scores.ndim, output_axes)
        rows = np.moveaxis(scores, axis, -1)
        neighbors = rows.reshape(*rows.shape[:-1], -1, self.m)
        order = np.argsort(neighbors, axis=-1, kind="stable")
        pooled = neighbors.astype(np.promote_types(scores.dtype, np.float32))
        np.put_along_axis(pooled, order[..., self.m - self.n :], np.inf, axis=-1)
        return np.moveaxis(pooled.reshape(rows.shape), -1, axis)

    def _axis(self, rank: int, output_axes: tuple[int, ...]) -> int:
        if self.axis is not None:
            return self.axis
        return max((axis for axis in range(rank) if axis not in output_axes), default=rank - 1)


@keras.saving.register_keras_serializable(package="tfcompress")
@dataclasses.dataclass(frozen=True)
class Channel(Pattern):
    """All the weights of an output channel: a step towards removing the channel.

    A masked channel outputs its bias. Exclude the last layer with ``layers=``: its channels are the
    model's outputs.

    Example: the columns, outputs of a Dense layer, average 6, 4.5, 5 and 3; the two smallest are
    masked::

        9 2 7 1      9 . 7 .
        4 8 3 6  ->  4 . 3 .
        5 1 8 2      5 . 8 .
        6 7 2 3      6 . 2 .

    Source: Li et al., "Pruning filters for efficient ConvNets", 2017.
    """

    def pool(self, scores: np.ndarray, output_axes: tuple[int, ...]) -> np.ndarray:
        """Return the average over each channel's weights, with the other axes kept at size 1."""
        others = tuple(axis for axis in range(scores.ndim) if axis not in output_axes)
        return scores.mean(axis=others, keepdims=True)

    def spread(self, groups: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        """Repeat each channel's value over its weights."""
        return np.broadcast_to(groups, shape)

    def sizes(self, shape: tuple[int, ...], output_axes: tuple[int, ...]) -> np.ndarray:
        """Count the weights of each channel."""
        channels = [size if axis in output_axes else 1 for axis, size in enumerate(shape)]
        return np.full(channels, math.prod(shape) // math.prod(channels), dtype=np.int64)


def as_pattern(pattern: Any) -> Pattern:
    """Return the pattern that a name, such as "2:4", or an object stands for.

    Example:
    >>> as_pattern("2:4")
    NofM(n=2, m=4, axis=None)
    """
    if isinstance(pattern, Pattern):
        return pattern
    supported = '"element", "channel", "N:M" such as "2:4", or a `Pattern` such as Block((1, 4))'
    if not isinstance(pattern, str):
        raise TypeError(
            f"`pattern` must be {supported}. "
            f"Received: pattern={pattern!r} of type {type(pattern).__name__}"
        )
    named = {"element": Element, "channel": Channel}
    if pattern in named:
        return named[pattern]()
    ratio = re.fullmatch(r"(\d+):(\d+)", pattern)
    if ratio is None:
        raise ValueError(f"`pattern` must be {supported}. Received: pattern={pattern!r}")
    return NofM(int(ratio[1]), int(ratio[2]))
