"""Training steps with faster TensorFlow kernels: fused BatchNormalization, and matrix products.

The layers compute with them only while a training step runs in Python: once a trace, or at every
step with ``run_eagerly``. Between steps the model is as Keras has it, so it is copied, saved and
evaluated as usual.
"""

import contextlib
import dataclasses
import threading
from collections.abc import Callable, Iterator
from typing import Any

import keras

from tfcompress.backends import runs_on
from tfcompress.compat.keras_attributes import (
    get_untracked,
    has_untracked,
    replaced_attributes,
    set_untracked,
)
from tfcompress.compat.keras_layers import all_layers
from tfcompress.keras_graph.interception import intercepted_calls
from tfcompress.keras_graph.pointwise_convolution import is_pointwise, product_of_pixels

_thread = threading.local()


def _is_accelerable(model):
    """Tell whether TensorFlow runs the operations of a model's training step one by one."""
    return runs_on("tensorflow") and not model.jit_compile


@contextlib.contextmanager
def accelerated_calls(model: keras.Model) -> Iterator[None]:
    """Let BatchNormalization and pointwise Conv2D layers train with faster kernels in a block.

    Left alone are subclasses, which may compute something else, and layers whose computation is
    replaced already: by a hook, by an enclosing block, or by the replica of another device. XLA
    fuses by itself.
    """
    if not _is_accelerable(model):
        yield
        return
    # Other backends of Keras do without TensorFlow.
    from tfcompress.keras_graph.fused_normalization import fused_training

    with contextlib.ExitStack() as replaced:
        replaced.enter_context(replaced_attributes(_thread, accelerated=True))
        for layer in _pointwise_convolutions(model):
            product = product_of_pixels(layer)
            replaced.enter_context(replaced_attributes(layer, convolution_op=product))
        replaced.enter_context(intercepted_calls(_normalizations(model), fused_training))
        yield


@contextlib.contextmanager
def accelerated_inference(model: keras.Model) -> Iterator[None]:
    """Let a model infer with the fused kernel in a ``with`` block; nothing may need gradients."""
    if not runs_on("tensorflow"):
        yield
        return
    from tfcompress.keras_graph.fused_normalization import fused_inference

    with intercepted_calls(_normalizations(model), fused_inference):
        yield


def _normalizations(model):
    """List the BatchNormalization layers whose call nobody has replaced."""
    return [
        layer
        for layer in all_layers(model)
        if type(layer) is keras.layers.BatchNormalization and not has_untracked(layer, "call")
    ]


def _pointwise_convolutions(model):
    """List the pointwise Conv2D layers whose convolution nobody has replaced."""
    return [
        layer
        for layer in all_layers(model)
        if is_pointwise(layer) and not has_untracked(layer, "convolution_op")
    ]


def in_accelerated_step() -> bool:
    """Tell whether ``accelerated_calls`` is active in this thread: XLA compiles nothing of it."""
    return getattr(_thread, "accelerated", False)


@dataclasses.dataclass(frozen=True)
class AcceleratedStep:
    """The training step of a model, run with ``accelerated_calls``."""

    model: keras.Model
    step: Callable

    def __call__(self, *args: Any) -> Any:
        """Train on a batch."""
        with accelerated_calls(self.model):
            return self.step(*args)


def trace_accelerated(model: keras.Model) -> None:
    """Make a compiled model trace its training step anew, accelerated where that is possible.

    The compiled step is all that changes. Later calls of ``fit`` use it like any step that Keras
    has compiled, until ``compile`` discards it.
    """
    if not _is_accelerable(model):
        model.make_train_function(force=True)
        return
    with replaced_attributes(model, train_step=AcceleratedStep(model, model.train_step)):
        model.make_train_function(force=True)
    model.train_function.accelerated = True


def lacks_acceleration(model: keras.Model) -> bool:
    """Tell whether ``trace_accelerated`` would make the training step of a model faster."""
    traced = getattr(model.train_function, "accelerated", False)
    return model.compiled and _is_accelerable(model) and not traced


def accelerate(model: keras.Model) -> keras.Model:
    """Make ``fit`` train a model faster, with the same numbers to float rounding.

    On TensorFlow, Keras 3 composes BatchNormalization of single operations. ``fit`` and
    ``train_on_batch`` then use TensorFlow's fused kernel instead, and multiply matrices where the
    kernel of a Conv2D is 1x1, which the callbacks and models of this package do by themselves.
    Nothing else changes: the model is saved, loaded, copied, evaluated and exported as before, and
    a copy trains as Keras has it.

    Keras's own BatchNormalization stays for masked inputs, ``synchronized=True``, ``renorm=True``,
    axes other than the last, inputs of 64 bits and frozen layers; its Conv2D for strides, groups,
    images of unknown size and other types than float32. Left alone are subclasses of both, models
    compiled with ``jit_compile=True`` and training loops of your own.

    Args:
        model: a Keras model, compiled or not.

    Returns:
        The same model.

    Raises:
        TypeError: ``model`` is not a Keras 3 model.

    Example:
    >>> model = tfc.accelerate(model)
    >>> model.compile("adam", loss)
    >>> history = model.fit(x, y)
    """
    if not isinstance(model, keras.Model):
        raise TypeError(
            f"`accelerate` takes a Keras 3 model. Received: model={model!r} of type "
            f"{type(model).__name__}"
        )
    if not isinstance(get_untracked(model, "train_step"), AcceleratedStep):
        set_untracked(model, "train_step", AcceleratedStep(model, model.train_step))
        model.train_function = None  # a step that is compiled already
    return model
