"""Base class of the callbacks, and what they need to know about ``fit``."""

from typing import Any

import keras

from tfcompress.compat.keras_attributes import remove_untracked, set_untracked
from tfcompress.keras_graph.acceleration import trace_accelerated


class CompressionCallback(keras.callbacks.Callback):
    """A callback that can be copied and that reports skipped hooks.

    A copied or unpickled callback is a new one with the same arguments: it belongs to no model.
    KerasTuner copies callbacks for each trial.
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
        """Return how to make a copy."""
        return _make, (type(self), *self._arguments)

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Check that there is a model to work on."""
        del logs
        if self.model is None:
            raise RuntimeError(
                f"{type(self).__name__} has no model. In a custom training loop, call "
                "`set_model(model)` before `on_train_begin()`. Received: model=None"
            )
        self._begun = True

    def require_begun(self, hook: str) -> None:
        """Raise RuntimeError if a loop calls a hook before ``on_train_begin``."""
        if not self._begun:
            raise RuntimeError(
                f"{type(self).__name__}.{hook} was called before the training began. In a custom "
                "training loop, call `set_model(model)` and `on_train_begin()` first."
            )

    def require_optimizer(self) -> keras.optimizers.Optimizer:
        """Return the optimizer whose steps count; raise ValueError if there is none."""
        optimizer = getattr(self.model, "optimizer", None)
        if optimizer is None:
            how = "compiled without an optimizer" if self.model.compiled else "not compiled"
            raise ValueError(
                f"Model {self.model.name!r} is {how}, but {type(self).__name__} follows the "
                "optimizer's step count. Compile the model with an optimizer, or in a custom "
                "training loop set `model.optimizer = optimizer`. Received: optimizer=None"
            )
        return optimizer


def _make(cls, args, kwargs):
    """Make a callback from its arguments."""
    return cls(*args, **kwargs)


def retrace(model: keras.Model) -> None:
    """Make a compiled model trace its training step again, with fused kernels."""
    if model.compiled:
        trace_accelerated(model)


def after_every_callback(history, function) -> None:
    """Call a function once every callback of a `fit` has ended; at once if ``history`` is None."""
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
    """Return the `History` that `fit` calls after all other callbacks; None in a custom loop.

    To be called when the training begins: a filled one belongs to an earlier `fit`.
    """
    history = getattr(model, "history", None)
    fresh = isinstance(history, keras.callbacks.History) and not history.history
    return history if fresh else None
