"""What differs between Keras's backends: the one place that asks which of them runs."""

import contextlib
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import keras
import numpy as np


def jit_compile_on_cpu() -> bool | str:
    """Return the ``jit_compile`` for ``compile`` that trains quickly without a GPU.

    On TensorFlow XLA is several times slower there than its own kernels. Without it JAX would run
    one operation after the other; PyTorch's "auto" compiles nothing.
    """
    return False if runs_on("tensorflow") else "auto"


def runs_on(name: str) -> bool:
    """Tell whether Keras runs on a backend: "tensorflow", "jax" or "torch"."""
    return keras.backend.backend() == name


def variable_scope(model: keras.Model) -> AbstractContextManager:
    """Make the variables of a ``with`` block where those of a model are, on all its replicas."""
    return model.distribute_strategy.scope() if runs_on("tensorflow") else contextlib.nullcontext()


def replicas() -> int:
    """Return on how many replicas the present step runs."""
    if not runs_on("tensorflow"):
        return 1
    return sys.modules["tensorflow"].distribute.get_strategy().num_replicas_in_sync


def assign_array(variable: keras.Variable, array: np.ndarray) -> None:
    """Assign an array of a variable's dtype; TensorFlow's own variable is several times faster."""
    (variable.value if runs_on("tensorflow") else variable).assign(array)


def without_gradients() -> AbstractContextManager:
    """Compute without recording for gradients; only PyTorch records outside a tape."""
    return sys.modules["torch"].no_grad() if runs_on("torch") else contextlib.nullcontext()


def compiled(function: Callable) -> Callable:
    """Return a function of a structure of tensors as the backend compiles it for inference."""
    if runs_on("tensorflow"):
        return traced(function)
    if runs_on("jax"):
        return sys.modules["jax"].jit(function)
    convert = keras.ops.convert_to_tensor
    return sys.modules["torch"].no_grad()(lambda x: function(keras.tree.map_structure(convert, x)))


def traced(function: Callable) -> Callable:
    """Return a function that TensorFlow runs as a graph; other backends run it as it is."""
    if not runs_on("tensorflow"):
        return function
    tf = sys.modules["tensorflow"]
    return tf.function(function, reduce_retracing=True, autograph=False)


def weight_gradients(model: keras.Model, variables: list[keras.Variable]) -> Callable:
    """Return a function from a batch (x, y) to the gradients of the compiled loss in inference.

    The gradients are arrays, one for each variable; None for one that the loss does not depend on.
    """

    def loss_of(values, x, y):
        with keras.StatelessScope(list(zip(variables, values, strict=True))):
            return model.compute_loss(x, y, model(x, training=False))

    if runs_on("jax"):
        gradients_of = sys.modules["jax"].jit(sys.modules["jax"].grad(loss_of))
    elif runs_on("torch"):

        def gradients_of(values, x, y):
            values = [value.detach().requires_grad_(True) for value in values]
            grad = sys.modules["torch"].autograd.grad
            return grad(loss_of(values, x, y), values, allow_unused=True)

    else:
        tf = sys.modules["tensorflow"]

        @tf.function(reduce_retracing=True, autograph=False)
        def gradients_of(values, x, y):
            with tf.GradientTape() as tape:
                tape.watch(values)
                loss = loss_of(values, x, y)
            return tape.gradient(loss, values)

    def arrays(x, y):
        values = [keras.ops.convert_to_tensor(variable) for variable in variables]
        batch = keras.tree.map_structure(keras.ops.convert_to_tensor, (x, y))
        found = gradients_of(values, *batch)
        return [g if g is None else keras.ops.convert_to_numpy(g) for g in found]

    return arrays


def outside_step() -> AbstractContextManager:
    """Create variables while a step is traced; only TensorFlow would make them part of it."""
    tensorflow = sys.modules["tensorflow"] if runs_on("tensorflow") else None
    return tensorflow.init_scope() if tensorflow else contextlib.nullcontext()


def graph_operation(tensor: Any) -> Any:
    """Return the TensorFlow operation that makes a tensor in a graph; None for other tensors."""
    return getattr(tensor, "op", None)


def with_gradient(function: Callable) -> Callable:
    """Return a function of tensors that brings its gradient.

    ``function`` returns its value and a function from the gradient in that to one for each tensor.
    """

    def run(*tensors):
        value, gradient = function(*tensors)

        def from_upstream(*given, upstream=None):  # on PyTorch by name, beside the tensors
            return gradient(given[0] if upstream is None else upstream)

        return value, from_upstream

    return keras.ops.custom_gradient(run)


