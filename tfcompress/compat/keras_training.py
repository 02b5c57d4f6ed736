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
    """Models whose losses, metrics and optimizer are built before TensorFlow traces a step.

    TensorFlow traces a function twice if it makes variables the first time. Keras makes those of
    Adam, of ``metrics=["accuracy"]`` and of several losses in the first step; on other backends it
    makes them before.
    """

    def _maybe_symbolic_build(self, iterator: Any = None, data_batch: Any = None) -> None:
        """Build what was compiled, before ``fit`` or ``evaluate`` runs over an iterator."""
        if runs_on("tensorflow") and iterator is not None and self._distribute_strategy is None:
            self._build_compiled(iterator._distributed_dataset.element_spec)
        super()._maybe_symbolic_build(iterator=iterator, data_batch=data_batch)

    def _build_compiled(self, spec: Any) -> None:
        """Build losses and metrics for batches (x, y, ...) of this form, where that is known."""
        model: Any = self
        while isinstance(model, BuiltBeforeTracing):  # wrappers
            model = model.model  # type: ignore[attr-defined]
        outputs = output_structure(model)
        if outputs is None or not isinstance(spec, tuple) or len(spec) < 2:
            return
        labels = spec[1]
        if isinstance(outputs, list) and isinstance(labels, tuple):  # datasets have no lists
            labels = list(labels)
        try:
            keras.tree.assert_same_structure(labels, outputs)
        except ValueError:
            return
        for compiled in (self._compile_loss, self._compile_metrics):
            if compiled is not None and not compiled.built:
                compiled.build(labels, outputs)

    @property
    def has_all_weights(self) -> bool:
        """Whether the first training step makes no weights that it trains."""
        return True

    def make_train_function(self, force: bool = False) -> Any:
        """Make the training step, once its optimizer is built."""
        build_optimizer(self)
        return super().make_train_function(force)


def build_optimizer(model: keras.Model) -> None:
    """Make an optimizer's variables for the weights that Keras's own training step updates.

    Not if weights of the model are made in that step, or the step is the user's own.
    """
    known = getattr(type(model).train_step, "__module__", "").startswith(("keras.", "tfcompress."))
    complete = getattr(model, "has_all_weights", True)
    complete = complete and all(layer.built for layer in model._flatten_layers())
    if known and complete and model.optimizer is not None and not model.optimizer.built:
        with variable_scope(model):
            model.optimizer.build(model.trainable_variables)


def skip_symbolic_build(model: keras.Model) -> None:
    """Keep ``fit`` from calling the model on symbolic inputs before it trains."""
    model._maybe_symbolic_build = types.MethodType(_build_nothing, model)


def _build_nothing(model, *args, **kwargs):
    """Do nothing: the model is built."""
