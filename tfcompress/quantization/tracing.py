"""What a model computes at inference, as one TensorFlow graph of its inputs and its weights.

The graph is traced once, with a free batch size and the weights as inputs. So the model can be
converted and run with any weights, and what its constants are made of can be read from the graph.
A batch fixed to 1 would change the graph itself: Keras takes a tensor of shape (1, n, 1) for a
bias.
"""

import collections
import contextlib
import dataclasses
import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfcompress.compat.tensorflow_graphs import freeze_variables
from tfcompress.keras_graph.hooks import HookedCalls, HookPoint, nested_models, walk_operations
from tfcompress.keras_graph.inner_tensors import is_inner_role
from tfcompress.keras_graph.inputs import arrange_inputs, input_specs
from tfcompress.keras_graph.interception import (
    deploying,
    float32_computation,
    intercepted_calls,
)
from tfcompress.keras_graph.wrapper import ModelWrapper, unwrap
from tfcompress.native_output import silenced_tensorflow
from tfcompress.quantization.lowerings.operations import forms_for


@dataclasses.dataclass(frozen=True)
class TracedModel:
    """A traced model."""

    definition: tf.compat.v1.GraphDef  # the graph; the weights are placeholders in it
    specs: Sequence[tf.TensorSpec]  # what the model takes, named, with the batch size of the trace
    inputs: tuple[str, ...]  # the names of the graph's nodes that stand for the inputs, in order
    # The variable behind each of the other placeholders, by the node's name.
    weights: Mapping[str, keras.Variable]
    outputs: tuple[str, ...]  # the names of the tensors that leave, in order
    points: Mapping[str, HookPoint]  # where the model hands out a tensor, by the tensor's name
    # The path of the layer or operation that makes a node, by the node's name.
    paths: Mapping[str, str]

    def run(
        self, tensors: Sequence[str], inputs: Sequence, weights: Mapping[str, object]
    ) -> list[np.ndarray]:
        """Compute tensors of the graph, on the processor and without optimizing it.

        A session takes the graph as it is; a ``tf.function`` of it would be traced for longer than
        it runs.
        """
        if not tensors:
            return []
        fed = {**dict(zip(self.inputs, inputs, strict=False)), **weights}
        needed = part_behind(self.definition, tensors)
        present = {node.name for node in needed.node}
        config = tf.compat.v1.ConfigProto(device_count={"GPU": 0})
        config.graph_options.rewrite_options.disable_meta_optimizer = True
        with tf.Graph().as_default() as graph:
            found = tf.graph_util.import_graph_def(needed, return_elements=list(tensors), name="")
            values = {f"{name}:0": np.asarray(fed[name]) for name in fed.keys() & present}
            with silenced_tensorflow(), tf.compat.v1.Session(graph=graph, config=config) as session:
                return [np.asarray(value) for value in session.run(found, values)]

    @functools.cached_property
    def of_one(self) -> "TracedModel":
        """The same for a single example: what follows from its sizes alone is constant.

        A model may repeat what it has learned, as queries of its attention, once for each example.
        """
        live = dependent_nodes(self.definition, self.inputs)
        sizes = [n.name for n in self.definition.node if n.op == "Shape" and n.name in live]
        if not sizes:
            return self
        definition = tf.compat.v1.GraphDef()
        definition.CopyFrom(self.definition)
        nodes = {node.name: node for node in definition.node}
        for name in self.inputs:
            nodes[name].attr["shape"].shape.dim[0].size = 1
        with tf.Graph().as_default() as graph:
            tf.graph_util.import_graph_def(part_behind(definition, sizes), name="")
        for name in sizes:
            shape = graph.get_operation_by_name(name).inputs[0].shape
            if shape.is_fully_defined():
                kind = tf.as_dtype(nodes[name].attr["out_type"].type).as_numpy_dtype
                make_constant(nodes[name], np.array(shape, kind))
        return dataclasses.replace(self, definition=definition)

    def weight_values(self) -> dict[str, tf.Tensor]:
        """Read the variables: their float32 values by the name of their placeholder."""
        return {
            name: tf.cast(tf.convert_to_tensor(variable.value), tf.float32)
            for name, variable in self.weights.items()
        }


