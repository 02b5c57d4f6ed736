"""A quantization-aware model as a device runs it: its graph on integers, inside TensorFlow."""

import functools
from collections.abc import Callable, Mapping, Sequence

import keras
import numpy as np
import tensorflow as tf

from tfcompress.compat.keras_graphs import output_structure
from tfcompress.compat.keras_logits import with_logits
from tfcompress.keras_graph.wrapper import unwrap
from tfcompress.quantization.deployed_graph import DeployedGraph
from tfcompress.quantization.float_parity import are_alike, first_wrong, nudge, wrong_file
from tfcompress.quantization.integers import GraphIntegers, compiled, integers_of
from tfcompress.quantization.kernels.batches import completed
from tfcompress.quantization.kernels.elementwise import dequantize, quantize
from tfcompress.quantization.kernels.floating import FLOAT
from tfcompress.quantization.kernels.grids import Integers
from tfcompress.quantization.kernels.registry import (
    compute_float,
    compute_integers,
    has_integer_kernel,
)
from tfcompress.quantization.planning import Float
from tfcompress.quantization.recognition import PROBABILITIES
from tfcompress.quantization.tracing import computed_once, probe_inputs
from tfcompress.tflite.constants import constant_value
from tfcompress.tflite.model import Operation

_PROBED_EXAMPLES = 3
# Compiling a recurrent model takes as long as many calls.
_CALLS_BEFORE_COMPILING = 16


