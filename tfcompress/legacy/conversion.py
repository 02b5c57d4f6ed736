"""Converts tf_keras models to Keras 3 models that compute the same, or wraps those that cannot be.

A converted model has a Keras 3 layer for each layer of the original, and is run beside it. A model
without equivalents, or with ranges that TFMOT has learned, runs inside a ``LegacyModel`` instead.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
from tensorflow import nest

from tfcompress.compat.keras_graphs import produced_by
from tfcompress.compat.tf_keras_models import (
    all_layers,
    has_graph,
    input_layers,
    input_structure,
    is_tf_keras_model,
    nodes_in_order,
    output_structure,
    own_weights,
)
from tfcompress.keras_graph.wrapper import ModelWrapper
from tfcompress.legacy.equivalents import FUNCTIONS, equivalent_layer
from tfcompress.legacy.wrappers import has_learned_ranges, strip_wrappers

_EXAMPLES = 2
_FREE_SIZE = 32
# Shares of the largest output: two implementations of one layer round differently, no more.
_TOLERANCE = {"float16": 2e-2, "bfloat16": 1e-1}
_FLOAT32_TOLERANCE = 1e-4


class NoEquivalentError(ValueError):
    """A layer of a tf_keras model has no Keras 3 layer that computes the same."""


def from_tf_keras(model: Any, example: Any = None) -> keras.Model:
    """Convert a tf_keras (Keras 2) model to a Keras 3 model with the same weights.

    Every layer is replaced by the Keras 3 layer that computes the same, then both models are run:
    the result is returned if their outputs are equal up to rounding. TFMOT's pruning and clustering
    wrappers are stripped, and what they did to the weights stays. The optimizer and the losses
    are not carried over: call ``compile``.

    Args:
        model: a built tf_keras model, Functional or Sequential, nested ones too.
        example: inputs to run both models on, as the model takes them; random ones by default, of
            size 32 where a dimension is free.

    Returns:
        A model of the same name, with the same names of layers ("/" in them becomes "_").

    Raises:
        TypeError: it is not a tf_keras model.
        ValueError: it is not built, is a subclassed model, or is quantization-aware.
        NoEquivalentError: a layer has no equivalent in Keras 3, or computes something else there;
            the message names it.

    Example:
    ```python
    import tf_keras
    import tfcompress as tfc

    model = tfc.from_tf_keras(tf_keras.models.load_model("old_model.h5"))
    quantized = tfc.quantize_aware(model)
    ```
    """
    _require_convertible(model)
    stripped = strip_wrappers(model)
    found = _Conversion().model(stripped)
    if difference := unequal_outputs(stripped, found, example):
        raise NoEquivalentError(
            f"Model {model.name!r} was converted, but the Keras 3 model computes something else: "
            f"{difference}. One of its layers behaves differently in Keras 3. Convert parts of the "
            "model to find which."
        )
    return found


def converted(model):
    """Return a Keras 3 model for a tf_keras model, a ``LegacyModel`` if need be; others as is."""
    if not is_tf_keras_model(model):
        return model
    if has_learned_ranges(model):
        return LegacyModel(model)
    try:
        return from_tf_keras(model)
    except NoEquivalentError:
        return LegacyModel(strip_wrappers(model))


class LegacyModel(ModelWrapper):
    """Runs a tf_keras model, without TFMOT's pruning and clustering, as a Keras 3 model.

    ``has_learned_ranges`` tells whether TFMOT's quantization-aware training made it.
    """

    def __init__(self, model):
        super().__init__(model)
        _require_deployable(model)
        self.has_learned_ranges = has_learned_ranges(model)

    def call(self, inputs, training=False):
        """Run the model at inference on what it takes, or on a list of that in its order."""
        del training
        if isinstance(inputs, dict):
            inputs = [inputs[tensor.name] for tensor in self.model.inputs]
        else:
            inputs = keras.tree.flatten(inputs)
        packed = nest.pack_sequence_as(input_structure(self.model), inputs)
        outputs = self.model(packed, training=False)
        return nest.flatten(outputs) if nest.is_nested(outputs) else outputs


def _require_convertible(model) -> None:
    if not is_tf_keras_model(model):
        raise TypeError(
            "`from_tf_keras` takes a model of tf_keras. "
            f"Received: {model!r} of type {type(model).__module__}.{type(model).__name__}"
        )
    if not _is_sequential(model) and not has_graph(model):
        raise ValueError(
            f"Model {model.name!r} is subclassed: only its `call` method defines how its layers "
            "are connected, so it cannot be converted. Rewrite the class on `keras.Model` and copy "
            "the weights with `set_weights(model.get_weights())`; or call the model once on a "
            "`tf_keras.Input` and export the result: `tf_keras.Model(inputs, model(inputs))`. "
            f"Received: an instance of {type(model).__name__}"
        )
    if not model.built:
        raise ValueError(
            f"Model {model.name!r} is not built, so it has no weights to carry over. Call it once "
            "on a batch, or call `model.build(input_shape)` first."
        )
    if has_learned_ranges(model):
        raise ValueError(
            f"Model {model.name!r} is quantization-aware: Keras 3 layers cannot hold the ranges "
            "that TFMOT has learned. `export_tflite` accepts the model as it is. To continue "
            "training, convert the model that you passed to `quantize_model`, and use "
            "`tfc.quantize_aware`."
        )


def _is_sequential(model) -> bool:
    from tf_keras import Sequential

    return isinstance(model, Sequential)


class _Conversion:
    """One conversion: a layer that is used twice has one equivalent."""

    def __init__(self):
        self._equivalents = {}

    def model(self, legacy, path="") -> keras.Model:
        """Convert a model; ``path`` is that of a nested one, with "/" behind it."""
        build = self._sequential if _is_sequential(legacy) else self._functional
        built = build(legacy, path)
        for layer in legacy.layers:
            self._copy_weights(layer, path)
        return built

    def _sequential(self, legacy, path):
        first = legacy.inputs[0]
        built = keras.Sequential([_input_of(first, first.name)], name=legacy.name)
        for layer in legacy.layers:
            with _named_in_errors(layer, path):
                built.add(self._equivalent(layer, path))
        return built

    def _functional(self, legacy, path):
        tensors = {
            id(tensor): _input_of(tensor, layer.name)
            for tensor, layer in zip(legacy.inputs, input_layers(legacy), strict=True)
        }
        inputs = _mapped(input_structure(legacy), tensors)
        for node in nodes_in_order(legacy):
            with _named_in_errors(node.layer, path):
                args, kwargs = _mapped((node.call_args, node.call_kwargs), tensors)
                made = keras.tree.flatten(self._call(node.layer, path, args, kwargs))
            tensors |= zip(map(id, nest.flatten(node.outputs)), made, strict=True)
        return keras.Model(inputs, _mapped(output_structure(legacy), tensors), name=legacy.name)

    def _call(self, layer, path, args, kwargs):
        kwargs = {name: value for name, value in kwargs.items() if value is not None}
        if type(layer).__name__ in ("TFOpLambda", "SlicingOpLambda", "ClassMethod"):
            while args and args[-1] is None:  # TensorFlow's own default, such as that of `name`
                args = args[:-1]
            outputs = _function(layer)(*args, **kwargs)
            for tensor in keras.tree.flatten(outputs):
                # A name of Keras's own choice may be that of another layer of the model.
                produced_by(tensor).operation.name = layer.name
            return outputs
        equivalent = self._equivalent(layer, path)
        recurrent = isinstance(equivalent, keras.layers.RNN | keras.layers.Bidirectional)
        if recurrent and isinstance(args[0], list):
            # tf_keras appends the initial states to the input.
            sequence, *states = args[0]
            args, kwargs = [sequence], {**kwargs, "initial_state": states}
        return equivalent(*args, **kwargs)

    def _equivalent(self, layer, path):
        if id(layer) not in self._equivalents:
            if is_tf_keras_model(layer):
                _require_convertible(layer)
                self._equivalents[id(layer)] = self.model(layer, f"{path}{layer.name}/")
            else:
                self._equivalents[id(layer)] = equivalent_layer(layer)
        return self._equivalents[id(layer)]

    def _copy_weights(self, layer, path):
        equivalent = self._equivalents.get(id(layer))  # neither inputs nor functions have one
        if equivalent is None or isinstance(equivalent, keras.Model):
            return
        with _named_in_errors(layer, path):
            equivalent.set_weights(layer.get_weights())
        if isinstance(equivalent, keras.layers.Normalization):
            equivalent.finalize_state()


@contextlib.contextmanager
def _named_in_errors(layer, path: str) -> Iterator[None]:
    """Name the layer in errors of its conversion."""
    try:
        yield
    except NoEquivalentError:
        raise
    except (TypeError, ValueError) as error:
        raise NoEquivalentError(
            f"Layer {path + layer.name!r} has no equivalent in Keras 3: {error}. Replace the "
            "layer, or export the tf_keras model as it is. "
            f"Received: a layer of type {type(layer).__name__}"
        ) from error


def _function(layer):
    name = layer.get_config()["function"].removeprefix("compat.v1.")
    if name not in FUNCTIONS:
        raise ValueError(f"there is no operation for tf.{name}; there are for {sorted(FUNCTIONS)}")
    return FUNCTIONS[name]


def _input_of(tensor, name):
    return keras.Input(batch_shape=tuple(tensor.shape), dtype=tensor.dtype.name, name=name)


def _mapped(structure, tensors: dict):
    """Replace the tensors of tf_keras by those of Keras, in plain lists, tuples and dicts."""
    if isinstance(structure, dict):
        return {key: _mapped(item, tensors) for key, item in structure.items()}
    if isinstance(structure, tuple):
        return tuple(_mapped(item, tensors) for item in structure)
    if isinstance(structure, list):
        return [_mapped(item, tensors) for item in structure]
    return tensors.get(id(structure), structure)


def unequal_outputs(legacy, found, example=None) -> str:
    """Run a tf_keras and a Keras 3 model on one batch; say how their outputs differ, if they do."""
    if example is None:
        generator = np.random.default_rng(0)
        example = nest.map_structure(lambda t: _random(generator, t), input_structure(legacy))
    # tf_keras and Keras flatten outputs in one order.
    outputs = (nest.flatten(model(example, training=False)) for model in (legacy, found))
    for place, pair in enumerate(zip(*outputs, strict=True)):
        theirs, own = (np.asarray(output, np.float64) for output in pair)
        if own.shape != theirs.shape:
            return f"output {place} has the shape {own.shape} instead of {theirs.shape}"
        largest = float(np.abs(theirs).max(initial=1e-6))
        tolerance = _TOLERANCE.get(legacy.compute_dtype, _FLOAT32_TOLERANCE) * largest
        if not np.allclose(own, theirs, rtol=0, atol=tolerance, equal_nan=True):
            return (
                f"output {place} differs by up to {np.abs(own - theirs).max():.3g}; the largest "
                f"value is {largest:.3g}"
            )
    return ""


def _random(generator, tensor) -> np.ndarray:
    """Make random inputs for a symbolic tensor: normal numbers, or 0 and 1 for integers."""
    free, *rest = tensor.shape
    shape = (free or _EXAMPLES, *(size or _FREE_SIZE for size in rest))
    if tensor.dtype.is_floating:
        return generator.standard_normal(shape).astype(tensor.dtype.as_numpy_dtype)
    return generator.integers(0, 2, shape).astype(tensor.dtype.as_numpy_dtype)


def _require_deployable(model) -> None:
    from tf_keras.layers import RNN

    for layer in all_layers(model, include_self=False):
        named = f"Layer {layer.name!r} of the tf_keras model {model.name!r}"
        if isinstance(layer, RNN) and not layer.unroll:
            raise ValueError(
                f"{named} is a loop, for which there are no integer kernels. Create it with "
                "unroll=True, or use only layers that `tfc.from_tf_keras` can convert. "
                "Received: unroll=False"
            )
        if layer.compute_dtype in ("float16", "bfloat16"):
            raise ValueError(
                f"{named} computes in mixed precision, which devices do not support. Build the "
                "model without a mixed-precision policy and load these weights into it. "
                f"Received: {layer.compute_dtype}"
            )
        if lost := [weight.name for weight in own_weights(layer) if not _is_finite(weight)]:
            raise ValueError(
                f"{named} has weights that are NaN or infinite: {', '.join(lost)}. Go back to an "
                "earlier checkpoint."
            )


def _is_finite(weight) -> bool:
    return not weight.dtype.is_floating or bool(np.isfinite(weight.numpy()).all())
