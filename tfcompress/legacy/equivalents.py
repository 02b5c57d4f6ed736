"""The Keras 3 layers and operations that compute what those of tf_keras compute.

tf_keras turns ``x * 2`` or ``tf.nn.relu(x)`` on a symbolic tensor into a layer that names the
TensorFlow function; ``FUNCTIONS`` has an operation for each, which takes that function's arguments.
"""

import keras
import numpy as np
from keras import ops

from tfcompress.compat.keras_layers import application_layer

# Settings that Keras 3 lacks: dropped if they have the value that Keras 3 assumes, refused if not.
_REQUIRED = {
    "groups": 1,
    "ragged": False,
    "renorm": False,
    "robust_masking": False,
    "softmax_robust_masking": False,
    "sparse": False,
    "time_major": False,
    "virtual_batch_size": None,
}
_IGNORED = {
    "batch_input_shape",
    "fused",
    "input_length",
    "key_shape",
    "output_shape_module",
    "output_shape_type",
    "query_shape",
    "value_shape",
}
_RENAMED = {"LeakyReLU": {"alpha": "negative_slope"}}
# A separable or depthwise layer lists the settings of a plain kernel that it does not have.
_NO_PLAIN_KERNEL = {"DepthwiseConv1D", "DepthwiseConv2D", "SeparableConv1D", "SeparableConv2D"}
_GROUPED = {"Conv1D", "Conv2D", "Conv3D"}
# Private layers of tf_keras.applications, and the modules of Keras that hold their equivalents.
_OF_APPLICATIONS = {
    "CustomScaleLayer": "inception_resnet_v2",
    "LayerScale": "convnext",
    "StochasticDepth": "convnext",
}


def equivalent_layer(layer) -> keras.Layer:
    """Make the Keras 3 layer that computes what a tf_keras layer computes, without its weights.

    The name stays, except that "/" becomes "_". A ``ValueError`` says why there is no equivalent.
    """
    kind = type(layer).__name__
    if not type(layer).__module__.startswith("tf_keras."):
        raise ValueError(f"its class, {type(layer).__qualname__}, is not part of tf_keras")
    if kind == "Lambda":
        return keras.layers.Lambda(
            layer.function, arguments=dict(layer.arguments), name=_name(layer.name)
        )
    return _class_of(kind).from_config(_config(kind, layer.get_config()))


def _class_of(kind: str) -> type[keras.Layer]:
    if kind in _OF_APPLICATIONS:
        return application_layer(_OF_APPLICATIONS[kind], kind)
    found = getattr(keras.layers, kind, None)
    if found is None:
        raise ValueError(f"Keras 3 has no layer {kind}")
    return found


def _config(kind: str, config: dict) -> dict:
    """Translate the configuration of a layer, and of the layers inside it."""
    renamed = _RENAMED.get(kind, {})
    translated = {}
    for key, value in config.items():
        of_plain_kernel = key.startswith("kernel_") and key != "kernel_size"
        if key in _IGNORED or (kind in _NO_PLAIN_KERNEL and of_plain_kernel):
            continue
        if key in _REQUIRED and not (key == "groups" and kind in _GROUPED):
            if value != _REQUIRED[key]:
                raise ValueError(f"{kind} of Keras 3 has no setting {key}={value!r}")
            continue
        translated[renamed.get(key, key)] = _value(key, value)
    if isinstance(translated.get("axis"), list) and kind == "BatchNormalization":
        (translated["axis"],) = translated["axis"]
    return translated


def _value(key: str, value):
    if key == "name":
        return _name(value)
    if key == "dtype" and isinstance(value, dict):  # a policy of mixed precision
        return value["config"]["name"]
    if key.endswith("activation") and value == "hard_sigmoid":
        return hard_sigmoid_of_keras_2
    if isinstance(value, dict) and str(value.get("module", "")).startswith("keras.layers"):
        return {**value, "config": _config(value["class_name"], value["config"])}
    return _plain(value)


def _plain(value):
    """Turn the arrays and tracked containers of tf_keras into plain numbers, lists and dicts."""
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def _name(name: str) -> str:
    return name.replace("/", "_")


@keras.saving.register_keras_serializable(package="tfcompress")
def hard_sigmoid_of_keras_2(x):
    """Clip ``0.2 x + 0.5`` to [0, 1]; the hard sigmoid of Keras 3 has another slope, 1 / 6."""
    return ops.clip(0.2 * x + 0.5, 0.0, 1.0)


def _taking(operation, **names):
    """Rename keyword arguments, TensorFlow's names to those of the operation."""

    def call(*args, **kwargs):
        return operation(*args, **{names.get(key, key): value for key, value in kwargs.items()})

    return call


def _binary(operation):
    return _taking(operation, x="x1", y="x2", a="x1", b="x2")


def _reduction(operation):
    return _taking(operation, input_tensor="x")


def _matmul(a, b, transpose_a=False, transpose_b=False):
    a = ops.swapaxes(a, -1, -2) if transpose_a else a
    return ops.matmul(a, ops.swapaxes(b, -1, -2) if transpose_b else b)


def _sliced(x, slices):
    def index(part):
        if not isinstance(part, dict):
            return part
        return slice(part["start"], part["stop"], part["step"])

    parts = slices if isinstance(slices, list | tuple) else [slices]
    return x[tuple(index(part) for part in parts)]


FUNCTIONS = {
    "__operators__.add": _binary(ops.add),
    "__operators__.getitem": _sliced,
    "__operators__.matmul": _matmul,
    "cast": lambda x, dtype: ops.cast(x, keras.backend.standardize_dtype(dtype)),
    "clip_by_value": _taking(ops.clip, t="x", clip_value_min="x_min", clip_value_max="x_max"),
    "concat": lambda values, axis: ops.concatenate(list(values), axis=axis),
    "expand_dims": _taking(ops.expand_dims, input="x"),
    "linalg.matmul": _matmul,
    "math.abs": ops.absolute,
    "math.add": _binary(ops.add),
    "math.divide": _binary(ops.divide),
    "math.exp": ops.exp,
    "math.log": ops.log,
    "math.maximum": _binary(ops.maximum),
    "math.minimum": _binary(ops.minimum),
    "math.multiply": _binary(ops.multiply),
    "math.negative": ops.negative,
    "math.pow": _binary(ops.power),
    "math.reduce_max": _reduction(ops.max),
    "math.reduce_mean": _reduction(ops.mean),
    "math.reduce_min": _reduction(ops.min),
    "math.reduce_sum": _reduction(ops.sum),
    "math.rsqrt": ops.rsqrt,
    "math.sigmoid": ops.sigmoid,
    "math.sqrt": ops.sqrt,
    "math.square": ops.square,
    "math.subtract": _binary(ops.subtract),
    "math.tanh": ops.tanh,
    "math.truediv": _binary(ops.divide),
    "nn.gelu": lambda features, approximate=False: ops.gelu(features, approximate),
    "nn.leaky_relu": lambda features, alpha=0.2: ops.leaky_relu(features, alpha),
    "nn.relu": _taking(ops.relu, features="x"),
    "nn.relu6": _taking(ops.relu6, features="x"),
    "nn.silu": _taking(ops.silu, features="x"),
    "nn.softmax": _taking(ops.softmax, logits="x"),
    "reshape": _taking(ops.reshape, tensor="x", shape="newshape"),
    "squeeze": _taking(ops.squeeze, input="x"),
    "stack": lambda values, axis=0: ops.stack(list(values), axis=axis),
    "transpose": _taking(ops.transpose, a="x", perm="axes"),
}
