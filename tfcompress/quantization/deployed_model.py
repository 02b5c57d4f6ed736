"""A quantization-aware model as a device runs it."""

import functools
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from tfcompress.compat.keras_graphs import output_structure
from tfcompress.compat.keras_logits import with_logits
from tfcompress.keras_graph.hooks import HookPoint
from tfcompress.keras_graph.wrapper import unwrap
from tfcompress.quantization.deployed_graph import DeployedGraph, probe_inputs
from tfcompress.quantization.execution import (
    missing_kernels,
    probability_outputs,
    run_float,
    run_integers,
)
from tfcompress.quantization.float_file import ConversionError
from tfcompress.quantization.float_parity import are_alike
from tfcompress.quantization.integers import GraphIntegers, compiled, integers_of, plan_ranges
from tfcompress.quantization.tracing import computed_once

_PROBED_EXAMPLES = 3
# Compiling a recurrent model takes as long as many calls.
_CALLS_BEFORE_COMPILING = 16


class DeployedModel:
    """Inference with the integers of a device, and the numbers that a file is filled with.

    Args:
        graph: the deployed graph.
        model: the user's model.
        kernels: "xnnpack", "reference" or "micro".
        state: returns (ranges, weights, trained kernels), see ``integers_of``; as they are now.
    """

    def __init__(self, graph: DeployedGraph, model: keras.Model, kernels: str, state: Callable):
        self.graph = graph
        self._model, self._kernels, self._state = model, kernels, state
        self._calls = 0

    def numbers(self) -> GraphIntegers:
        """Compute what the file is filled with now, as eager tensors."""
        return self._compiled_numbers()

    @functools.cached_property
    def probabilities(self) -> frozenset[HookPoint]:
        """The points of softmaxes and sigmoids that nothing but the model's outputs reads."""
        return self.graph.probability_points()

    @functools.cached_property
    def _compiled_numbers(self):
        return compiled(self._numbers)

    def _numbers(self):
        """Compute what the file is filled with, in the graph that is being built."""
        ranges, weights, trained = self._state()
        return integers_of(self.graph, plan_ranges(self.graph, ranges), weights, trained)

    @functools.cached_property
    def exact(self) -> bool:
        """Whether inference equals the file to the last bit.

        It does unless activations are floats, a tensor of the file has no range, or an operation
        has no arithmetic here.
        """
        plan = self.graph.plan
        if plan.dtype is None or -1 in self.graph.placement_rows:
            return False
        if missing_kernels(self.graph, self._kernels):
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

    def require_right(self) -> None:
        """Check that the file computes what the model does, before its numbers are rounded.

        Raises:
            ConversionError: it does not.
        """
        if missing_kernels(self.graph):
            return  # its operations cannot be run here: the file is compared when it is exported
        if not (self._takes_batches or self._is_right):
            raise ConversionError(
                f"The float file of model {self._model.name!r} does not compute what the model "
                "does, so no file is made of it."
            )

    def _computes_the_model(self, examples):
        """Compare the file, with the model's own weights, with the graph it was made of."""
        traced = self.graph.traced
        generator = np.random.default_rng(examples)
        inputs = []
        for one in probe_inputs(traced.specs):
            many = np.repeat(one, examples, 0)
            if many.dtype.kind == "f":
                many = many * generator.uniform(0.5, 2.0, many.shape).astype(many.dtype)
            inputs.append(many)
        weights = traced.weight_values()

        def run():
            constants = self.graph.real_constants(weights)
            return run_float(self.graph, constants, [tf.constant(x) for x in inputs])

        try:
            found = computed_once(run)
        except (tf.errors.InvalidArgumentError, ValueError):
            return False
        return are_alike(found, lambda x: traced.run(traced.outputs, x, weights), inputs)

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

        Args:
            inputs: what the model takes.
            numbers: from ``numbers``.

        Returns:
            The model's outputs.
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
        specs = self.graph.traced.specs
        fed = [
            tf.cast(tensor, spec.dtype)
            for tensor, spec in zip(keras.tree.flatten(inputs), specs, strict=True)
        ]

        heads = probability_outputs(self.graph)
        declared = [*self._declared, *(self._declared[place] for place in heads)]

        def run(tensors):
            outputs, logits = run_integers(self.graph, numbers, tensors, self._kernels)
            return [*outputs, *(logits[place] for place in heads)]

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
        outputs, behind = found[: len(self._declared)], found[len(self._declared) :]
        logits = dict(zip(heads, behind, strict=True))
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

    @functools.cached_property
    def _declared(self):
        """The shape and the type of each output."""
        return [(tuple(x.shape), x.dtype) for x in keras.tree.flatten(self._structure)]
