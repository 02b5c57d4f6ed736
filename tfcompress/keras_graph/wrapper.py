"""Models that train another model: how to recognise one and find the user's own model in it."""

import os
import warnings
from typing import Any

import keras

from tfcompress.compat.keras_layers import all_layers
from tfcompress.compat.keras_steps import carry_state
from tfcompress.compat.keras_training import BuiltBeforeTracing
from tfcompress.compat.tf_keras_models import is_tf_keras_model
from tfcompress.keras_graph.acceleration import accelerated_calls


class ModelWrapper(BuiltBeforeTracing, keras.Model):
    """A model that runs the user's model under other rules and owns none of its layers.

    It shares the variables of the wrapped model: training one trains the other, so there is
    nothing to strip and nothing to copy back.

    Attributes:
        finished_by: the method that makes a plain model of one that computes with other kernels
            than those it will have in the end; None where kernels are what they are.
    """

    finished_by: str | None = None

    def __init__(self, model: keras.Model, name: str | None = None, **kwargs: Any):
        require_built(model)
        _warn_of_own_steps(model, type(self).__name__)
        super().__init__(name=name or model.name, **kwargs)
        self.model = model
        self.built = True
        carry_state(self)

    def call(self, *args: Any, **kwargs: Any) -> Any:
        """Run the wrapped model."""
        return self.model(*args, **kwargs)

    def train_step(self, *args: Any) -> Any:
        """Train on a batch, with fused BatchNormalization."""
        with accelerated_calls(self):
            return super().train_step(*args)

    def save(self, filepath: Any, *args: Any, **kwargs: Any) -> None:
        """Save as Keras does; in HDF5, its older form, it writes a file that nothing loads."""
        if os.fspath(filepath).endswith((".h5", ".hdf5")):
            raise ValueError(
                f"A {type(self).__name__} is saved in the format of Keras 3: end the name in "
                f"'.keras', or use `save_weights`. Received: filepath={os.fspath(filepath)!r}"
            )
        super().save(filepath, *args, **kwargs)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Compute the wrapped model's output shape."""
        return self.model.compute_output_shape(input_shape)

    def get_config(self) -> dict[str, Any]:
        """Return what rebuilds the wrapper: its base configuration and the wrapped model."""
        return {
            **super().get_config(),
            "model": keras.saving.serialize_keras_object(self.model),
            "layer_names": [each.name for each in _named_parts(self.model)],
        }


def take_model(config: dict) -> keras.Model:
    """Rebuild the model of a wrapper, with the names that its layers and operations had.

    Keras keeps the names of a model's layers, but not of layers inside attention or a layer of
    one's own, nor of some operations: those it makes up anew, from what the process has made.
    """
    model = keras.saving.deserialize_keras_object(config.pop("model"))
    names = config.pop("layer_names", ())  # absent from early files; later ones name layers alone
    parts = _named_parts(model)
    layers = [part for part in parts if isinstance(part, keras.Layer)]
    if len(names) in (len(layers), len(parts)):
        for part, name in zip(parts, names, strict=False):
            part.name = name
    return model


def _named_parts(model):
    """List the layers of a model, then the bare operations of it and of the models inside."""
    layers = list(all_layers(model, include_self=False))
    operations = [each for owner in (model, *layers) for each in getattr(owner, "operations", ())]
    parts = {id(part): part for part in (*layers, *operations)}
    return list(parts.values())


def require_model(model) -> None:
    """Check that what is handed over is a Keras model, not a path for instance."""
    if not (isinstance(model, keras.Model) or is_tf_keras_model(model)):
        hint = ""
        if isinstance(model, str | os.PathLike):
            hint = f" Load it first: keras.saving.load_model({os.fspath(model)!r})."
        raise TypeError(f"A Keras model is needed. Received: {type(model).__name__}.{hint}")


def require_built(model: keras.Model) -> None:
    """Check that a model is one of Keras and has its weights."""
    require_model(model)
    # Models that only hold others, as a GAN does, have no call that would build them.
    parts = list(all_layers(model, include_self=False))
    if not (model.built or (parts and all(part.built for part in parts))):
        raise ValueError(
            f"Model {model.name!r} is not built, so it has no weights. Call it on a batch first, "
            "`model(x[:1])`, or start a Sequential model with `keras.Input`."
        )


def _warn_of_own_steps(model, wrapper):
    """Say which methods of the user's class the ``fit`` of a wrapper does not run."""
    own = [
        name
        for name in ("train_step", "compute_loss")
        if isinstance(model, keras.Model)
        and not getattr(type(model), name).__module__.startswith(("keras.", "tfcompress."))
    ]
    if own:
        warnings.warn(
            f"Model {model.name!r} has a `{own[0]}` of its own, which `fit` of the {wrapper} does "
            "not run: it trains with the loss of `compile`. To train by your own step, hold the "
            "wrapped model in a model that has that step and calls it. "
            f"Received: {type(model).__name__} with {', '.join(own)}",
            stacklevel=4,
        )


def require_final_kernels(model: keras.Model, what: str) -> None:
    """Check that a model computes with its own kernels, so that changing them makes sense."""
    while isinstance(model, ModelWrapper):
        if model.finished_by is not None:
            raise ValueError(
                f"Model {model.name!r} computes with other weights than its kernels hold, but "
                f"{what} needs the final ones. Pass the model that `{model.finished_by}` returns. "
                f"Received: a model of type {type(model).__name__}"
            )
        model = model.model


def unwrap(model: keras.Model) -> keras.Model:
    """Return the user's own model inside any number of wrappers."""
    while isinstance(model, ModelWrapper):
        model = model.model
    return model
