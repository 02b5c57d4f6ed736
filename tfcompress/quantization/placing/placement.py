"""Which tensors of a model need a range: those that the deployed graph stores.

The TFLite converter fuses, folds and removes; no list of layer patterns keeps up with it. So the
float model is converted once, the file is run once beside the Keras model on the same input, and
each tensor of the file is recognised by its values among the tensors that Keras operations hand
out. What a stored tensor needs then depends only on the TFLite operation that makes it, as the
8-bit quantization specification says
(https://ai.google.dev/edge/litert/conversion/tensorflow/quantization/quantization_spec).
"""

import dataclasses
import functools
from collections.abc import Callable, Collection, Iterable

import keras
import numpy as np
import tensorflow as tf

from tfcompress.graph.inner_tensors import is_inner_role
from tfcompress.graph.selection import walk_layers
from tfcompress.graph.taps import TapPoint, walk_operations
from tfcompress.quantization.float_islands import FloatIslands
from tfcompress.quantization.layer_schemes import LayerSchemes, float_paths
from tfcompress.quantization.placing.probe import Probe, input_point
from tfcompress.quantization.placing.recognition import Candidates
from tfcompress.quantization.weights import QuantizedWeights
from tfcompress.tflite import conversion
from tfcompress.tflite.flatbuffer import read_model
from tfcompress.tflite.names import layer_behind
from tfcompress.tflite.precision import float_layers, list_refused
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

# Of these, they compute new values, which the device rounds to that scale.
AVERAGES = frozenset({"AVERAGE_POOL_2D", "RESIZE_BILINEAR"})

# Of these, the converter does not know that they have: they need a range like others.
UNKNOWN_COPIES = frozenset({"REVERSE_V2"})

# What leaves is copied from all that enters, and has one scale with it.
JOINING = frozenset({"CONCATENATION", "PACK", "SELECT", "SELECT_V2"})

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
        rewritten: types of TensorFlow operations that have another form, see ``rewritings``.
    """

    learnt: tuple[TapPoint, ...]
    fixed: tuple[tuple[TapPoint, tuple[float, float]], ...]
    shared: tuple[tuple[TapPoint, TapPoint], ...] = ()
    beside_float: tuple[str, ...] = ()
    rewritten: tuple[str, ...] = ()

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
            "rewritten": list(self.rewritten),
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
            tuple(config.get("rewritten", ())),
        )


def read_placement(
    model: keras.Model,
    schemes: LayerSchemes,
    allow_float: Collection[str] = (),
    configure: Callable[[tf.lite.TFLiteConverter], None] | None = None,
    rewritten: Collection[str] = (),
) -> Placement:
    """Find out which tensors the deployed form of a float model stores.

    Args:
        model: a built Keras model with declared inputs.
        schemes: the numerics of each layer, see ``resolve_schemes``. The converter folds less into
            a kernel that is rounded, and less still into one with a single scale, so that the
            deployed graph depends on them.
        allow_float: paths of the layers that may go without ranges.
        configure: sets the options of a converter that makes an integer file with made-up ranges,
            to see that they are where it needs them; ``None`` to leave that to the caller.
        rewritten: types of TensorFlow operations that get another form, see ``rewritings``.

    Returns:
        Where ranges belong.

    Raises:
        PlacementError: a stored tensor is none that the model hands out, or an operation stays in
            float, in a layer that is not in ``allow_float``.
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
    probe = Probe(model, QuantizedWeights(model, in_8_bits), kept, specs, rewritten)
    flatbuffer = probe.convert()
    inputs = _probe_inputs(specs)
    candidates = Candidates(probe.run(inputs))
    graph = read_model(flatbuffer).subgraphs[0]
    stored = tensor_values(flatbuffer, inputs)

    learnt, fixed, unseen = {}, {}, {}
    points, defined = {}, {}  # by the index of the stored tensor: where it is, its fixed range
    paths = [path for path, _ in walk_operations(model)]
    islands = FloatIslands(graph, in_float, paths)
    bits = {scheme.activation_bits for scheme in schemes.values() if scheme}
    passes_range_on = functools.partial(_passes_range_on, graph=graph, bits=bits)
    for index, spec in enumerate(specs):
        if spec.dtype.is_floating and islands.needs_range(graph.inputs[index]):
            learnt[input_point(index)] = None
            points[graph.inputs[index]] = input_point(index)
    for operation in graph.operations:
        for index in operation.outputs:
            tensor = graph.tensors[index]
            ends = _defined_range(operation, graph, stored, defined)
            if ends is not None:
                defined[index] = ends
            if tensor.dtype != "FLOAT32" or passes_range_on(operation, ends):
                continue
            if _is_barrier(operation, stored) or not islands.needs_range(index):
                continue
            point = candidates.recognise(stored.get(index), operation)
            if ends is not None:
                if point is not None:
                    fixed[point] = ends
            elif point is None:
                layer = layer_behind(tensor.name, paths)
                unseen[layer] = (*unseen.get(layer, ()), operation.name)
            else:
                learnt[point] = None
                points[index] = point
    refuse_float(model, unseen, allow_float)
    copies = _ranged_copies(graph, points, stored, candidates)
    learnt.update(dict.fromkeys(copies))
    repeats = _add_repeats(probe.repeats(), learnt, fixed)
    groups = [*_concatenated(graph, points, stored), *_steps(model, learnt), *copies.items()]
    shared = share_ranges(learnt, [*groups, *repeats])
    owners = tuple(point for point in learnt if point not in shared)
    placement = Placement(
        owners, tuple(fixed.items()), tuple(shared.items()), islands.layers(), tuple(rewritten)
    )
    if configure is not None:
        content = read_model(probe.convert_with_ranges([*learnt, *fixed], configure))
        refuse_float(model, float_layers(content, paths), allow_float)
    return placement


