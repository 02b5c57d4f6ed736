"""The inside of ``fit``: trainers, optimizers, metrics, variables."""

import types
from contextlib import AbstractContextManager
from typing import Any

import keras
from keras.src.backend import AutocastScope
from keras.src.trainers.compile_utils import CompileMetrics

from tfcompress.backends import runs_on, variable_scope
from tfcompress.compat.keras_graphs import output_structure


def without_autocast() -> AbstractContextManager:
    """Let variables read as they are stored while a ``with`` block runs, in mixed precision too."""
    return AutocastScope(None)


def assign_directly(variable: keras.Variable, value) -> None:
    """Assign to a variable, whatever stateless scope is active."""
    variable._direct_assign(value)


def has_compiled_loss(model: keras.Model) -> bool:
    """Tell whether the model was compiled with a loss."""
    return model._compile_loss is not None


def compiled_loss(model: keras.Model, y, y_pred, sample_weight):
    """Compute the loss that the model was compiled with: a scalar, without its layers' losses."""
    return model._compile_loss(y, y_pred, sample_weight)


def compute_metrics(metrics: list, y_true, y_pred, output_names=None) -> dict:
    """Compute metrics of whole arrays as ``compile`` and ``evaluate`` do, names included.

    Args:
        metrics: names or new metric objects; a list of such for each of several outputs.
        y_true: the labels.
        y_pred: the predictions.
        output_names: the names of several outputs.

    Returns:
        The results by name.
    """
    compiled = CompileMetrics(metrics, None, output_names=output_names)
    compiled.build(y_true, y_pred)
    compiled.update_state(y_true, y_pred)
    return compiled.result()


def variable_key(optimizer: keras.Optimizer, variable):
    """Return by what an optimizer knows a variable, be it Keras's or the one of TensorFlow."""
    return optimizer._var_key(variable)


class BuiltBeforeTracing:
    """Models of TensorFlow whose optimizer and metrics have variables before a step is traced.

    TensorFlow traces a function twice if it makes variables the first time. Keras makes those of
    Adam and of ``metrics=["accuracy"]`` in the first step; on other backends it makes them before.
    """

    def _maybe_symbolic_build(self, iterator: Any = None, data_batch: Any = None) -> None:
        """Build what was compiled, before ``fit`` or ``evaluate`` runs over an iterator."""
        if runs_on("tensorflow") and iterator is not None and self._distribute_strategy is None:
            self._build_metrics(iterator._distributed_dataset.element_spec)
        super()._maybe_symbolic_build(iterator=iterator, data_batch=data_batch)

    def _build_metrics(self, spec: Any) -> None:
        """Build the metrics for batches (x, y, ...) of this form, if it and the model say which."""
        model: Any = self
        while hasattr(model, "model"):
            model = model.model
        metrics, outputs = self._compile_metrics, output_structure(model)
        is_unbuilt = metrics is not None and not metrics.built
        if is_unbuilt and outputs is not None and isinstance(spec, tuple) and len(spec) > 1:
            metrics.build(spec[1], outputs)

    def make_train_function(self, force: bool = False) -> Any:
        """Make the training step, once its optimizer is built."""
        build_optimizer(self)
        return super().make_train_function(force)


def build_optimizer(model: keras.Model) -> None:
    """Make an optimizer's variables for the weights that Keras's own training step updates."""
    own_step = type(model).train_step
    known = getattr(own_step, "__module__", "").startswith(("keras.", "tfcompress."))
    if known and model.optimizer is not None and not model.optimizer.built:
        with variable_scope(model):
            model.optimizer.build(model.trainable_variables)


def skip_symbolic_build(model: keras.Model) -> None:
    """Keep ``fit`` from calling the model on symbolic inputs before it trains."""
    model._maybe_symbolic_build = types.MethodType(_build_nothing, model)


def _build_nothing(model, *args, **kwargs):
    """Do nothing: the model is built."""
