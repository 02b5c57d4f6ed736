"""What all callbacks of this package share: they can be copied, and say which hook was left out."""

import keras

from tfcompress.compat.keras_attributes import remove_untracked, set_untracked


class CompressionCallback(keras.callbacks.Callback):
    """Base of the callbacks of this package.

    A copy, or what is unpickled, is a new callback made with the same arguments: it belongs to no
    model and to no training. KerasTuner makes one for each trial.
    """

    def __new__(cls, *args, **kwargs):
        """Keep the arguments for copies."""
        callback = super().__new__(cls)
        callback._arguments = args, kwargs
        return callback

    def __init__(self):
        super().__init__()
        self._begun = False

    def __reduce__(self):
        """Say how to make a copy."""
        return _make, (type(self), *self._arguments)

    def on_train_begin(self, logs=None):
        """Check that there is a model to work on."""
        del logs
        if self.model is None:
            raise RuntimeError(
                f"{type(self).__name__} has no model. In a training loop of your own, call "
                "`set_model(model)` before `on_train_begin()`. Received: model=None"
            )
        self._begun = True

    def require_begun(self, hook: str) -> None:
        """Raise RuntimeError where a loop calls a hook before ``on_train_begin``."""
        if not self._begun:
            raise RuntimeError(
                f"{type(self).__name__}.{hook} was called before the training began. In a training "
                "loop of your own, call `set_model(model)` and `on_train_begin()` first."
            )

    def require_optimizer(self) -> keras.optimizers.Optimizer:
        """Return the optimizer whose steps count.

        Raises:
            ValueError: the model has none.
        """
        optimizer = getattr(self.model, "optimizer", None)
        if optimizer is None:
            how = "compiled without an optimizer" if self.model.compiled else "not compiled"
            raise ValueError(
                f"Model {self.model.name!r} is {how}, and {type(self).__name__} follows the "
                "optimizer's step count. Compile the model with one, or in a training loop of your "
                "own set `model.optimizer = optimizer`. Received: optimizer=None"
            )
        return optimizer


def _make(cls, args, kwargs):
    """Make a callback anew."""
    return cls(*args, **kwargs)


def retrace(model: keras.Model) -> None:
    """Make a compiled model trace its training step anew: variables have changed what they do."""
    if model.compiled:
        model.make_train_function(force=True)


def after_every_callback(history, function) -> None:
    """Call a function once every callback of a `fit` has ended, those later in the list included.

    Args:
        history: what ``coming_history`` returned when the training began; with None, the function
            is called now.
        function: takes no arguments.
    """
    if history is None:
        function()
        return
    before = history.on_train_end

    def on_train_end(logs=None):
        remove_untracked(history, "on_train_end")
        before(logs)
        function()

    set_untracked(history, "on_train_end", on_train_end)


def coming_history(model: keras.Model) -> keras.callbacks.History | None:
    """Return the `History` that `fit` has put behind all callbacks; None in a loop by hand.

    To be called when the training begins: what is written already tells of an earlier `fit`.
    """
    history = getattr(model, "history", None)
    fresh = isinstance(history, keras.callbacks.History) and not history.history
    return history if fresh else None
