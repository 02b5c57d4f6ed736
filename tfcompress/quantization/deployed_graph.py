"""A model's float file, read once: which tensor is which Keras point, and which layer's.

Everything else that quantization does hangs on it: where training rounds, what the file is filled
with, which layer an error names.
"""

import dataclasses
import functools
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

import keras
import numpy as np
import tensorflow as tf

from tfcompress.keras_graph.hooks import HookPoint, walk_operations
from tfcompress.keras_graph.kernels import find_kernels
from tfcompress.keras_graph.selection import walk_layers
from tfcompress.keras_graph.wrapper import unwrap
from tfcompress.quantization.derivation import Derivations, FoldedKernel, derive
from tfcompress.quantization.float_file import ConversionError, float_file
from tfcompress.quantization.float_parity import require_right_file
from tfcompress.quantization.layer_schemes import LayerSchemes, resolve_schemes
from tfcompress.quantization.lowerings import observable_call
from tfcompress.quantization.lowerings.fused_lstm import recurrent_layers, with_recurrence
from tfcompress.quantization.masked_scores import score_margins
from tfcompress.quantization.placement import Placement
from tfcompress.quantization.plan import FLOAT_PLAN, Fixed, Learned, Plan
from tfcompress.quantization.planning import make_plan
from tfcompress.quantization.recognition import Candidates, candidates_of
from tfcompress.quantization.scheme import Scheme
from tfcompress.quantization.tracing import (
    TracedModel,
    imported_tensors,
    input_point,
    made_up_weights,
    trace,
)
from tfcompress.tflite.flatbuffer import read_model
from tfcompress.tflite.interpreter import tensor_values
from tfcompress.tflite.model import Operation, TFLiteModel, list_refused
from tfcompress.tflite.names import layer_scopes, match_layer
from tfcompress.tflite.rewriting import remove_quantization_pairs, with_lstms_of_keras

# These copy from what they read and have its grid: where that is rounded, they are.
_COPIES = frozenset(
    {
        "BATCH_TO_SPACE_ND",
        "BROADCAST_TO",
        "DEPTH_TO_SPACE",
        "EXPAND_DIMS",
        "GATHER",
        "GATHER_ND",
        "MAX_POOL_2D",
        "MIRROR_PAD",
        "PAD",
        "PADV2",
        "REDUCE_MAX",
        "REDUCE_MIN",
        "RESHAPE",
        "RESIZE_NEAREST_NEIGHBOR",
        "REVERSE_V2",
        "SLICE",
        "SPACE_TO_BATCH_ND",
        "SPACE_TO_DEPTH",
        "SPLIT",
        "SPLIT_V",
        "SQUEEZE",
        "STRIDED_SLICE",
        "TILE",
        "TRANSPOSE",
        "UNPACK",
    }
)
PROBABILITIES = frozenset({"LOGISTIC", "SOFTMAX"})
_PROBE_SEED = 20240229


class PlacementError(ValueError):
    """Layers of a model cannot be given the ranges that integer arithmetic needs."""


