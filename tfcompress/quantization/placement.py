"""Which tensors of a model need a range: those that the deployed graph stores.

The TFLite converter fuses, folds and removes; no list of layer patterns keeps up with it. So the
float model is converted once, the file is run once beside the Keras model on the same input, and
each tensor of the file is recognised by its values among the tensors that Keras operations hand
out. What a stored tensor needs then depends only on the TFLite operation that makes it, as the
8-bit quantization specification says
(https://ai.google.dev/edge/litert/conversion/tensorflow/quantization/quantization_spec).
"""

import dataclasses
from collections.abc import Collection, Iterable

import keras
import numpy as np
import tensorflow as tf

from tfcompress.graph.inner_tensors import is_inner_role
from tfcompress.graph.interception import VariableSwap
from tfcompress.graph.selection import walk_layers
from tfcompress.graph.taps import TappedCalls, TapPoint, walk_operations
from tfcompress.quantization.float_islands import FloatIslands, keep_float, with_inputs
from tfcompress.quantization.layer_schemes import LayerSchemes, float_paths
from tfcompress.quantization.weights import QuantizedWeights
from tfcompress.tflite import conversion
from tfcompress.tflite.flatbuffer import read_model
from tfcompress.tflite.names import layer_behind
from tfcompress.tflite.precision import list_refused
from tfcompress.tflite.probing import tensor_values

# The output has the scale of the input, which the converter carries over by itself.
# fmt: off
SAME_SCALE = frozenset({
    "AVERAGE_POOL_2D", "BATCH_TO_SPACE_ND", "BROADCAST_TO", "DEPTH_TO_SPACE", "EXPAND_DIMS",
    "GATHER", "GATHER_ND", "MAX_POOL_2D", "MIRROR_PAD", "PACK", "PAD", "PADV2", "REDUCE_MAX",
    "REDUCE_MIN", "RESHAPE", "RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR", "REVERSE_V2", "SLICE",
    "SPACE_TO_BATCH_ND", "SPACE_TO_DEPTH", "SPLIT", "SPLIT_V", "SQUEEZE", "STRIDED_SLICE", "TILE",
    "TRANSPOSE", "UNPACK",
})
# fmt: on

# How the converter writes a rounded kernel in a graph without ranges.
CONSTANT_WEIGHTS = frozenset({"QUANTIZE", "DEQUANTIZE"})

# The scale of the output is part of the operation's definition.
FIXED_RANGE = {
    "L2_NORMALIZATION": (-1.0, 127 / 128),
    "LOGISTIC": (0.0, 255 / 256),
    "LOG_SOFTMAX": (-255 / 16, 0.0),
    "SOFTMAX": (0.0, 255 / 256),
    "TANH": (-1.0, 127 / 128),
}

# What a rectifier that is fused into another operation is called in a TensorFlow graph.
_FUSED = {"RELU": "Relu", "RELU6": "Relu6"}

# Relative to the largest value: what float rounding alone can make of a tensor, and what it cannot.
_SAME = 1e-6
_DIFFERENT = 1e-2
_PROBE_SEED = 20240229


class PlacementError(ValueError):
    """Layers of a model cannot be given the ranges that integer arithmetic needs."""


