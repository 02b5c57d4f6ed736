"""A model's float file, read once: which tensor is which Keras point, and which layer's.

Everything else that quantization does hangs on it: where training rounds, what the file is filled
with, which layer an error names.
"""

import collections
import dataclasses
import functools
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

import keras
import numpy as np
import tensorflow as tf

from tfcompress.backends import runs_eagerly
from tfcompress.keras_graph.hooks import HookPoint, walk_operations
from tfcompress.keras_graph.kernels import find_kernels
from tfcompress.keras_graph.selection import walk_layers
from tfcompress.keras_graph.wrapper import unwrap
from tfcompress.quantization.derivation import Derivations, FoldedKernel, derive
from tfcompress.quantization.float_file import ConversionError, float_file
from tfcompress.quantization.float_parity import require_right_file
from tfcompress.quantization.layer_schemes import LayerSchemes, resolve_schemes
from tfcompress.quantization.lowerings import observable_call
from tfcompress.quantization.lowerings.channel_normalization import folded_scale
from tfcompress.quantization.lowerings.recurrent import recurrent_layers, with_recurrence
from tfcompress.quantization.masked_scores import score_margins
from tfcompress.quantization.placement import Placement, PlacementError, place_points
from tfcompress.quantization.planning import Place, Plan, make_plan
from tfcompress.quantization.recognition import candidates_of, find_points, leaving_probabilities
from tfcompress.quantization.scheme import Scheme
from tfcompress.quantization.tracing import (
    TracedModel,
    computed_once,
    imported_tensors,
    made_up_weights,
    part_behind,
    probe_inputs,
    trace,
)
from tfcompress.tflite.flatbuffer import read_model
from tfcompress.tflite.interpreter import tensor_values
from tfcompress.tflite.model import Operation, Subgraph, TFLiteModel, list_refused
from tfcompress.tflite.names import layer_scopes, match_layer
from tfcompress.tflite.rewriting import remove_quantization_pairs, with_lstms_of_keras