@dataclasses.dataclass(frozen=True)
class DeployedGraph:
    """The float file of a model, and what is known about it.

    Attributes:
        traced: the graph that it was converted from.
        content: the file's bytes.
        model: what they say.
        layers: for each operation of the main graph, the paths of the layers that it computes.
        plan: the numbers of its tensors.
        derivations: how constants follow from the weights; empty if the file holds the weights
            themselves.
        points: where the model hands out the tensors that kernels round, by the tensor's index.
        placement: where the model is rounded in training.
        placement_rows: for each row of ``plan``, its row in ``placement``.
        left_in_float: the layers of the operations that are in float because a layer of theirs is.
    """

    traced: TracedModel
    content: bytes
    model: TFLiteModel
    layers: Sequence[tuple[str, ...]]
    plan: Plan
    derivations: Derivations = dataclasses.field(default_factory=dict)
    points: Mapping[int, HookPoint] = dataclasses.field(default_factory=dict)
    placement: Placement = dataclasses.field(default_factory=lambda: Placement((), ()))
    placement_rows: Sequence[int] = ()
    left_in_float: tuple[str, ...] = ()

    def with_placement(self, placement: Placement) -> "DeployedGraph":
        """Return the graph with the ranges of another placement of the same model."""
        rows = placement_rows(self.plan, self.points, placement)
        return dataclasses.replace(self, placement=placement, placement_rows=rows)

    def real_constants(self, weights: Mapping[str, object]) -> dict[int, object]:
        """Compute the float constants that follow from weights.

        Args:
            weights: the value of each weight, by its placeholder's name.

        Returns:
            The values by the tensor's index.
        """
        operands = self.operands(weights)
        return {index: d.compute(operands) for index, d in self.derivations.items()}

    def operands(self, weights: Mapping[str, object]) -> dict[str, object]:
        """Compute what the constants are made of, in the graph that is being built.

        Args:
            weights: the value of each weight, by its placeholder's name.

        Returns:
            The value of each operand by its name.
        """
        names = sorted({name for d in self.derivations.values() for name in d.operands})
        values = imported_tensors(self.traced.definition, weights, names) if names else ()
        return dict(zip(names, values, strict=True))

    def kernels_with_one_scale(self) -> dict[str, FoldedKernel]:
        """List the kernels that are scaled by channel and then rounded to one grid.

        Returns:
            The kernels by the name of the weight's placeholder, which is copied whole.
        """
        file = self.model.subgraphs[0]
        found = {}
        for (operation, position), numbers in self.plan.kernels.items():
            kernel = self.derivations.get(file.operations[operation].inputs[position])
            if (
                numbers.axis is None
                and isinstance(kernel, FoldedKernel)
                and kernel.factor is not None
                and kernel.channels is not None
                and np.array_equal(kernel.channels, np.arange(len(kernel.channels)))
            ):
                found[kernel.weights[0]] = kernel
        return found

    def factor_of(self, kernel: FoldedKernel):
        """Compute what the output channels of a kernel are scaled by, from the weights.

        Args:
            kernel: one of ``kernels_with_one_scale``.

        Returns:
            float32 tensor (channels,).
        """
        weights = self.traced.weight_values()
        values = imported_tensors(self.traced.definition, weights, kernel.needs)
        factor = kernel.factor(dict(zip(kernel.needs, values, strict=True)))
        return tf.broadcast_to(tf.reshape(factor, [-1]), [kernel.shape[kernel.axis]])

    @functools.cached_property
    def margins(self) -> Mapping[int, float]:
        """The margins of the tensors that may hold masked scores, see ``score_margins``."""
        return score_margins(self.model)

    def probability_points(self) -> frozenset[HookPoint]:
        """Return the points of softmaxes and sigmoids that nothing but the model's outputs reads.

        Between them and the outputs values may be copied.
        """
        file = self.model.subgraphs[0]
        readers: dict[int, list[Operation]] = {}
        for operation in file.operations:
            for index in operation.inputs:
                readers.setdefault(index, []).append(operation)

        def only_leaves(index):
            inside = readers.get(index, ())
            return (bool(inside) or index in file.outputs) and all(
                operation.name in _COPIES and all(map(only_leaves, operation.outputs))
                for operation in inside
            )

        return frozenset(
            self.points[index]
            for operation in file.operations
            if operation.name in PROBABILITIES
            for index in operation.outputs
            if index in self.points and only_leaves(index)
        )

    def layer_of(self, operation: int) -> str:
        """Return the path of the layer behind an operation, or the name of what it makes."""
        if self.layers[operation]:
            return self.layers[operation][0]
        graph = self.model.subgraphs[0]
        return graph.tensors[graph.operations[operation].outputs[0]].name

    def float_layers(self) -> dict[str, tuple[str, ...]]:
        """List the operations that have no integer kernel, by the path of their layer."""
        found: dict[str, tuple[str, ...]] = {}
        for operation in self.plan.in_float:
            layer = self.layer_of(operation)
            name = self.model.subgraphs[0].operations[operation].label
            found[layer] = (*found.get(layer, ()), name)
        return found

    def beside_float(self) -> tuple[str, ...]:
        """List the layers with an operation in float."""
        paths = (path for operation in self.plan.in_float for path in self.layers[operation])
        return tuple(dict.fromkeys(paths))


def operation_layers(traced: TracedModel, model: TFLiteModel, paths: Iterable[str]):
    """Find out which layers each operation of a file computes.

    Args:
        traced: the graph that the file was converted from.
        model: the file.
        paths: the paths of all layers.

    Returns:
        For each operation of the main graph the paths of its layers, the last one of the model
        first. The converter names a tensor after the nodes that it fused.
    """
    graph = model.subgraphs[0]
    paths = list(paths)
    makers = {index: operation for operation in graph.operations for index in operation.outputs}

    @functools.cache
    def behind(name):
        found = [traced.paths.get(node) for node in name.split(";")]
        if not any(found):
            found = [match_layer(scope, paths) for scope in layer_scopes(name)]
        return tuple(dict.fromkeys(path for path in found if path))

    def layers(operation: Operation, depth=0):
        named = tuple(path for i in operation.outputs for path in behind(graph.tensors[i].name))
        if named:
            return tuple(dict.fromkeys(named))
        read = [i for i in operation.inputs if i >= 0]
        constants = [i for i in read if graph.tensors[i].constant]
        named = tuple(path for i in constants for path in behind(graph.tensors[i].name))
        if named or depth > len(graph.operations):
            return tuple(dict.fromkeys(named))
        sources = [makers[i] for i in read if i in makers]
        return layers(sources[0], depth + 1) if sources else ()

    return tuple(layers(operation) for operation in graph.operations)


