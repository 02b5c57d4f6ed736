"""A float model that is traced once, with each of its tensors within reach.

Its variables have made-up values near their own, as constants: a fresh BatchNormalization would
leave a tensor looking like its neighbour. So the model can be run, converted, and converted with
ranges at chosen tensors, all from one graph.
"""

import collections
import contextlib
import functools
from collections.abc import Collection

import keras
import numpy as np
import tensorflow as tf

from tfcompress.graph.deploying import deploying
from tfcompress.graph.inner_tensors import is_inner_role, unwatched
from tfcompress.graph.interception import VariableSwap, float32_computation
from tfcompress.graph.taps import TappedCalls, TapPoint
from tfcompress.quantization.float_islands import keep_float, with_inputs
from tfcompress.quantization.lowerings.operations import forms_for
from tfcompress.quantization.placing.recognition import Candidate
from tfcompress.quantization.placing.repeated import repeated
from tfcompress.quantization.weights import QuantizedWeights
from tfcompress.tflite.conversion import arrange_inputs
from tfcompress.tflite.graph_conversion import Graph

_SEED = 20240229
_MADE_UP_RANGE = (-8.0, 8.0)
# These add up in 32 bits, and a bias with it: what they hand to its addition is never stored.
_ACCUMULATE = frozenset({"Conv2D", "Conv2DBackpropInput", "DepthwiseConv2dNative", "MatMul"})
_ADDITIONS = frozenset({"Add", "AddV2", "BiasAdd"})
_VIEWS = frozenset({"ExpandDims", "Identity", "Reshape", "Squeeze"})


def input_point(index: int) -> TapPoint:
    """Name the model's own input of that index."""
    return TapPoint("", "input", 0, index)


class Probe:
    """A float model with rounded kernels and made-up variables.

    Args:
        model: a built Keras model.
        weights: its kernels.
        in_float: ids of the layers that stay in float.
        specs: the inputs, see ``tfcompress.tflite.conversion.input_specs``.
        rewritten: types of TensorFlow operations that have another form, see ``rewritings``.
    """

    def __init__(
        self,
        model: keras.Model,
        weights: QuantizedWeights,
        in_float: set[int],
        specs: list,
        rewritten: Collection[str] = (),
    ):
        self._tensors: dict[str, tf.Tensor] = {}
        self._points: dict[str, TapPoint] = {}
        self._barriers: set[str] = set()

        taps = TappedCalls(model, forms_for(rewritten))
        made_up = _made_up(model, weights)
        weights = weights.for_one_run()

        def infer(*tensors):
            self._graph_of_outputs = tf.compat.v1.get_default_graph()
            wrap = functools.partial(self._wrap, weights=weights, in_float=in_float)
            with taps.active(self._tap, wrap), VariableSwap(made_up):
                outputs = model(arrange_inputs(model, tensors), training=False)
            return keras.tree.flatten(outputs), list(self._tensors.values())

        with float32_computation(model), deploying():
            self._run = tf.function(infer, autograph=False).get_concrete_function(*specs)
        outputs = self._run.outputs[: len(self._run.outputs) - len(self._tensors)]
        self._graph = Graph(
            self._run.graph.as_graph_def(),
            [tensor.name for tensor in self._run.inputs[: len(specs)]],
            [_behind_identity(tensor) for tensor in outputs],
        )
        # The point that each node with a point repeats, by the node's name.
        self._repeats = {
            name: self._points[f"{original}:0"]
            for name, original in repeated(self._graph.definition).items()
            if f"{name}:0" in self._points and f"{original}:0" in self._points
        }

    def _tap(self, point, tensor, **how):
        del how
        # Functions that a layer calls have graphs of their own, which nothing here reaches into.
        if tensor.dtype.is_floating and tensor.graph is self._graph_of_outputs:
            self._tensors[tensor.name] = tensor
            known = self._points.setdefault(tensor.name, point)
            # What Keras names exists outside of graphs, too.
            if is_inner_role(known.role) and not is_inner_role(point.role):
                self._points[tensor.name] = point
        return tensor

    def _wrap(self, layer, call, tap, weights, in_float):
        run = weights.wrap(layer, call, tap)
        if id(layer) in in_float:
            return keep_float(run)
        return with_inputs(run, self._barrier) if layer in weights else run

    @unwatched
    def _barrier(self, tensor):
        """Return a tensor unchanged, in a way that the converter does not see through.

        A layer with a kernel reads a stored tensor. Without a range in between, the converter moves
        a multiplication before the layer into the rounded kernel, and rounds it wrongly. A
        constant, such as the state that a recurrent layer starts from, is not stored.
        """
        if tensor.op.type in ("Const", "Fill"):
            return tensor
        unchanged = tf.maximum(tensor, tensor.dtype.min)
        self._barriers.add(unchanged.op.name)
        return unchanged

    def convert(self) -> bytes:
        """Convert the float model."""
        return self._graph.convert()

    def convert_with_ranges(self, points, configure) -> bytes:
        """Convert the model with made-up ranges.

        Args:
            points: points whose tensors have a range.
            configure: sets the options of the converter.

        Returns:
            The flatbuffer.
        """
        names = {point: name for name, point in self._points.items()}
        names |= {input_point(index): name for index, name in enumerate(self._graph.inputs)}
        graph = self._graph.with_identities(self._barriers)
        graph = graph.with_ranges([names[point] for point in points], *_MADE_UP_RANGE)
        return graph.convert(configure)

    def run(self, inputs: list[np.ndarray]) -> list[Candidate]:
        """Run the model.

        Args:
            inputs: one array per input.

        Returns:
            The tensors that can have a range, in the order in which they are read. A view of
            another tensor has that one's.
        """
        with _as_traced():
            _, values = self._run(*map(tf.constant, inputs))
        passed_over = {*self._before_bias(), *self._repeats}
        return [
            Candidate(self._points[name], tensor.op.type, value, (value.min(), value.max()))
            for (name, tensor), value in zip(
                self._tensors.items(), (value.numpy() for value in values), strict=True
            )
            if value.size and tensor.op.type not in _VIEWS and tensor.op.name not in passed_over
        ]

    def repeats(self) -> dict[TapPoint, TapPoint]:
        """Tell which points have a tensor that the converter computes once for another point."""
        return {self._points[f"{name}:0"]: point for name, point in self._repeats.items()}

    def _before_bias(self):
        readers, nodes = collections.defaultdict(list), {}
        handed_back = {tensor.op.name for tensor in self._run.outputs}
        for node in self._graph.definition.node:
            nodes[node.name] = node
            if node.name not in handed_back:
                for source in node.input:
                    readers[source.split(":")[0]].append(node)

        def constant_size(name):
            node = nodes.get(name.split(":")[0])
            while node is not None and node.op in _VIEWS:
                node = nodes.get(node.input[0].split(":")[0])
            if node is None or node.op != "Const":
                return 0
            return tf.TensorShape(node.attr["value"].tensor.tensor_shape).num_elements()

        found = set()
        for node in nodes.values():
            if node.op not in _ACCUMULATE:
                continue
            chain = [node]
            while len(next_ones := readers[chain[-1].name]) == 1 and next_ones[0].op in _VIEWS:
                chain.append(next_ones[0])
            added = len(next_ones) == 1 and next_ones[0].op in _ADDITIONS
            bias = max(map(constant_size, next_ones[0].input)) if added else 0
            # Behind a view the converter leaves the bias of a single channel where it is.
            if bias > 1 or (bias and len(chain) == 1):
                found.update(member.name for member in chain)
        return found