@dataclasses.dataclass(frozen=True)
class Placement:
    """Where a model's ranges belong.

    Attributes:
        learnt: points whose range is learnt in training, in the order of the model.
        fixed: points whose range the operation defines, as (point, (smallest, largest)) pairs.
        shared: points that have the range of a learnt point, as (point, learnt point) pairs: what
            enters a concatenation has one scale with what leaves it.
        beside_float: paths of layers that are fused with one that computes in float.
    """

    learnt: tuple[TapPoint, ...]
    fixed: tuple[tuple[TapPoint, tuple[float, float]], ...]
    shared: tuple[tuple[TapPoint, TapPoint], ...] = ()
    beside_float: tuple[str, ...] = ()

    def rows(self) -> dict[TapPoint, int]:
        """Number the ranges that are learnt, by each point that has one of them.

        Returns:
            For every learnt and shared point the place of its range among ``learnt``.

        Example:
        >>> Placement((TapPoint("a"),), (), ((TapPoint("b"), TapPoint("a")),)).rows()
        {TapPoint(path='a', ...): 0, TapPoint(path='b', ...): 0}
        """
        rows = {point: row for row, point in enumerate(self.learnt)}
        return rows | {point: rows[owner] for point, owner in self.shared}

    def needs_graph(self) -> bool:
        """Tell whether a point lies inside a call, where tensors are seen in graphs alone."""
        points = [*self.rows(), *(point for point, _ in self.fixed)]
        return any(is_inner_role(point.role) for point in points)

    def get_config(self) -> dict:
        """Return the placement as plain data."""
        return {
            "learnt": [dataclasses.astuple(point) for point in self.learnt],
            "fixed": [[dataclasses.astuple(point), list(ends)] for point, ends in self.fixed],
            "shared": [[dataclasses.astuple(point) for point in pair] for pair in self.shared],
            "beside_float": list(self.beside_float),
        }

    @classmethod
    def from_config(cls, config: dict) -> "Placement":
        """Build a placement from ``get_config``'s data."""
        shared = config.get("shared", ())  # absent from early files
        return cls(
            tuple(TapPoint(*point) for point in config["learnt"]),
            tuple((TapPoint(*point), tuple(ends)) for point, ends in config["fixed"]),
            tuple((TapPoint(*point), TapPoint(*owner)) for point, owner in shared),
            tuple(config.get("beside_float", ())),
        )


def read_placement(
    model: keras.Model, schemes: LayerSchemes, allow_float: Collection[str] = ()
) -> Placement:
    """Find out which tensors the deployed form of a float model stores.

    Args:
        model: a built Keras model with declared inputs.
        schemes: the numerics of each layer, see ``resolve_schemes``. The converter folds less into
            a kernel that is rounded, and less still into one with a single scale, so that the
            deployed graph depends on them.
        allow_float: paths of the layers that may go without ranges.

    Returns:
        Where ranges belong.

    Raises:
        PlacementError: a stored tensor is none that a Keras operation hands out, in a layer that
            is not in ``allow_float``.
        ConversionError: the converter refuses the float model.
        ValueError: see ``tfcompress.tflite.conversion.input_specs``.
    """
    specs = conversion.input_specs(model)
    in_float = float_paths(schemes)
    # Where tensors are stored does not depend on the bits; an interpreter rounds to 8 alone.
    in_8_bits = {
        path: scheme and dataclasses.replace(scheme, weight_bits=8, overrides=())
        for path, scheme in schemes.items()
    }
    kept = {id(layer) for path, layer in walk_layers(model) if path in in_float}
    probe = Probe(model, QuantizedWeights(model, in_8_bits), kept, specs)
    flatbuffer = probe.convert()
    inputs = _probe_inputs(specs)
    candidates = Candidates(probe.run(inputs))
    graph = read_model(flatbuffer).subgraphs[0]
    stored = tensor_values(flatbuffer, inputs)

    learnt, fixed, unseen = {}, {}, {}
    points = {}  # by the index of the stored tensor
    paths = [path for path, _ in walk_operations(model)]
    islands = FloatIslands(graph, in_float, paths)
    for index, spec in enumerate(specs):
        if spec.dtype.is_floating and islands.needs_range(graph.inputs[index]):
            learnt[input_point(index)] = None
            points[graph.inputs[index]] = input_point(index)
    for operation in graph.operations:
        for index in operation.outputs:
            tensor = graph.tensors[index]
            if tensor.dtype != "FLOAT32" or operation.name in SAME_SCALE | CONSTANT_WEIGHTS:
                continue
            if _is_barrier(operation, stored) or not islands.needs_range(index):
                continue
            point = candidates.recognise(stored.get(index), operation)
            if operation.name in FIXED_RANGE:
                if point is not None:
                    fixed[point] = FIXED_RANGE[operation.name]
            elif point is None:
                layer = layer_behind(tensor.name, paths)
                unseen[layer] = (*unseen.get(layer, ()), operation.name)
            else:
                learnt[point] = None
                points[index] = point
    refuse_float(model, unseen, allow_float)
    groups = [*_concatenated(graph, points, stored), *_steps(model, learnt)]
    shared = share_ranges(learnt, groups)
    owners = tuple(point for point in learnt if point not in shared)
    return Placement(owners, tuple(fixed.items()), tuple(shared.items()), islands.layers())