@dataclasses.dataclass(frozen=True)
class DeployedGraph:
    """The float file of a model, and what is known about it."""

    traced: TracedModel  # the graph that it was converted from
    content: bytes  # the file's bytes
    model: TFLiteModel  # what they say
    # For each operation of the main graph, the paths of the layers that it computes.
    layers: Sequence[tuple[str, ...]]
    plan: Plan  # the numbers of its tensors
    # The layers of the operations that are in float because a layer of theirs is.
    left_in_float: tuple[str, ...] = ()
    # How constants follow from the weights; empty if the file holds the weights themselves.
    derivations: Derivations = dataclasses.field(default_factory=dict)
    # Where the model hands out the tensors that kernels round, by the tensor's index.
    points: Mapping[int, HookPoint] = dataclasses.field(default_factory=dict)
    # Where the model is rounded in training.
    placement: Placement = dataclasses.field(default_factory=lambda: Placement((), ()))
    # That of the file; None for a free one.
    batch_size: int | None = 1

    @property
    def file(self) -> Subgraph:
        """The main graph of the file."""
        return self.model.subgraphs[0]

    def tensor_at(self, place: Place) -> int:
        """Return the index of the tensor that is read at a place."""
        operation, position = place
        return self.file.operations[operation].inputs[position]

    def with_batch_size(self, batch_size: int | None) -> "DeployedGraph":
        """Return the graph of a file for another batch size, None for a free one.

        Raises a ConversionError if the converter makes other operations for it.
        """
        content, model = float_file(self.traced, made_up_weights(self.traced), batch_size)
        own, other = (
            [
                (operation.label, operation.inputs, operation.outputs)
                for operation in graph.operations
            ]
            for graph in (self.file, model.subgraphs[0])
        )
        if own != other:
            before, after = (
                collections.Counter(label for label, *_ in each) for each in (own, other)
            )
            raise ConversionError(
                f"With batch_size={batch_size}, the converter makes other operations than those "
                "that the model was trained with. Export it with batch_size=1, or another that is "
                f"fixed. Received: {', '.join(after - before) or 'others'} "
                f"instead of {', '.join(before - after) or 'none'}"
            )
        return dataclasses.replace(self, content=content, model=model, batch_size=batch_size)

    @functools.cached_property
    def placement_rows(self) -> tuple[int, ...]:
        """For each row of ``plan``, its row in ``placement``; -1 for none."""
        return self.placement.rows_of_plan(self.plan, self.points)

    @property
    def operand_names(self) -> list[str]:
        """The names of the tensors that the constants are made of."""
        return sorted({name for d in self.derivations.values() for name in d.operands})

    def operands(self, weights: Mapping[str, object]) -> dict[str, object]:
        """Compute what the constants are made of, in the graph that is being built, by its name.

        ``weights`` are values by the name of their placeholder.
        """
        names = self.operand_names
        definition = self.traced.of_one.definition
        values = imported_tensors(definition, weights, names) if names else ()
        return dict(zip(names, values, strict=True))

    def kernels_with_one_scale(self) -> dict[str, FoldedKernel]:
        """List the kernels that are scaled by channel and then rounded to one grid.

        They are listed by the name of the weight's placeholder, which is copied whole.
        """
        found = {}
        for place, numbers in self.plan.kernels.items():
            kernel = self.derivations.get(self.tensor_at(place))
            if (
                numbers.axis is None
                and isinstance(kernel, FoldedKernel)
                and kernel.factor is not None
                and kernel.channels is not None
                and (kernel.channels == range(len(kernel.channels))).all()
            ):
                found[kernel.weights[0]] = kernel
        return found

    def factor_of(self, kernel: FoldedKernel, moved: float = 0.0):
        """Compute what the output channels of one of these are scaled by, of shape (channels,).

        A number that all weights are ``moved`` by tells what the factor depends on.
        """
        if runs_eagerly():
            (factor,) = computed_once(lambda: [self.factor_of(kernel, moved)])
            return factor
        weights = self.traced.weight_values()
        if moved:
            weights = {name: value + moved for name, value in weights.items()}
        values = imported_tensors(self.traced.of_one.definition, weights, kernel.needs)
        factor = kernel.factor(dict(zip(kernel.needs, values, strict=True)))
        return tf.broadcast_to(tf.reshape(factor, [-1]), [kernel.shape[kernel.axis]])

    def is_scaled_alike(self, kernel: FoldedKernel) -> bool:
        """Tell whether one of these has one constant factor, which changes no rounding.

        So has the kernel of MultiHeadAttention's queries.
        """
        found = computed_once(lambda: [self.factor_of(kernel, moved) for moved in (0.0, 1.0)])
        return len(np.unique(np.concatenate(found))) == 1

    def normalization_behind(self, kernel: FoldedKernel, model: keras.Model) -> str:
        """Return the path of the BatchNormalization that scales one of these kernels; "" if none.

        None does if what it gives is only a part of the factor.
        """
        part = part_behind(self.traced.of_one.definition, kernel.needs)
        read = {id(self.traced.weights.get(node.name)) for node in part.node}
        for path, layer in walk_layers(model):
            if not isinstance(layer, keras.layers.BatchNormalization):
                continue
            if id(layer.moving_variance) in read:
                wanted, found = self.factor_of(kernel), folded_scale(layer)
                if found.shape == wanted.shape and np.allclose(found, wanted, 1e-4, 0.0):
                    return path
        return ""

    @functools.cached_property
    def margins(self) -> Mapping[int, float]:
        """The margins of the tensors that may hold masked scores, see ``score_margins``."""
        return score_margins(self.model)

    def layer_of(self, operation: int) -> str:
        """Return the path of the layer behind an operation, or the name of what it makes."""
        if self.layers[operation]:
            return self.layers[operation][0]
        return self.file.tensors[self.file.operations[operation].outputs[0]].name

    def by_layer(self, operations: Iterable[int]) -> dict[str, tuple[str, ...]]:
        """List the names of operations by the path of their layer."""
        found: dict[str, tuple[str, ...]] = {}
        for operation in operations:
            layer = self.layer_of(operation)
            found[layer] = (*found.get(layer, ()), self.file.operations[operation].label)
        return found

    def float_layers(self) -> dict[str, tuple[str, ...]]:
        """List the operations that have no integer kernel, by the path of their layer."""
        return self.by_layer(self.plan.in_float)

    def beside_float(self) -> tuple[str, ...]:
        """List the layers with an operation in float."""
        paths = (path for operation in self.plan.in_float for path in self.layers[operation])
        return tuple(dict.fromkeys(paths))


