"""TensorFlow functions in tf_keras graphs, and the Keras 3 operations that do the same.

tf_keras turns ``x * 2`` or ``tf.nn.relu(x)`` on a symbolic tensor into a layer that names the
function. An entry here takes the arguments of that function.
"""

import keras
from keras import ops


def _taking(operation, **names):
    """Rename keyword arguments, TensorFlow's names to those of the operation."""

    def call(*args, **kwargs):
        return operation(*args, **{names.get(key, key): value for key, value in kwargs.items()})

    return call


def _of_two(operation):
    return _taking(operation, x="x1", y="x2", a="x1", b="x2")


def _reduction(operation):
    return _taking(operation, input_tensor="x")


def _cast(x, dtype):
    return ops.cast(x, keras.backend.standardize_dtype(dtype))


def _concat(values, axis):
    return ops.concatenate(list(values), axis=axis)


def _stack(values, axis=0):
    return ops.stack(list(values), axis=axis)


def _matmul(a, b, transpose_a=False, transpose_b=False):
    return ops.matmul(_transposed(a) if transpose_a else a, _transposed(b) if transpose_b else b)


def _transposed(x):
    return ops.swapaxes(x, -1, -2)


def _sliced(x, slices):
    def index(part):
        if not isinstance(part, dict):
            return part
        return slice(part["start"], part["stop"], part["step"])

    parts = slices if isinstance(slices, list | tuple) else [slices]
    return x[tuple(index(part) for part in parts)]


FUNCTIONS = {
    "__operators__.add": _of_two(ops.add),
    "__operators__.getitem": _sliced,
    "__operators__.matmul": _matmul,
    "cast": _cast,
    "clip_by_value": _taking(ops.clip, t="x", clip_value_min="x_min", clip_value_max="x_max"),
    "concat": _concat,
    "expand_dims": _taking(ops.expand_dims, input="x"),
    "linalg.matmul": _matmul,
    "math.abs": ops.absolute,
    "math.add": _of_two(ops.add),
    "math.divide": _of_two(ops.divide),
    "math.exp": ops.exp,
    "math.log": ops.log,
    "math.maximum": _of_two(ops.maximum),
    "math.minimum": _of_two(ops.minimum),
    "math.multiply": _of_two(ops.multiply),
    "math.negative": ops.negative,
    "math.pow": _of_two(ops.power),
    "math.reduce_max": _reduction(ops.max),
    "math.reduce_mean": _reduction(ops.mean),
    "math.reduce_min": _reduction(ops.min),
    "math.reduce_sum": _reduction(ops.sum),
    "math.rsqrt": ops.rsqrt,
    "math.sigmoid": ops.sigmoid,
    "math.sqrt": ops.sqrt,
    "math.square": ops.square,
    "math.subtract": _of_two(ops.subtract),
    "math.tanh": ops.tanh,
    "math.truediv": _of_two(ops.divide),
    "nn.gelu": lambda features, approximate=False: ops.gelu(features, approximate),
    "nn.leaky_relu": lambda features, alpha=0.2: ops.leaky_relu(features, alpha),
    "nn.relu": _taking(ops.relu, features="x"),
    "nn.relu6": _taking(ops.relu6, features="x"),
    "nn.silu": _taking(ops.silu, features="x"),
    "nn.softmax": _taking(ops.softmax, logits="x"),
    "reshape": _taking(ops.reshape, tensor="x", shape="newshape"),
    "squeeze": _taking(ops.squeeze, input="x"),
    "stack": _stack,
    "transpose": _taking(ops.transpose, a="x", perm="axes"),
}


@keras.saving.register_keras_serializable(package="tfcompress")
def hard_sigmoid_of_keras_2(x):
    """Clip ``0.2 x + 0.5`` to [0, 1]; the hard sigmoid of Keras 3 has another slope, 1 / 6."""
    return ops.clip(0.2 * x + 0.5, 0.0, 1.0)
