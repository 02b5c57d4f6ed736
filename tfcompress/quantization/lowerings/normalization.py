"""Forms of normalization layers by statistics of their inputs, on every backend of Keras.

Scales and shifts that the converter folds into no kernel are constants of 8 bits on the device.
"""

from keras import layers as kl
from keras import ops

from tfcompress.compat.keras_layers import split_into_groups
from tfcompress.keras_graph.inner_tensors import graph_roles
from tfcompress.quantization.lowerings.channel_normalization import scaled, shifted


def layer_normalization(layer, call, tap):
    """Compute LayerNormalization without the negation of a product, for which devices have none.

    The statistics are those of the input itself, whose differences from the mean are small enough
    for 8 bits.
    """
    if layer.rms_scaling:
        return call

    def run(inputs):
        axes = [layer.axis] if isinstance(layer.axis, int) else list(layer.axis)
        axes = [axis % len(inputs.shape) for axis in axes]
        shape = [size if i in axes else 1 for i, size in enumerate(inputs.shape)]
        return _normalized(layer, tap, ops.cast(inputs, "float32"), axes, shape)

    return run


def group_normalization(layer, call, tap):
    """Compute GroupNormalization without the negation of a product, likewise."""
    del call

    def run(inputs):
        grouped, shape = split_into_groups(layer, inputs)
        grouped = ops.cast(grouped, "float32")
        rank = len(grouped.shape)
        groups = rank - 2 if layer.axis == -1 else layer.axis % (rank - 1)
        axes = [axis for axis in range(1, rank) if axis != groups]
        outputs = _normalized(layer, tap, grouped, axes, shape)
        return ops.reshape(outputs, (-1, *inputs.shape[1:]))

    return run


def _normalized(layer, tap, x, axes, shape):
    """Normalize by the statistics along some axes; scale and shift by weights of a shape."""
    made = graph_roles(tap)
    centred = made("Sub", x - made("Mean", ops.mean(x, axes, keepdims=True)))
    variance = made("Mul", centred * centred)
    variance = made("Add", made("Mean", ops.mean(variance, axes, keepdims=True)) + layer.epsilon)
    outputs = made("Mul", centred * made("Rsqrt", ops.rsqrt(variance), of=variance))
    if layer.scale:
        outputs = scaled(tap, outputs, ops.reshape(_stored(layer.gamma), shape))
    if layer.center:
        outputs = shifted(tap, outputs, ops.reshape(_stored(layer.beta), shape))
    return ops.cast(outputs, layer.compute_dtype)


def _stored(variable):
    """Return the value of a weight in float32."""
    return ops.cast(variable.value, "float32")


def rms_normalization(layer, call, tap):
    """Compute RMSNormalization with a product in place of a square, which devices lack."""
    del call

    def run(inputs):
        made = graph_roles(tap)
        x = ops.cast(inputs, "float32")
        mean = made("Mean", ops.mean(made("Mul", x * x), layer.axis, keepdims=True))
        mean = made("Add", mean + layer.epsilon)
        outputs = made("Mul", x * made("Rsqrt", ops.rsqrt(mean), of=mean))
        outputs = scaled(tap, outputs, _stored(layer.scale))
        return ops.cast(outputs, layer.compute_dtype)

    return run


FORMS = {
    kl.GroupNormalization: group_normalization,
    kl.LayerNormalization: layer_normalization,
    kl.RMSNormalization: rms_normalization,
}