def operation_layers(traced: TracedModel, model: TFLiteModel, paths: Iterable[str]):
    """Find out which of some layers each operation of a file computes.

    Returns for each operation of the main graph the paths of its layers, the last one of the model
    first. The converter names a tensor after the nodes that it fused.
    """
    graph = model.subgraphs[0]
    paths = list(paths)

    @functools.cache
    def behind(name):
        found = [traced.paths.get(node) for node in name.split(";")]
        if not any(found):
            found = [match_layer(scope, paths) for scope in layer_scopes(name)]
        return [path for path in found if path]

    def layers(operation: Operation, depth=0):
        read = [i for i in operation.inputs if i >= 0]
        for indices in (operation.outputs, [i for i in read if graph.tensors[i].constant]):
            if named := [path for i in indices for path in behind(graph.tensors[i].name)]:
                return tuple(dict.fromkeys(named))
        sources = [graph.makers[i] for i in read if i in graph.makers]
        within = sources and depth <= len(graph.operations)
        return layers(sources[0], depth + 1) if within else ()

    return tuple(layers(operation) for operation in graph.operations)


def lower(
    model: keras.Model,
    scheme: Scheme,
    schemes: LayerSchemes,
    allow_float: Collection[str] = (),
    rewritten: Sequence[str] = (),
    placed: Collection[HookPoint] = frozenset(),
) -> DeployedGraph:
    """Find out what the deployed form of a model computes, and where training has to round.

    ``schemes`` are those of each layer, ``allow_float`` the paths of those that may compute in
    float, ``rewritten`` the TensorFlow operations that are lowered, see ``rewritings``, ``placed``
    the points at which a saved model rounds. The file has made-up weights; its constants are
    derived from the model's.

    Raises:
        PlacementError: an operation of a layer that is not in ``allow_float`` has no integer
            kernel, or stores a tensor that the model does not hand out.
        ConversionError: the converter refuses the model.
    """
    traced = trace(model, observable_call, rewritten)
    weights = made_up_weights(traced)
    graph = _read(model, traced, *float_file(traced, weights))
    own = _operation_schemes(graph.layers, schemes)
    if scheme.is_integer:
        probed = probe_inputs(traced.specs)
        candidates = candidates_of(traced, probed, weights, placed)
        graph = _with_points(
            model, graph, scheme, own, schemes, allow_float, rewritten, probed, candidates
        )
    else:
        graph = dataclasses.replace(graph, plan=make_plan(graph.model, scheme, own))
    axes = {id(kernel.variable): kernel.output_axes for kernel in find_kernels(model)}
    variables = traced.weights.items()
    axes = {name: axes[id(variable)] for name, variable in variables if id(variable) in axes}
    return dataclasses.replace(graph, derivations=derive(traced.of_one, weights, graph.model, axes))


def _with_points(model, graph, scheme, own, schemes, allow_float, rewritten, inputs, candidates):
    """Return a graph with a plan, and the points at which its tensors are rounded."""
    values = tensor_values(graph.content, inputs)
    candidates, repeats = candidates
    unseen = [-1]
    while unseen:  # an operation whose tensor the model does not hand out computes in float
        graph = _planned(graph, make_plan(graph.model, scheme, own), schemes)
        allowed = {*allow_float, *graph.left_in_float}
        _refuse_float(model, graph.float_layers(), allowed)
        points, unseen = find_points(graph.file, graph.plan, candidates(), values)
        _refuse_float(model, graph.by_layer(unseen), allowed)
        unseen = [operation for operation in unseen if own.get(operation, scheme) is not None]
        own = own | dict.fromkeys(unseen)
    beside = graph.beside_float()
    placement = place_points(model, graph.file, graph.plan, points, repeats, beside, rewritten)
    scores = tuple((points[i], margin) for i, margin in graph.margins.items() if i in points)
    leaving = leaving_probabilities(graph.file, points)
    placement = dataclasses.replace(placement, scores=scores, probabilities=leaving)
    return dataclasses.replace(graph, points=points, placement=placement)