def share_ranges(
    learnt: Iterable[TapPoint], groups: Iterable[Collection[TapPoint]]
) -> dict[TapPoint, TapPoint]:
    """Let points that need equal scales share one range.

    Args:
        learnt: all points with a learnt range, in the order of the model.
        groups: points that need one scale; groups with a point in common are one.

    Returns:
        For each point of a group but its first in the order of the model, that first point.

    Example:
    >>> a, b, c = map(TapPoint, "abc")
    >>> share_ranges([a, b, c], [(b, c)])
    {TapPoint(path='c', ...): TapPoint(path='b', ...)}
    """
    together: dict[TapPoint, set[TapPoint]] = {}
    for group in groups:
        merged = set(group).union(*(together.get(point, ()) for point in group))
        together.update(dict.fromkeys(merged, merged))
    learnt = list(learnt)
    owners = {
        point: next(owner for owner in learnt if owner in together[point])
        for point in learnt
        if point in together
    }
    return {point: owner for point, owner in owners.items() if point != owner}


def _concatenated(graph, points, stored):
    """Yield the points that enter and leave each concatenation.

    The device copies; with scales of their own it would requantize what enters.
    """
    makers = {index: operation for operation in graph.operations for index in operation.outputs}

    def passes_on(operation):
        return operation.name in SAME_SCALE or _is_barrier(operation, stored)

    def source(index):
        while index in makers and passes_on(makers[index]):
            given = (i for i in makers[index].inputs if i >= 0)
            data = [i for i in given if not graph.tensors[i].constant]
            if len(data) != 1:
                break
            index = data[0]
        return index

    for operation in graph.operations:
        if operation.name == "CONCATENATION":
            ends = map(source, (*operation.inputs, *operation.outputs))
            yield [points[index] for index in ends if index in points]


def _steps(model, points):
    """Return the points of each role in the cells of recurrent layers: one range for all steps."""
    cells = tuple(
        f"{path}/" for path, layer in walk_layers(model) if isinstance(layer, keras.layers.RNN)
    )
    groups = {}
    for point in points:
        if point.path.startswith(cells):
            groups.setdefault((point.path, point.role, point.index), []).append(point)
    return groups.values()


def _is_barrier(operation, stored):
    if operation.name != "MAXIMUM":
        return False
    return any(np.all(stored[index] == tf.float32.min) for index in operation.inputs)


def _probe_inputs(specs):
    generator = np.random.default_rng(_PROBE_SEED)
    values = []
    for spec in specs:
        shape = tuple(spec.shape)
        if spec.dtype.is_floating:
            values.append(generator.standard_normal(shape).astype(spec.dtype.as_numpy_dtype))
        else:
            values.append(np.zeros(shape, spec.dtype.as_numpy_dtype))
    return values


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
        equal = [] if value is None else self._equal(value)
        fused = operation.options.get("fused_activation_function", "NONE")
        if fused in _FUSED:
            # A rectifier that changes nothing on this input is still the last to touch the tensor.
            equal = [candidate for candidate in equal if candidate.kind == _FUSED[fused]] or equal
        equal = [candidate.point for candidate in equal]
        point = next((point for point in equal if point not in self._taken), None)
        if point is None and equal:
            point = equal[0]
        self._taken.add(point)
        return point

    def _equal(self, value):
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
            return []
        return [candidate for difference, candidate in found if difference <= least + _SAME]


def refuse_float(model: keras.Model, found: dict[str, tuple[str, ...]], allowed=()) -> None:
    """Raise an error that names the layers that would compute in float on the device.

    Args:
        model: the Keras model.
        found: names of TFLite operations by the path of the layer behind them.
        allowed: paths of the layers that may.

    Raises:
        PlacementError: a layer is found that is not allowed.
    """
    if listed := list_refused(found, allowed):
        raise PlacementError(
            f"Model {model.name!r} has layers that cannot be given the ranges that integer "
            f"arithmetic needs; they would compute in float on the device:\n{listed}"
        )
