"""Models that train another model: how to recognise one and find the user's own model in it."""

import keras


class ModelWrapper(keras.Model):
    """A model that runs the user's model under other rules and owns none of its layers.

    It shares the variables of the wrapped model: training one trains the other, so there is
    nothing to strip and nothing to copy back.

    Args:
        model: a built Keras model.
        name: name of the wrapper; the wrapped model's name when not given.

    Raises:
        ValueError: ``model`` is not built.
    """

    def __init__(self, model, name=None, **kwargs):
        require_built(model)
        super().__init__(name=name or model.name, **kwargs)
        self.model = model
        self.built = True

    def call(self, *args, **kwargs):
        """Run the wrapped model."""
        return self.model(*args, **kwargs)

    def compute_output_shape(self, *args, **kwargs):
        """Compute the wrapped model's output shape."""
        return self.model.compute_output_shape(*args, **kwargs)

    def get_config(self):
        """Return what rebuilds the wrapper: its base configuration and the wrapped model."""
        return {**super().get_config(), "model": keras.saving.serialize_keras_object(self.model)}


def require_built(model: keras.Model) -> None:
    """Check that a model has its weights.

    Args:
        model: a Keras model.

    Raises:
        ValueError: it has not.
    """
    if not model.built:
        raise ValueError(
            f"Model {model.name!r} is not built, so it has no weights to work on. Call it once on "
            "a batch, give it an `Input`, or call `model.build(input_shape)` first."
        )


def unwrap(model: keras.Model) -> keras.Model:
    """Return the user's own model inside any number of wrappers."""
    while isinstance(model, ModelWrapper):
        model = model.model
    return model