def lower(
    model: keras.Model,
    scheme: Scheme,
    schemes: LayerSchemes,
    allow_float: Collection[str] = (),
    rewritten: Sequence[str] = (),
) -> DeployedGraph:
    """Find out what the deployed form of a model computes, and where training has to round.

    Args:
        model: a built Keras model with declared inputs.
        scheme: the numerics.
        schemes: those of each layer, see ``resolve_schemes``.
        allow_float: paths of the layers that may compute in float.
        rewritten: types of TensorFlow operations that are lowered, see ``rewritings``.

    Returns:
        The deployed graph. Its file has made-up weights; its constants are derived from the
        model's.

    Raises:
        PlacementError: an operation of a layer that is not in ``allow_float`` has no integer
            kernel, or stores a tensor that the model does not hand out.
        ConversionError: the converter refuses the model.
        ValueError: see ``input_specs``.
    """
    traced = trace(model, observable_call, rewritten)
    weights = made_up_weights(traced)
    content = float_file(traced, weights)
    file = read_model(content)
    paths = [path for path, _ in walk_operations(model)]
    layers = operation_layers(traced, file, paths)
    own = operation_schemes(layers, schemes)
    if not scheme.is_integer:
        plan = make_plan(file, scheme, own)
        derivations = derive(traced, weights, file, _output_axes(model, traced))
        return DeployedGraph(traced, content, file, layers, plan, derivations)
    inputs = probe_inputs(traced.specs)
    stored = tensor_values(content, inputs)
    candidates, repeats = candidates_of(traced, inputs, weights)
    for _ in range(len(layers) + 1):
        plan = make_plan(file, scheme, own)
        left = _left_in_float(plan, layers, schemes)
        graph = DeployedGraph(traced, content, file, layers, plan, left_in_float=left)
        allowed = {*allow_float, *left}
        refuse_float(model, graph.float_layers(), allowed)
        points, unseen = recognise(graph, candidates(), stored)
        if not unseen:
            break
        refused = {}
        for operation in unseen:
            layer = graph.layer_of(operation)
            name = file.subgraphs[0].operations[operation].name
            refused[layer] = (*refused.get(layer, ()), name)
        refuse_float(model, refused, allowed)
        own = own | dict.fromkeys(unseen)
    placement, rows = _place(model, graph, points, repeats, rewritten)
    return dataclasses.replace(
        graph,
        derivations=derive(traced, weights, file, _output_axes(model, traced)),
        points=points,
        placement=placement,
        placement_rows=rows,
    )


def _output_axes(model, traced):
    """Return the axes of the output channels of the model's kernels, by their placeholder."""
    axes = {id(kernel.variable): kernel.output_axes for kernel in find_kernels(model)}
    return {
        name: axes[id(variable)]
        for name, variable in traced.weights.items()
        if id(variable) in axes
    }


def operation_schemes(
    layers: Sequence[tuple[str, ...]], schemes: LayerSchemes
) -> dict[int, Scheme | None]:
    """Tell the numerics of each operation whose layers have some of their own.

    Args:
        layers: for each operation the paths of its layers.
        schemes: the numerics of each layer.

    Returns:
        By the index of an operation: None if one of its layers computes in float.
    """
    found = {}
    for index, paths in enumerate(layers):
        known = [path for path in paths if path in schemes]
        if any(schemes[path] is None for path in known):
            found[index] = None
        elif known:
            found[index] = schemes[known[-1]]
    return found


def _left_in_float(plan: Plan, layers, schemes: LayerSchemes) -> tuple[str, ...]:
    """List the layers of the operations that are in float because a layer of theirs is."""
    paths = (
        path
        for operation in plan.in_float
        if any(schemes.get(path, True) is None for path in layers[operation])
        for path in layers[operation]
    )
    return tuple(dict.fromkeys(paths))


