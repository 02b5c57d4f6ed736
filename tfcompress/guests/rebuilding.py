"""A Keras 3 model that computes what a tf_keras model does, with the same weights."""

import contextlib
from collections.abc import Iterator

import keras
from tensorflow import nest

from tfcompress.compat.keras_graphs import produced_by
from tfcompress.compat.tf_keras_models import (
    has_graph,
    input_layers,
    input_structure,
    nodes_in_order,
    output_structure,
)
from tfcompress.guests.equality import unequal_outputs
from tfcompress.guests.operations import FUNCTIONS
from tfcompress.guests.recognizing import has_learnt_ranges, is_tf_keras_model
from tfcompress.guests.stripping import strip_wrappers
from tfcompress.guests.twins import twin_of


class NoTwinError(ValueError):
    """A layer of a tf_keras model has no Keras 3 layer that does the same."""


def from_tf_keras(model, example=None) -> keras.Model:
    """Rebuild a tf_keras (Keras 2) model as a Keras 3 model with the same weights.

    Every layer is replaced by the Keras 3 layer that does the same, then both models are run: the
    result is returned if their outputs are equal up to rounding. TFMOT's pruning and clustering
    wrappers are taken off, and what they did to the weights stays. The optimizer and the losses
    are not carried over: call ``compile``.

    Args:
        model: a built tf_keras model, Functional or Sequential, nested ones too.
        example: inputs to run both models on, as the model takes them; random ones by default, of
            size 32 where a dimension is free.

    Returns:
        A model of the same name, with the same names of layers ("/" in them becomes "_").

    Raises:
        TypeError: it is no tf_keras model.
        ValueError: it is not built, is a subclassed model, or is quantization-aware.
        NoTwinError: a layer has no Keras 3 twin, or computes something else there; the message
            names it.

    Example:
    ```python
    import tf_keras
    import tfcompress as tfc

    model = tfc.from_tf_keras(tf_keras.models.load_model("old_model.h5"))
    quantized = tfc.quantize_aware(model)
    ```
    """
    _require_rebuildable(model)
    guest = strip_wrappers(model)
    rebuilt = _Rebuilding().model(guest)
    if difference := unequal_outputs(guest, rebuilt, example):
        raise NoTwinError(
            f"Model {model.name!r} was rebuilt, but computes something else: {difference}. A layer "
            "of it behaves differently in Keras 3. Rebuild parts of it to see which."
        )
    return rebuilt


def _require_rebuildable(model) -> None:
    if not is_tf_keras_model(model):
        raise TypeError(
            "`from_tf_keras` takes a model of tf_keras. "
            f"Received: {model!r} of type {type(model).__module__}.{type(model).__name__}"
        )
    if not _is_sequential(model) and not has_graph(model):
        raise ValueError(
            f"Model {model.name!r} is subclassed: how its layers are joined is known to its `call` "
            "alone, so it cannot be rebuilt. Write the class anew on `keras.Model` and pass the "
            "weights on with `set_weights(model.get_weights())`; or export it as it is, called "
            "once on a `tf_keras.Input`: `tf_keras.Model(inputs, model(inputs))`. "
            f"Received: an instance of {type(model).__name__}"
        )
    if not model.built:
        raise ValueError(
            f"Model {model.name!r} is not built, so it has no weights to carry over. Call it once "
            "on a batch, or call `model.build(input_shape)` first."
        )
    if has_learnt_ranges(model):
        raise ValueError(
            f"Model {model.name!r} is quantization-aware: the ranges that TFMOT has learnt have no "
            "place in Keras 3 layers. `export_tflite` takes it as it is. To train on, rebuild the "
            "model that you gave to `quantize_model`, and use `tfc.quantize_aware`."
        )


def _is_sequential(model) -> bool:
    from tf_keras import Sequential

    return isinstance(model, Sequential)


