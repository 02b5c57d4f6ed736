"""The inside of ``fit``: trainers, optimizers, metrics, variables."""

import types
from contextlib import AbstractContextManager

import keras
from keras.src.backend import AutocastScope
from keras.src.trainers.compile_utils import CompileMetrics


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


def skip_symbolic_build(model: keras.Model) -> None:
    """Keep ``fit`` from calling the model on symbolic inputs before it trains."""
    model._maybe_symbolic_build = types.MethodType(_build_nothing, model)


def _build_nothing(model, *args, **kwargs):
    """Do nothing: the model is built."""