def imported_tensors(definition, fed: Mapping[str, object], names: Sequence[str]) -> list:
    """Compute tensors of a graph inside the graph that is being built."""
    # An identity brings eager tensors into the graph.
    given = {
        node.name: tf.identity(fed[node.name])
        for node in part_behind(definition, names).node
        if node.name in fed
    }
    asked = [name for name in names if name.split(":")[0] not in given]
    needed = part_behind(definition, asked)
    used = [node for node in needed.node if node.name in given]
    for node in used:  # XLA refuses placeholders even where nothing reads them
        needed.node.remove(node)
    found = tf.graph_util.import_graph_def(
        needed,
        input_map={f"{node.name}:0": given[node.name] for node in used},
        return_elements=asked,
        name="deployed",
    )
    computed = dict(zip(asked, found, strict=True))
    return [computed[name] if name in computed else given[name.split(":")[0]] for name in names]


def part_behind(definition, names):
    """Return the part of a graph that some tensors are computed by."""
    nodes = {node.name: node for node in definition.node}
    left, needed = [name.split(":")[0] for name in names], set()
    while left:
        name = left.pop()
        if name not in needed:
            needed.add(name)
            left += [source.removeprefix("^").split(":")[0] for source in nodes[name].input]
    part = tf.compat.v1.GraphDef()
    part.versions.CopyFrom(definition.versions)
    part.library.CopyFrom(definition.library)
    part.node.extend(node for node in definition.node if node.name in needed)
    return part


def trace(
    model: keras.Model,
    wrap: Callable | None = None,
    rewritten: Sequence[str] = (),
    batch_size: int | None = None,
) -> TracedModel:
    """Trace what a model computes at inference, in float32."""
    specs = input_specs(model, batch_size)
    variables = _float_variables(model)
    run = model.call if isinstance(model, ModelWrapper) else model
    seen: dict[str, HookPoint] = {}
    main, calls = [], []
    called = []
    if isinstance(unwrap(model), keras.Model):
        called = walk_operations(model) + nested_models(model)
    paths = {id(operation): path for path, operation in called}

    def look(point, tensor, **how):
        del how
        # Functions that a layer calls have graphs of their own, which nothing here reaches into.
        if tensor.dtype.is_floating and tensor.graph is main[0]:
            known = seen.setdefault(tensor.name, point)
            if is_inner_role(known.role) and not is_inner_role(point.role):
                seen[tensor.name] = point  # what Keras names exists outside of graphs, too
        return tensor

    def noted(operation, call):
        def run(*args, **kwargs):
            first = main[0].version
            outputs = call(*args, **kwargs)
            calls.append((first, main[0].version, paths[id(operation)]))
            return outputs

        return run

    def infer(inputs, weights):
        main.append(tf.compat.v1.get_default_graph())
        watched = contextlib.nullcontext()
        if wrap is not None or rewritten:
            watched = HookedCalls(model, forms_for(rewritten)).active(look, wrap)
        noting = intercepted_calls([operation for _, operation in called], noted)
        swaps = list(zip(variables, weights, strict=True))
        # What a layer notes in its variables, as a metric in its call, is no part of the file.
        state = keras.StatelessScope(swaps, initialize_variables=False)
        with watched, noting, state:
            return keras.tree.flatten(run(arrange_inputs(model, inputs), training=False))

    unnamed = [tf.TensorSpec(spec.shape, spec.dtype, f"input_{i}") for i, spec in enumerate(specs)]
    weights = [tf.TensorSpec(v.shape, tf.float32, f"weight_{i}") for i, v in enumerate(variables)]
    with float32_computation(model), deploying():
        traced = tf.function(infer, autograph=False).get_concrete_function(unnamed, weights)
    made_by = {}
    nodes = traced.graph.get_operations()
    for first, last, path in calls:  # a layer's sublayers end before it does
        for node in nodes[first:last]:
            made_by.setdefault(node.name, path)
    names = [tensor.op.name for tensor in traced.inputs[: len(specs) + len(variables)]]
    plain = _without_functions(traced)
    outputs = tuple(_behind_identity(tensor) for tensor in plain.outputs)
    definition = plain.graph.as_graph_def()
    there = {node.name: node for node in definition.node}  # not the inside of what was dissolved
    for outer, inner in plain.graph.captures:
        make_constant(there[inner.op.name], outer.numpy())
    points = {name: point for name, point in seen.items() if name.split(":")[0] in there}
    layers = _paths_of_nodes(definition, made_by)
    named = _name_by_layers(definition, layers, model.name)
    return TracedModel(
        _in_single_precision(definition),
        specs,
        tuple(names[: len(specs)]),
        dict(zip(names[len(specs) :], variables, strict=True)),
        tuple(map(named, outputs)),
        {named(name): point for name, point in points.items()},
        {named(name): path for name, path in layers.items()},
    )