@contextlib.contextmanager
def _as_traced():
    """Let graphs run as they were traced: optimizing one takes longer than running it once."""
    option = "disable_meta_optimizer"
    before = tf.config.optimizer.get_experimental_options().get(option, False)
    tf.config.optimizer.set_experimental_options({option: True})
    try:
        yield
    finally:
        tf.config.optimizer.set_experimental_options({option: before})


def _behind_identity(tensor):
    """Return the name of what a graph's output only passes on."""
    while tensor.op.type == "Identity":
        tensor = tensor.op.inputs[0]
    return tensor.name


def _made_up(model, weights):
    generator = np.random.default_rng(_SEED)
    swaps = []
    for variable in model.variables:
        if not keras.backend.is_float_dtype(variable.dtype):
            continue
        value = keras.ops.convert_to_numpy(variable).astype(np.float32)
        if variable.name == "bias":
            # Small, so that a tensor is known by its values where the converter adds it elsewhere.
            value = generator.uniform(-3e-4, 3e-4, value.shape).astype(np.float32)
        else:
            value = _near(value, generator)
        swaps.append((variable, value))
    # A kernel that is on its grid already is rounded alike by TensorFlow and by the converter.
    with VariableSwap(swaps):
        rounded = weights.rounded()
    values = {id(variable): (variable, value) for variable, value in [*swaps, *rounded]}
    return [(variable, np.asarray(value)) for variable, value in values.values()]


def _near(value, generator):
    size = 0.1 * np.abs(value) + 0.02 * np.std(value) + (0.02 if not value.any() else 0.0)
    noise = size * generator.uniform(-1.0, 1.0, value.shape).astype(np.float32)
    # What cannot be negative, such as a variance, stays so.
    return value + (noise if np.min(value, initial=0) < 0 else np.abs(noise))
