"""The Keras 3 layer that does what a tf_keras layer does."""

import keras
import numpy as np

from tfcompress.compat.keras_layers import application_layer
from tfcompress.guests.operations import hard_sigmoid_of_keras_2

# What the configuration of a tf_keras layer says and Keras 3 has no name for: left out where it
# says what Keras 3 does anyway, otherwise refused.
_MUST_BE = {
    "groups": 1,
    "ragged": False,
    "renorm": False,
    "robust_masking": False,
    "softmax_robust_masking": False,
    "sparse": False,
    "time_major": False,
    "virtual_batch_size": None,
}
_SAYS_NOTHING = {
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
# The layers of tf_keras.applications that are no public layers have twins that are none either.
_OF_APPLICATIONS = {
    "CustomScaleLayer": "inception_resnet_v2",
    "LayerScale": "convnext",
    "StochasticDepth": "convnext",
}


def twin_of(layer) -> keras.Layer:
    """Make the Keras 3 layer that does what a tf_keras layer does; weights are not copied.

    Args:
        layer: a tf_keras layer, but no model.

    Returns:
        A new layer of the same name, where Keras 3 allows it: "/" becomes "_".

    Raises:
        ValueError: the layer is not one of Keras, Keras 3 has no such layer, or it has a setting
            that Keras 3 does not know.
    """
    kind = type(layer).__name__
    if not type(layer).__module__.startswith("tf_keras."):
        raise ValueError(f"it is of a class of your own, {type(layer).__qualname__}")
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
        if key in _SAYS_NOTHING or (kind in _NO_PLAIN_KERNEL and _is_of_plain_kernel(key)):
            continue
        if key in _MUST_BE and not (key == "groups" and kind in _GROUPED):
            if value != _MUST_BE[key]:
                raise ValueError(f"{kind} of Keras 3 has no setting {key}={value!r}")
            continue
        translated[renamed.get(key, key)] = _value(key, value)
    if isinstance(translated.get("axis"), list) and kind == "BatchNormalization":
        (translated["axis"],) = translated["axis"]
    return translated


def _is_of_plain_kernel(key: str) -> bool:
    return key.startswith("kernel_") and key != "kernel_size"


def _value(key: str, value):
    if key == "name":
        return _name(value)
    if key == "dtype" and isinstance(value, dict):  # a policy of mixed precision
        return value["config"]["name"]
    if key.endswith("activation") and value == "hard_sigmoid":
        return hard_sigmoid_of_keras_2
    if isinstance(value, dict) and str(value.get("module", "")).startswith("keras.layers"):
        kind = value["class_name"]
        return {**value, "config": _config(kind, value["config"])}
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