class DeployedModel:
    """Inference with the integers of a device, and the numbers that a file is filled with.

    ``state`` returns (ranges of the placement, weights, trained kernels) as they are now; see
    ``integers_of``.
    """

    def __init__(self, graph: DeployedGraph, model: keras.Model, kernels: str, state: Callable):
        self.graph = graph
        self._model, self._kernels, self._state = model, kernels, state
        self._calls = 0

    def with_batch_size(self, batch_size: int | None) -> "DeployedModel":
        """Return the model in a file for another batch size, None for a free one."""
        if batch_size == self.graph.batch_size:
            return self
        graph = self.graph.with_batch_size(batch_size)
        return DeployedModel(graph, self._model, self._kernels, self._state)

    def numbers(self) -> GraphIntegers:
        """Compute what the file is filled with now, as eager tensors."""
        return self._compiled_numbers()

    @functools.cached_property
    def _compiled_numbers(self):
        return compiled(self._numbers)

    def _numbers(self):
        """Compute what the file is filled with, in the graph that is being built."""
        ranges, weights, trained = self._state()
        rows = np.asarray(self.graph.placement_rows, np.int32)
        ranges = tf.gather(ranges, rows) if rows.size else tf.zeros((0, 2))
        return integers_of(self.graph, ranges, weights, trained)

    @functools.cached_property
    def exact(self) -> bool:
        """Whether inference equals the file to the last bit.

        Not if activations are floats, a tensor has no range, or an operation no arithmetic here.
        """
        if self.graph.plan.dtype is None or -1 in self.graph.placement_rows:
            return False
        if _missing_kernels(self.graph, self._kernels):
            return False
        return self._takes_batches or self._is_right

    @functools.cached_property
    def _takes_batches(self) -> bool:
        """Whether the file's operations compute the same on several examples at once."""
        with tf.init_scope():
            return self._computes_the_model(_PROBED_EXAMPLES)

    @functools.cached_property
    def _is_right(self) -> bool:
        """Whether the file computes, with the model's weights, what the model does."""
        with tf.init_scope():
            return self._computes_the_model(1)

    @functools.cached_property
    def operation_types(self) -> frozenset[str]:
        """The types of TensorFlow operations that the model is made of."""
        return frozenset(node.op for node in self.graph.traced.definition.node)

    def require_right(self) -> None:
        """Raise a ConversionError unless the file computes what the model does now."""
        if _missing_kernels(self.graph):
            return  # its operations cannot be run here: the file is compared when it is exported
        is_known = "_takes_batches" in vars(self)  # of weights that may have changed since
        if self._takes_batches and not is_known:
            return
        with tf.init_scope():
            if not self._computes_the_model(1):
                raise wrong_file(self._model, self.graph.layers, self._first_wrong())

    def _first_wrong(self):
        """Find the first operation of the file that does not compute what the model does."""
        file, traced = self.graph.file, self.graph.traced
        inputs, weights = probe_inputs(traced.specs), traced.weight_values()
        made = [i for operation in file.operations for i in operation.outputs]
        tensors = [*traced.points, *traced.outputs]
        right, constants = _run_traced(self.graph, tensors, inputs, weights)
        values = computed_once(lambda: _run_float(self.graph, constants, inputs, made))
        return first_wrong(file, dict(zip(made, values, strict=True)), right)

    def _computes_the_model(self, examples):
        """Compare the file, with the model's own weights, with the graph it was made of."""
        traced = self.graph.traced
        weights = traced.weight_values()
        generator = np.random.default_rng(examples)
        inputs = []
        for one in probe_inputs(traced.specs):
            many = np.repeat(one, examples, 0)
            if many.dtype.kind == "f":
                many = many * generator.uniform(0.5, 2.0, many.shape).astype(many.dtype)
            inputs.append(many)
        expected, constants = _run_traced(self.graph, traced.outputs, inputs, weights)
        try:
            outputs = self.graph.file.outputs
            found = computed_once(lambda: _run_float(self.graph, constants, inputs, outputs))
        except (tf.errors.InvalidArgumentError, ValueError):
            return False

        def nudged():
            moved = {name: nudge(value, generator) for name, value in weights.items()}
            return traced.run(traced.outputs, [nudge(x, generator) for x in inputs], moved)

        return are_alike(found, expected, nudged)

    def __call__(self, inputs):
        """Compute what the device computes on a batch; losses find the logits of probabilities."""
        if tf.executing_eagerly():
            self._calls += 1
            if self._calls <= _CALLS_BEFORE_COMPILING:
                return with_logits(*self._outputs(inputs, self.numbers()))
            return with_logits(*self._compiled(inputs))
        return with_logits(*self._outputs(inputs, self._numbers()))

    def once(self, inputs, numbers: GraphIntegers):
        """Compute what the device computes on a batch, with numbers that are known.

        Nothing is compiled: for a batch or two that takes longer than to compute them. Examples
        that have to be computed one by one are many.
        """
        if self._takes_batches:
            return self._outputs(inputs, numbers)[0]
        run = tf.function(lambda given: self._outputs(given, numbers)[0], autograph=False)
        return run(inputs)

    @functools.cached_property
    def _compiled(self):
        return tf.function(
            lambda inputs: self._outputs(inputs, self._numbers()),
            autograph=False,
            reduce_retracing=True,
        )

    def _outputs(self, inputs, numbers):
        """Run the graph; arrange its outputs as the model's, and list the logits of each."""
        file, specs = self.graph.file, self.graph.traced.specs
        fed = [
            tf.cast(tensor, spec.dtype)
            for tensor, spec in zip(keras.tree.flatten(inputs), specs, strict=True)
        ]
        heads = {
            place: file.makers[index]
            for place, index in enumerate(file.outputs)
            if index in file.makers and file.makers[index].name in PROBABILITIES
        }
        declared = [  # the file knows sizes that Keras does not, as behind an EinsumDense
            (file.tensors[index].shape if None in x.shape[1:] else tuple(x.shape), x.dtype)
            for index, x in zip(file.outputs, keras.tree.flatten(self._structure), strict=True)
        ]
        declared += [declared[place] for place in heads]

        def run(tensors):
            one = IntegerRun(self.graph, numbers, self._kernels)
            return [*one.outputs(tensors), *map(one.logits, heads.values())]

        if self._takes_batches:
            found = run(fed)
        else:
            found = tf.map_fn(
                lambda one: [x[0] for x in run([tensor[tf.newaxis] for tensor in one])],
                fed,
                fn_output_signature=[
                    tf.TensorSpec(shape[1:], tf.as_dtype(dtype)) for shape, dtype in declared
                ],
            )
        found = [
            tf.cast(tf.reshape(tensor, [-1, *shape[1:]]), dtype)
            for tensor, (shape, dtype) in zip(found, declared, strict=True)
        ]
        outputs = found[: len(file.outputs)]
        logits = dict(zip(heads, found[len(outputs) :], strict=True))
        return (
            keras.tree.pack_sequence_as(self._structure, outputs),
            [logits.get(place) for place in range(len(outputs))],
        )

    @functools.cached_property
    def _structure(self):
        """What the model's outputs are arranged as."""
        model = unwrap(self._model)
        structure = output_structure(model)
        return model.outputs if structure is None else structure