def _paths_of_nodes(definition, made_by):
    """Return the path of each node's layer; the nodes of a function have their caller's."""
    paths = {}
    for node in definition.node:
        name = node.name
        while name and name not in made_by:
            name = name.rpartition("/")[0]
        if name:
            paths[node.name] = made_by[name]
    return paths


def _name_by_layers(definition, paths: Mapping[str, str], scope: str) -> Callable[[str], str]:
    """Name nodes after their layers' paths: "net/conv/Relu". Return what renames a tensor.

    TensorFlow counts scopes: the layer "conv" may be in one that is called "conv_1", as another
    layer of the model is. The converter names what it makes after nodes.
    """
    renamed, counts = {}, collections.Counter()
    taken = {node.name for node in definition.node if node.name not in paths}
    for node in definition.node:
        if node.name not in paths:
            continue
        name = wanted = f"{scope}/{paths[node.name]}/{node.name.rpartition('/')[2]}"
        while name in taken:
            counts[wanted] += 1
            name = f"{wanted}_{counts[wanted]}"
        taken.add(name)
        renamed[node.name] = name

    def named(tensor):
        control = "^" if tensor.startswith("^") else ""
        name, colon, index = tensor.removeprefix("^").partition(":")
        return control + renamed.get(name, name) + colon + index

    for node in definition.node:
        node.name = named(node.name)
        node.input[:] = map(named, node.input)
        node.attr.pop("_class", None)  # names nodes that are to be on the same device
    return named


def _float_variables(model):
    """List the variables whose values are numbers, each once."""
    return list(
        {
            id(variable): variable
            for variable in model.variables
            if keras.backend.is_float_dtype(variable.dtype)
        }.values()
    )


def _in_single_precision(definition):
    """Return the graph with float32 in the place of floats that devices do not compute with.

    An array of NumPy among a model's constants is enough to make what follows float64.
    """
    others = {kind.as_datatype_enum for kind in (tf.float64, tf.float16, tf.bfloat16)}
    single = tf.float32.as_datatype_enum
    for node in definition.node:
        for attribute in node.attr.values():
            if attribute.type in others:
                attribute.type = single
            if attribute.tensor.dtype in others:
                value = tf.make_ndarray(attribute.tensor).astype(np.float32)
                attribute.tensor.CopyFrom(tf.make_tensor_proto(value))
            for place, kind in enumerate(attribute.list.type):
                if kind in others:
                    attribute.list.type[place] = single
        if node.op == "Cast" and node.attr["SrcT"].type == node.attr["DstT"].type:
            kind = node.attr["DstT"].type
            node.op = "Identity"
            node.attr.clear()
            node.attr["T"].type = kind
    return definition


def _behind_identity(tensor):
    """Return the name of what a graph's output only passes on.

    The converter makes loops of their parts, after which nothing can leave by the name of an exit.
    """
    while tensor.op.type == "Identity" and tensor.op.inputs[0].op.type != "Exit":
        tensor = tensor.op.inputs[0]
    return tensor.name


def _without_functions(traced):
    """Return the function with captured variables as constants, and called functions dissolved.

    The converter knows some functions by what they say of themselves; those stay where no other
    has to be dissolved. Loops become their parts, so that what they return has other names.
    """
    graph = traced.graph
    variables = any(outer.dtype == tf.resource for outer, _ in graph.captures)
    if variables or any(_calls_function(operation) for operation in graph.get_operations()):
        return freeze_variables(traced)
    return traced