def deploy_as_it_is(
    model: keras.Model,
    scheme: Scheme | None,
    batch_size: int | None = 1,
    rewritten: Sequence[str] = (),
    observed: bool = True,
) -> DeployedGraph:
    """Convert a model whose ranges are observed in its file, or that brings them or needs none.

    Fake quantization in a model, as that of TFMOT's quantization-aware training, brings the grids
    of tensors and kernels with it. ``scheme`` None is for floats, ``batch_size`` None for a free
    one; unless ``observed``, what the model brings no range for stays in float. Raises a
    ConversionError if the converter refuses the model.
    """
    integer = scheme is not None and scheme.is_integer
    of_keras_3 = is_keras_3(model)
    keeps_loops = batch_size is not None and not integer
    fuse = batch_size is not None and (scheme is None or scheme.activation_bits != 16)
    recurrent = of_keras_3 and recurrent_layers(model)
    lowering = None
    if of_keras_3 and (recurrent or integer):
        lowering = with_recurrence(
            model, observable_call if integer else None, fuse=fuse, unroll=not keeps_loops
        )
    fixed = batch_size if recurrent and (fuse or keeps_loops) else None
    if not is_keras_3(model):
        rewritten = ()  # its calls are not Keras 3's
    traced = trace(model, lowering, rewritten, fixed)
    weights = {name: value.numpy() for name, value in traced.weight_values().items()}
    content, file = float_file(traced, weights, batch_size)
    if recurrent:
        content, file = with_lstms_of_keras(content, file)
    graph, tfmot_grids = _read(model, traced, content, file), {}
    if of_keras_3:
        require_right_file(model, traced, content, graph.file, graph.layers)
    if integer:
        content, tfmot_grids = remove_quantization_pairs(content, file)
        if tfmot_grids:
            graph = _read(model, traced, content, read_model(content))
    if scheme is None:
        return graph
    schemes = resolve_schemes(unwrap(model), scheme) if of_keras_3 else {}
    own = _operation_schemes(graph.layers, schemes)
    return _planned(graph, make_plan(graph.model, scheme, own, tfmot_grids, observed), schemes)


def is_keras_3(model) -> bool:
    """Tell whether the user's model is one of Keras 3, whose layers can be lowered."""
    return isinstance(unwrap(model), keras.Model)


def _read(model, traced, content, file) -> DeployedGraph:
    """Find out which layers the operations of a model's file compute."""
    paths = [path for path, _ in walk_operations(model)]
    return DeployedGraph(traced, content, file, operation_layers(traced, file, paths), Plan())


def _operation_schemes(layers, schemes: LayerSchemes) -> dict[int, Scheme | None]:
    """Tell the numerics of each operation whose layers have some of their own.

    They are None for an operation if one of its layers computes in float.
    """
    found = {}
    for index, paths in enumerate(layers):
        known = [schemes[path] for path in paths if path in schemes]
        if known:
            found[index] = None if None in known else known[-1]
    return found


def _planned(graph, plan, schemes: LayerSchemes) -> DeployedGraph:
    """Return a graph with a plan, and the layers that are in float with one that is to be."""
    paths = (
        path
        for operation in plan.in_float
        if any(schemes.get(path, True) is None for path in graph.layers[operation])
        for path in graph.layers[operation]
    )
    return dataclasses.replace(graph, plan=plan, left_in_float=tuple(dict.fromkeys(paths)))


def _refuse_float(model, found: Mapping[str, tuple[str, ...]], allowed: Collection[str]) -> None:
    """Raise an error that names the layers that would compute in float on the device."""
    if listed := list_refused(found, allowed):
        raise PlacementError(
            f"Model {model.name!r} has layers that cannot be given the ranges that integer "
            f"arithmetic needs; they would compute in float on the device:\n{listed}"
        )


def first_accepted(make: Callable, attempts: Iterable[Collection[str]], refusals) -> object:
    """Return what is made with the first list of operations in another form that is not refused.

    If all of ``attempts`` end in ``refusals``, exceptions, the last one that says which layers
    would compute in float is raised, or the first.
    """
    error = None
    for kinds in attempts:
        try:
            return make(kinds)
        except refusals as refused:
            if error is None or not isinstance(refused, ConversionError):
                error = refused
    raise error