def _add_repeats(repeats, learnt, fixed):
    """Give points that repeat another its range; return the pairs that have one to learn."""
    fixed.update((point, fixed[first]) for point, first in repeats.items() if first in fixed)
    pairs = [(point, first) for point, first in repeats.items() if first in learnt]
    learnt.update((point, None) for point, _ in pairs)
    return pairs


def _defined_range(operation, graph, stored, defined):
    """Return the range of an output that operations define: its own, or those whose it copies."""
    if operation.name in FIXED_RANGE:
        return FIXED_RANGE[operation.name]
    if operation.name not in SAME_SCALE | JOINING and not _is_barrier(operation, stored):
        return None
    real = [i for i in operation.inputs if i >= 0 and graph.tensors[i].dtype == "FLOAT32"]
    copied = [i for i in real if not graph.tensors[i].constant]
    ranges = {defined.get(i) for i in copied}
    if len(ranges) != 1 or None in ranges:
        return None
    (ends,) = ranges
    if _is_barrier(operation, stored) or operation.name in SAME_SCALE:
        return ends
    constants = [stored[i] for i in real if graph.tensors[i].constant]
    within = all(ends[0] <= np.min(c) and np.max(c) <= ends[1] for c in constants)
    return ends if within else None


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
    together = _merged(groups)
    learnt = list(learnt)
    owners = {
        point: next(owner for owner in learnt if owner in together[point])
        for point in learnt
        if point in together
    }
    return {point: owner for point, owner in owners.items() if point != owner}


def _concatenated(graph, points, stored):
    """Yield the points that enter and leave each concatenation, or several in a row.

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

    joined = [
        {source(index) for index in (*operation.inputs, *operation.outputs)}
        for operation in graph.operations
        if operation.name in JOINING
    ]
    groups = {id(group): group for group in _merged(joined).values()}
    for group in groups.values():
        yield [points[index] for index in group if index in points]


def _merged(groups):
    """Return for each member the set of all that it is with, directly or by way of others."""
    together = {}
    for group in groups:
        merged = set(group).union(*(together.get(member, ()) for member in group))
        together.update(dict.fromkeys(merged, merged))
    return together


def _ranged_copies(graph, points, stored, candidates):
    """Find what needs the range of a tensor that it was made from, and the point of that one.

    The device rounds averages to the scale of what it read. If that was copied, the copy is found
    as well: others that read it may stay in float otherwise.
    """
    sources, found = dict(points), {}  # by the index of a tensor, and by the point of what is found
    makers = {index: operation for operation in graph.operations for index in operation.outputs}
    for operation in graph.operations:
        if operation.name not in SAME_SCALE and not _is_barrier(operation, stored):
            continue
        read = next((i for i in operation.inputs if i in sources), None)
        if read is None:
            continue
        sources.update(dict.fromkeys(operation.outputs, sources[read]))
        if operation.name not in AVERAGES | UNKNOWN_COPIES:
            continue
        for index in {read, *operation.outputs} - points.keys() - set(graph.inputs):
            point = candidates.recognise(stored.get(index), makers[index])
            if point is not None:
                found[point] = sources[read]
    return found


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


def _passes_range_on(operation, ends, graph, bits):
    """Tell whether the range of an output follows from what the operation reads."""
    if operation.name == "GATHER" and 16 in bits and graph.tensors[operation.inputs[0]].constant:
        return False  # the table is stored with the range of what is looked up
    copies = SAME_SCALE if ends is None else SAME_SCALE - UNKNOWN_COPIES
    return operation.name in copies | CONSTANT_WEIGHTS


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
            # Indices that any table has; 0 may be masked.
            values.append(generator.integers(0, 2, shape).astype(spec.dtype.as_numpy_dtype))
    return values


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
