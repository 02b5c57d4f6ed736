"""Forms of layers that TensorFlow computes in steps by itself, for backends without its graphs."""

from keras import layers as kl
from keras import ops

from tfcompress.keras_graph.inner_tensors import graph_roles


def separable(layer, call, tap):
    """Compute a separable convolution as two, with a stored tensor between."""
    del call
    last = layer.data_format == "channels_last"

    def run(inputs):
        made = graph_roles(tap)
        spatial = {"padding": layer.padding, "data_format": layer.data_format}
        how = {"strides": layer.strides, "dilation_rate": layer.dilation_rate, **spatial}
        x = ops.depthwise_conv(inputs, layer.depthwise_kernel, **how)
        x = made("DepthwiseConv2dNative", x)
        x = ops.conv(x, layer.pointwise_kernel, **spatial)
        if layer.use_bias:
            ones = (1,) * layer.rank
            x = x + ops.reshape(layer.bias, (1, *ones, -1) if last else (1, -1, *ones))
        return x if layer.activation is None else layer.activation(x)

    return run


def added(layer, call, tap):
    """Add inputs one after the other, and divide the sum of Average."""

    def run(inputs):
        if len({len(x.shape) for x in inputs}) > 1:
            return call(inputs)
        made = graph_roles(tap)
        total, *others = inputs
        for x in others:
            total = made("Add", total + x)
        return total / len(inputs) if isinstance(layer, kl.Average) else total

    return run


def looked_up(layer, call, tap):
    """Look up rows; their range is that of the table, of which a batch holds few."""

    def run(inputs):
        rows = ops.cast(call(inputs), layer.compute_dtype)
        return tap("rows", rows, observed=lambda: ops.convert_to_tensor(layer.embeddings))

    return run


def rescaled(layer, call, tap):
    """Multiply by a number, and add another one."""
    if not all(isinstance(number, int | float) for number in (layer.scale, layer.offset)):
        return call

    def run(inputs):
        made = graph_roles(tap)
        x = made("Mul", ops.cast(inputs, layer.compute_dtype) * layer.scale)
        return made("Add", x + layer.offset)

    return run


FORMS = {
    kl.Add: added,
    kl.Average: added,
    kl.Embedding: looked_up,
    kl.Rescaling: rescaled,
    kl.SeparableConv1D: separable,
    kl.SeparableConv2D: separable,
}