def checked_finite(tensor: Any, message: str) -> Any:
    """Return a tensor; where a compiled step can stop, not if it holds NaN or infinite values."""
    if runs_on("tensorflow"):
        return sys.modules["tensorflow"].debugging.check_numerics(tensor, message)
    if runs_on("torch") and not keras.ops.all(keras.ops.isfinite(tensor)):
        raise ValueError(message)
    return tensor  # JAX's step goes on, and its loss is NaN


def same_rows(tensor: Any, batch: Any, message: str) -> Any:
    """Return a tensor that has the rows of a batch; raise ValueError, or stop the step, if not."""
    if runs_on("tensorflow"):
        tf = sys.modules["tensorflow"]
        check = tf.debugging.assert_equal(tf.shape(tensor)[0], tf.shape(batch)[0], message)
        with tf.control_dependencies([check] if check is not None else []):
            return tf.identity(tensor)
    if tensor.shape[0] != batch.shape[0]:
        raise ValueError(message)
    return tensor


def require_tensorflow(what: str) -> None:
    """Raise RuntimeError on another backend than TensorFlow; ``what`` begins the message."""
    if not runs_on("tensorflow"):
        raise RuntimeError(
            f"{what} needs Keras on TensorFlow: set KERAS_BACKEND=tensorflow before Keras is "
            f"imported. Received: KERAS_BACKEND={keras.backend.backend()}"
        )


def searched_rows(boundaries: Any, values: Any) -> Any:
    """Return how many of its row's ascending boundaries lie below each value, as int32."""
    if runs_on("jax"):
        rows = (boundaries, values)
        return keras.ops.vectorized_map(lambda row: keras.ops.searchsorted(*row), rows)
    library = sys.modules[keras.backend.backend()]
    return keras.ops.cast(library.searchsorted(boundaries, values), "int32")


def bin_means(numbers: Any, bins: Any, count: int) -> Any:
    """Return the means (rows, count) of the numbers (rows, n) in each bin of their row, or 0."""
    if runs_on("tensorflow") and not _has_gpu():  # where segments make each core read all numbers
        tf = sys.modules["tensorflow"]
        weights = numbers, tf.zeros([0], numbers.dtype)
        sums, counts = (
            tf.raw_ops.DenseBincount(input=bins, size=count, weights=each) for each in weights
        )
    else:
        segments = keras.ops.reshape(flat_indices(bins, count), (-1,))
        sums, counts = (
            keras.ops.segment_sum(
                keras.ops.reshape(each, (-1,)), segments, numbers.shape[0] * count
            )
            for each in (numbers, keras.ops.ones_like(numbers))
        )
    return keras.ops.reshape(keras.ops.divide_no_nan(sums, counts), (-1, count))


def _has_gpu():
    """Tell whether TensorFlow runs on a GPU, which sums bins in no fixed order."""
    return bool(sys.modules["tensorflow"].config.list_logical_devices("GPU"))


def flat_indices(indices: Any, count: int) -> Any:
    """Return indices (rows, n) into rows of ``count`` as indices into all of them, one by one."""
    rows = indices.shape[0]
    return indices + count * keras.ops.arange(rows)[:, None] if rows > 1 else indices


def image_patches(images: Any, size: tuple, strides: tuple, rates: tuple, padding: str) -> Any:
    """Return the patches that a 2D convolution reads; Keras would get them by a convolution."""
    if runs_on("tensorflow"):
        spatial = ([1, *sizes, 1] for sizes in (size, strides, rates))
        return sys.modules["tensorflow"].image.extract_patches(images, *spatial, padding.upper())
    return keras.ops.image.extract_patches(images, size, strides, rates, padding, "channels_last")


def runs_eagerly() -> bool:
    """Tell whether operations are computed at once, and not recorded in a graph of TensorFlow."""
    return not runs_on("tensorflow") or sys.modules["tensorflow"].executing_eagerly()


def graph_being_built() -> Any:
    """Return the graph of TensorFlow that records operations; None where they are computed."""
    return None if runs_eagerly() else sys.modules["tensorflow"].compat.v1.get_default_graph()


def first_rows(tensor: Any, count: Any) -> Any:
    """Return the first rows of a tensor; ``count``, an integer tensor (1,), may be any number."""
    return sys.modules["tensorflow"].strided_slice(tensor, [0], count, [1])


def call_when_run(function: Callable, tensor: Any) -> None:
    """Call a function with a tensor as an array; in a graph of TensorFlow, whenever that runs."""
    if runs_on("tensorflow"):
        sys.modules["tensorflow"].numpy_function(function, [tensor], [])
    else:
        function(keras.ops.convert_to_numpy(tensor))