class IntegerRun:
    """One run of a graph, filled with numbers, on the integers of a device with some kernels."""

    def __init__(self, graph: DeployedGraph, numbers: GraphIntegers, kernels: str):
        self._graph, self._numbers, self._kernels = graph, numbers, kernels
        self._values: dict[int, object] = {}
        self._converted: dict[tuple, object] = {}

    def outputs(self, inputs: Sequence) -> list:
        """Return the real numbers that the outputs mean; one tensor per input, any batch size."""
        for index, tensor in zip(self._graph.file.inputs, inputs, strict=True):
            self._values[index] = self._as_fed(index, tensor)
        for operation in self._graph.file.operations:
            self._values.update(self._computed(operation))
        return [self._real(self._value_of(index)) for index in self._graph.file.outputs]

    def logits(self, operation: Operation):
        """Return the real numbers that a softmax or a sigmoid has read."""
        return self._real(self._read(operation, 0))

    def all_integers(self, inputs: Sequence) -> dict[int, Integers]:
        """Return the integers of each tensor that has some, by its index."""
        self.outputs(inputs)
        return {i: value for i, value in self._values.items() if isinstance(value, Integers)}

    def alone(self, values: Mapping[int, Integers]) -> dict[int, Integers]:
        """Return the integers that each operation makes, by tensor, of given ones that it reads."""
        made = {}
        for operation in self._graph.file.operations:
            self._values, self._converted = dict(values), {}
            made.update(self._computed(operation))
        return {i: value for i, value in made.items() if isinstance(value, Integers)}

    def _as_fed(self, index, tensor):
        """Round an input as the file is fed."""
        grid = self._grid(index)
        if grid is None:
            return tensor
        # Callers of an 8-bit file round halves away from zero, as the reference kernels do; files
        # with 16 bits take floats, and a kernel rounds them.
        rounding = "reference" if grid.dtype == "INT8" else self._kernels
        return _on_grid(tf.cast(tensor, tf.float32), grid, rounding)

    def _grid(self, index):
        """Return the grid that a tensor is stored on, None for floats."""
        return self._numbers.grids.get(self._graph.plan.tensors.get(index, Float()))

    def _value_of(self, index):
        """Return a tensor in the form in which it is stored."""
        if index not in self._values:
            self._values[index] = _constant(self._graph, index, self._numbers.reals)
        return self._values[index]

    def _real(self, value):
        """Return the real numbers of a tensor."""
        if not isinstance(value, Integers):
            return value
        return dequantize(None, [value], [None], self._kernels)[0]

    def _read(self, operation: Operation, position: int):
        """Return an input in the form in which an operation reads it."""
        index, place = operation.inputs[position], (operation.index, position)
        if index < 0:
            return None
        if place in self._numbers.constants:
            return self._numbers.constants[place]
        value = self._value_of(index)
        wanted = self._graph.plan.reads.get(place)
        if wanted is None:
            return value
        key = index, wanted
        if key not in self._converted:
            grid = self._numbers.grids.get(wanted)
            converted = self._real(value) if grid is None else _on_grid(value, grid, self._kernels)
            self._converted[key] = converted
        return self._converted[key]

    def _computed(self, operation: Operation):
        """Run one operation; return what it makes by its tensors."""
        read = [self._read(operation, position) for position in range(len(operation.inputs))]
        grids = [self._grid(index) for index in operation.outputs]
        operation = completed(operation, self._graph.file.tensors)
        made = compute_integers(operation, read, grids, self._kernels)
        return {
            index: value if grid is None else Integers(value, grid)
            for index, value, grid in zip(operation.outputs, made, grids, strict=True)
        }


def _on_grid(value, grid, rounding):
    """Bring real numbers, or integers of another grid, to a grid."""
    return Integers(quantize(None, [value], [grid], rounding)[0], grid)


def _constant(graph, index, constants):
    """Return the value of a constant: the file's, unless it is given."""
    if index in constants:
        return constants[index]
    return tf.constant(constant_value(graph.model, graph.file.tensors[index]))


def _run_traced(graph, tensors, inputs, weights) -> tuple[list, dict[int, object]]:
    """Compute tensors of the traced model, and the constants of its file, by their tensors."""
    names = graph.operand_names
    operands = dict(zip(names, graph.traced.of_one.run(names, (), weights), strict=True))
    constants = {index: d.compute(operands) for index, d in graph.derivations.items()}
    return graph.traced.run(tensors, inputs, weights), constants


def _run_float(graph, constants, inputs, tensors) -> list:
    """Compute tensors of the float file, with other constants."""
    values = dict(zip(graph.file.inputs, map(tf.constant, inputs), strict=True))

    def value_of(index):
        return values[index] if index in values else _constant(graph, index, constants)

    for operation in graph.file.operations:
        read = [None if index < 0 else value_of(index) for index in operation.inputs]
        made = compute_float(completed(operation, graph.file.tensors), read)
        values.update(zip(operation.outputs, made, strict=True))
    return list(map(value_of, tensors))


def _missing_kernels(graph, kernels="xnnpack") -> bool:
    """Tell whether operations of a graph cannot be run here, in float or on integers."""
    plan = graph.plan
    for operation in graph.file.operations:
        real = any(index in plan.tensors for index in (*operation.inputs, *operation.outputs))
        if real and operation.index not in plan.in_float:
            there = has_integer_kernel(operation.name, plan.dtype, kernels)
        else:
            there = operation.name in FLOAT
        if operation.custom or not there:
            return True
    return False