def make_constant(node, value: np.ndarray) -> None:
    """Turn a node of a graph into a constant."""
    node.op = "Const"
    node.attr.clear()
    del node.input[:]
    tensor = tf.make_tensor_proto(value)
    node.attr["dtype"].type = tensor.dtype
    node.attr["value"].tensor.CopyFrom(tensor)


def _calls_function(operation):
    """Tell whether an operation calls a function that means nothing to the converter."""
    attributes = operation.node_def.attr.values()
    names = [a.func.name for a in attributes if a.HasField("func")]
    names += [function.name for a in attributes for function in a.list.func]
    if not names:
        return False
    library = {f.signature.name: f for f in operation.graph.as_graph_def().library.function}
    return any("api_implements" not in library[name].attr for name in names if name in library)


def computed_once(make: Callable[[], Any]) -> Any:
    """Compute a structure of tensors of a graph that is run once."""
    function = tf.function(make, autograph=False).get_concrete_function()
    with _without_optimizer():
        return function()


@contextlib.contextmanager
def _without_optimizer():
    """Let graphs run as they were traced: optimizing one takes longer than running it once."""
    option = "disable_meta_optimizer"
    before = tf.config.optimizer.get_experimental_options().get(option, False)
    tf.config.optimizer.set_experimental_options({option: True})
    try:
        yield
    finally:
        tf.config.optimizer.set_experimental_options({option: before})


_SEED = 20240229


def probe_inputs(specs, counts: Iterable[int] | None = None, seed=_SEED) -> list[np.ndarray]:
    """Make random inputs, one example or so many of each, with indices that any table has."""
    generator = np.random.default_rng(seed)
    values = []
    for spec, count in zip(specs, counts or [1] * len(specs), strict=True):
        shape = (count, *spec.shape[1:])
        is_real = spec.dtype.is_floating  # of indices, 0 may be masked
        value = generator.standard_normal(shape) if is_real else generator.integers(0, 2, shape)
        values.append(value.astype(spec.dtype.as_numpy_dtype))
    return values


def made_up_weights(traced: TracedModel) -> dict[str, np.ndarray]:
    """Make values near those of a model's weights, so that no two tensors look alike.

    A fresh BatchNormalization, or a bias of zeros, leaves a tensor as it is; the converter leaves
    such operations out of a file, and one tensor is taken for another.
    """
    generator = np.random.default_rng(_SEED)
    values = {}
    for name, variable in traced.weights.items():
        value = keras.ops.convert_to_numpy(variable).astype(np.float32)
        if variable.name == "bias":
            # Small, so that a tensor is known by its values where the file adds it elsewhere.
            values[name] = generator.uniform(-3e-4, 3e-4, value.shape).astype(np.float32)
        else:
            values[name] = _near(value, generator)
    return values


def _near(value, generator):
    """Add noise to an array, in proportion to its values."""
    size = 0.1 * np.abs(value) + 0.02 * np.std(value) + (0.02 if not value.any() else 0.0)
    noise = size * generator.uniform(-1.0, 1.0, value.shape).astype(np.float32)
    # What cannot be negative, such as a variance, stays so.
    return value + (noise if np.min(value, initial=0) < 0 else np.abs(noise))


def readers_of(definition) -> Mapping[str, list]:
    """List the nodes that read the values of each node of a graph, by the node's name."""
    readers = collections.defaultdict(list)
    for node in definition.node:
        if node.op in ("Shape", "ShapeN", "Size"):  # a file with a fixed batch has none
            continue
        for source in node.input:
            if not source.startswith("^"):
                readers[source.split(":")[0]].append(node)
    return readers


def dependent_nodes(definition, names) -> set[str]:
    """Return the nodes whose values depend on those of some nodes, these included."""
    found = set(names)
    for node in definition.node:
        if any(source.split(":")[0] in found for source in node.input):
            found.add(node.name)
    return found