def deploy_as_it_is(
    model: keras.Model,
    scheme: Scheme | None,
    batch_size: int | None = 1,
    rewritten: Sequence[str] = (),
    observed: bool = True,
) -> DeployedGraph:
    """Convert a model whose ranges are observed in its file, or that brings them or needs none.

    Fake quantization in a model, as that of TFMOT's quantization-aware training, brings the grids
    of tensors and kernels with it.

    Args:
        model: a built Keras model with declared inputs.
        scheme: the numerics; None for floats.
        batch_size: the batch size that the file is fixed to; ``None`` for a free one.
        rewritten: types of TensorFlow operations that are lowered, see ``rewritings``.
        observed: whether ranges are observed for what the model brings none for.

    Returns:
        The deployed graph. Its file holds the model's weights.

    Raises:
        ConversionError: the converter refuses the model.
        ValueError: see ``input_specs`` and ``resolve_schemes``.
    """
    integer = scheme is not None and scheme.is_integer
    keeps_loops = batch_size is not None and not integer
    fuse = batch_size is not None and (scheme is None or scheme.activation_bits != 16)
    recurrent = is_keras_3(model) and recurrent_layers(model)
    lowering = None
    if is_keras_3(model) and (recurrent or integer):
        lowering = with_recurrence(
            model, observable_call if integer else None, fuse=fuse, unroll=not keeps_loops
        )
    fixed = batch_size if recurrent and (fuse or keeps_loops) else None
    if not is_keras_3(model):
        rewritten = ()  # its calls are not Keras 3's
    traced = trace(model, lowering, rewritten, fixed)
    weights = {name: value.numpy() for name, value in traced.weight_values().items()}
    content = float_file(traced, weights, batch_size)
    if recurrent:
        content = with_lstms_of_keras(content)
    if is_keras_3(model):
        require_right_file(model, traced, content)
    file, brought = read_model(content), {}
    if integer:
        content, brought = remove_quantization_pairs(content, file)
        file = read_model(content) if brought else file
    paths = [path for path, _ in walk_operations(model)]
    layers = operation_layers(traced, file, paths)
    if scheme is None:
        return DeployedGraph(traced, content, file, layers, FLOAT_PLAN)
    schemes = resolve_schemes(unwrap(model), scheme) if is_keras_3(model) else {}
    plan = make_plan(file, scheme, operation_schemes(layers, schemes), brought, observed)
    left = _left_in_float(plan, layers, schemes)
    return DeployedGraph(traced, content, file, layers, plan, left_in_float=left)


def is_keras_3(model) -> bool:
    """Tell whether the user's model is one of Keras 3, whose layers can be lowered."""
    return isinstance(unwrap(model), keras.Model)


def probe_inputs(specs) -> list[np.ndarray]:
    """Make one example of random inputs, with indices that any table has."""
    generator = np.random.default_rng(_PROBE_SEED)
    values = []
    for spec in specs:
        shape = (1, *spec.shape[1:])
        if spec.dtype.is_floating:
            values.append(generator.standard_normal(shape).astype(spec.dtype.as_numpy_dtype))
        else:  # 0 may be masked
            values.append(generator.integers(0, 2, shape).astype(spec.dtype.as_numpy_dtype))
    return values


def recognise(
    graph: DeployedGraph, candidates: Candidates, stored: Mapping[int, np.ndarray]
) -> tuple[dict[int, HookPoint], list[int]]:
    """Find the point of each tensor at which a kernel rounds.

    Args:
        graph: the file and its plan.
        candidates: the tensors that the model hands out.
        stored: the value of each tensor of the file, on the inputs of the candidates.

    Returns:
        (points, unseen): the points by the index of a tensor, and the operations whose tensors are
        at none.
    """
    file, plan = graph.model.subgraphs[0], graph.plan
    points = {
        tensor: input_point(place)
        for place, tensor in enumerate(file.inputs)
        if tensor in plan.tensors and _is_rounded(plan, file, tensor)
    }
    unseen = []
    for operation in file.operations:
        for index in operation.outputs:
            if index not in plan.tensors or not _is_rounded(plan, file, index):
                continue
            if _only_copies(operation, plan):
                continue
            point = candidates.recognise(stored.get(index), operation)
            if point is not None:
                points[index] = point
            elif isinstance(plan.tensors[index], Learned) or operation.index in plan.in_float:
                unseen.append(operation.index)
    return points, list(dict.fromkeys(unseen))


def _is_rounded(plan: Plan, file, index: int) -> bool:
    """Tell whether a tensor has a grid of its own: where it is stored, or where it is read."""
    if isinstance(plan.tensors[index], Learned | Fixed):
        return True
    return any(
        isinstance(plan.reads.get((operation.index, position)), Learned)
        for operation in file.operations
        for position, read in enumerate(operation.inputs)
        if read == index
    )