class _Rebuilding:
    """One rebuilding: a layer that is used twice has one twin."""

    def __init__(self):
        self._twins = {}

    def model(self, guest, path="") -> keras.Model:
        """Rebuild a model; ``path`` is that of a nested one, with "/" behind it."""
        build = self._sequential if _is_sequential(guest) else self._functional
        twin = build(guest, path)
        for layer in guest.layers:
            self._copy_weights(layer, path)
        return twin

    def _sequential(self, guest, path):
        twin = keras.Sequential([_input_of(guest.inputs[0], guest.inputs[0].name)], name=guest.name)
        for layer in guest.layers:
            with _named_in_errors(layer, path):
                twin.add(self._twin(layer, path))
        return twin

    def _functional(self, guest, path):
        tensors = {
            id(tensor): _input_of(tensor, layer.name)
            for tensor, layer in zip(guest.inputs, input_layers(guest), strict=True)
        }
        inputs = _mapped(input_structure(guest), tensors)
        for node in nodes_in_order(guest):
            with _named_in_errors(node.layer, path):
                args, kwargs = _mapped((node.call_args, node.call_kwargs), tensors)
                made = keras.tree.flatten(self._call(node.layer, path, args, kwargs))
            tensors |= zip(map(id, nest.flatten(node.outputs)), made, strict=True)
        return keras.Model(inputs, _mapped(output_structure(guest), tensors), name=guest.name)

    def _call(self, layer, path, args, kwargs):
        kwargs = {name: value for name, value in kwargs.items() if value is not None}
        if _is_function(layer):
            while args and args[-1] is None:  # TensorFlow's own default, such as that of `name`
                args = args[:-1]
            outputs = _function(layer)(*args, **kwargs)
            for tensor in keras.tree.flatten(outputs):
                # A name of Keras's own choice may be that of another layer of the guest.
                produced_by(tensor).operation.name = layer.name
            return outputs
        twin = self._twin(layer, path)
        if isinstance(twin, keras.layers.RNN | keras.layers.Bidirectional):
            args, kwargs = _with_states(args, kwargs)
        return twin(*args, **kwargs)

    def _twin(self, layer, path):
        if id(layer) not in self._twins:
            if is_tf_keras_model(layer):
                _require_rebuildable(layer)
                self._twins[id(layer)] = self.model(layer, f"{path}{layer.name}/")
            else:
                self._twins[id(layer)] = twin_of(layer)
        return self._twins[id(layer)]

    def _copy_weights(self, layer, path):
        twin = self._twins.get(id(layer))  # neither inputs nor functions have one
        if twin is None or isinstance(twin, keras.Model):
            return
        with _named_in_errors(layer, path):
            twin.set_weights(layer.get_weights())
        if isinstance(twin, keras.layers.Normalization):
            twin.finalize_state()


@contextlib.contextmanager
def _named_in_errors(layer, path: str) -> Iterator[None]:
    """Name the layer in whatever goes wrong while it is rebuilt."""
    try:
        yield
    except NoTwinError:
        raise
    except (TypeError, ValueError) as error:
        raise NoTwinError(
            f"Layer {path + layer.name!r} has no twin in Keras 3: {error}. Put another layer in "
            "its place, or export the tf_keras model as it is. "
            f"Received: a layer of type {type(layer).__name__}"
        ) from error


def _is_function(layer) -> bool:
    """Tell whether a layer stands for a TensorFlow function that was called on its inputs."""
    return type(layer).__name__ in ("TFOpLambda", "SlicingOpLambda", "ClassMethod")


def _function(layer):
    name = layer.get_config()["function"].removeprefix("compat.v1.")
    if name not in FUNCTIONS:
        raise ValueError(f"there is no operation for tf.{name}; there are for {sorted(FUNCTIONS)}")
    return FUNCTIONS[name]


def _with_states(args, kwargs):
    """Pass the initial states of a recurrent layer by name; tf_keras appends them to its input."""
    if not isinstance(args[0], list):
        return args, kwargs
    sequence, *states = args[0]
    return [sequence], {**kwargs, "initial_state": states}


def _input_of(tensor, name):
    return keras.Input(batch_shape=tuple(tensor.shape), dtype=tensor.dtype.name, name=name)


def _mapped(structure, tensors: dict):
    """Put our tensors in the place of tf_keras's, in plain lists, tuples and dicts."""
    if isinstance(structure, dict):
        return {key: _mapped(item, tensors) for key, item in structure.items()}
    if isinstance(structure, tuple):
        return tuple(_mapped(item, tensors) for item in structure)
    if isinstance(structure, list):
        return [_mapped(item, tensors) for item in structure]
    return tensors.get(id(structure), structure)