def _only_copies(operation: Operation, plan: Plan) -> bool:
    """Tell whether what an operation makes is rounded already, as it was read."""
    if operation.name not in _COPIES or operation.index in plan.in_float:
        return False
    read = [
        plan.form(operation, position)
        for position, index in enumerate(operation.inputs)
        if index in plan.tensors
    ]
    made = {plan.tensors[index] for index in operation.outputs if index in plan.tensors}
    return bool(read) and {*read} == made


def _place(model, graph, points, repeats, rewritten):
    """Turn points of tensors into the places where training rounds, and number their ranges."""
    file, plan = graph.model.subgraphs[0], graph.plan
    learned: dict[HookPoint, None] = {}
    fixed: dict[HookPoint, tuple[float, float]] = {}
    for index in [*file.inputs, *(i for o in file.operations for i in o.outputs)]:
        if index in points:
            numbers = plan.tensors[index]
            if isinstance(numbers, Fixed):
                fixed[points[index]] = _range_of(numbers, plan.dtype)
            else:
                learned[points[index]] = None
    groups = [[points[i] for i in members if i in points] for members in plan.rows]
    fixed.update((point, fixed[first]) for point, first in repeats.items() if first in fixed)
    pairs = [(point, first) for point, first in repeats.items() if first in learned]
    learned.update((point, None) for point, _ in pairs)
    shared = share_ranges(learned, [*groups, *_steps(model, learned), *pairs])
    owners = tuple(point for point in learned if point not in shared)
    placement = Placement(
        owners,
        tuple(fixed.items()),
        tuple(shared.items()),
        graph.beside_float(),
        tuple(rewritten),
        tuple((points[i], margin) for i, margin in graph.margins.items() if i in points),
    )
    return placement, placement_rows(graph.plan, points, placement)


def placement_rows(plan: Plan, points: Mapping[int, HookPoint], placement: Placement):
    """Tell the row of the ranges for each row of a plan; -1 where no point has one."""
    rows = placement.rows()
    return tuple(
        next((rows[points[i]] for i in members if points.get(i) in rows), -1)
        for members in plan.rows
    )


def _range_of(numbers: Fixed, dtype: str) -> tuple[float, float]:
    """Return the ends of a fixed grid."""
    lowest, highest = (-128, 127) if dtype == "INT8" else (-32767, 32767)
    return tuple(numbers.scale * (integer - numbers.zero_point) for integer in (lowest, highest))


def share_ranges(
    learned: Iterable[HookPoint], groups: Iterable[Collection[HookPoint]]
) -> dict[HookPoint, HookPoint]:
    """Let points that need equal scales share one range.

    Args:
        learned: all points with a learned range, in the order of the model.
        groups: points that need one scale; groups with a point in common are one.

    Returns:
        For each point of a group but its first in the order of the model, that first point.

    Example:
    >>> a, b, c = map(HookPoint, "abc")
    >>> share_ranges([a, b, c], [(b, c)])
    {HookPoint(path='c', ...): HookPoint(path='b', ...)}
    """
    together: dict[HookPoint, set[HookPoint]] = {}
    for group in groups:
        merged = set(group).union(*(together.get(member, ()) for member in group))
        together.update(dict.fromkeys(merged, merged))
    learned = list(learned)
    owners = {
        point: next(owner for owner in learned if owner in together[point])
        for point in learned
        if point in together
    }
    return {point: owner for point, owner in owners.items() if point != owner}


def _steps(model, points):
    """Return the points of each role in the cells of recurrent layers: one range for all steps."""
    cells = tuple(
        f"{path}/" for path, layer in walk_layers(model) if isinstance(layer, keras.layers.RNN)
    )
    groups: dict[tuple, list[HookPoint]] = {}
    for point in points:
        if point.path.startswith(cells):
            groups.setdefault((point.path, point.role, point.index), []).append(point)
    return groups.values()


def refuse_float(
    model: keras.Model, found: Mapping[str, tuple[str, ...]], allowed: Collection[str] = ()
) -> None:
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


def first_accepted(make: Callable, attempts: Iterable[Collection[str]], refusals) -> object:
    """Return what is made with the first list of operations in another form that is not refused.

    Args:
        make: takes such a list.
        attempts: the lists, see ``rewritings``.
        refusals: the exceptions, a tuple, that mean that the next one is to be tried.

    Returns:
        What ``make`` returns.

    Raises:
        Exception: the last refusal that says which layers would compute in float, or the first.
    """
    error = None
    for kinds in attempts:
        try:
            return make(kinds)
        except refusals as refused:
            if error is None or not isinstance(refused, ConversionError):
                error = refused
    raise error
