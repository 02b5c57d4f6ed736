"""Which layers XNNPACK, the CPU backend of TFLite, runs faster when they are sparse.

XNNPACK has sparse kernels for float 1x1 convolutions. It runs a subgraph channels-first, from a 3x3
convolution of stride 2 with three input channels to a global average pooling. A single layer in
between that has no channels-first kernel keeps the whole subgraph dense. Below a sparsity of two
thirds the dense kernels are as fast.

Sources: the section "Sparse inference" of the README of TensorFlow Lite's XNNPACK delegate, and the
rules of `xnn_subgraph_rewrite_for_nchw`; Elsen et al., "Fast sparse ConvNets", 2020.
"""

import dataclasses

import keras
from keras import layers as kl

from tfcompress.compat.keras_graphs import functional_of, nodes_of, produced_by
from tfcompress.keras_graph.kernels import find_kernels
from tfcompress.keras_graph.wrapper import unwrap

MIN_SPARSITY = 2 / 3

_ACTIVATIONS = ("linear", "relu", "relu6", "leaky_relu", "elu", "sigmoid", "silu")


@dataclasses.dataclass(frozen=True)
class XnnpackPolicy:
    """The layers to prune for XNNPACK's sparse kernels.

    Attributes:
        selected: paths of the layers that run faster when sparse, for ``layers=``.
        left: the reason for every other layer with a kernel, by path.
    """

    selected: tuple[str, ...]
    left: dict[str, str]


def xnnpack_policy(model: keras.Model, sparsity: float) -> XnnpackPolicy:
    """Select the layers of a model that XNNPACK runs faster when they are sparse.

    It does so for float files with sparsely encoded weights.

    Args:
        model: a built Sequential or Functional model without nested models.
        sparsity: the final sparsity of each pruned layer.

    Returns:
        The selection, which may be empty, and the reasons for the other layers.

    Raises:
        TypeError: the model is subclassed.
        ValueError: the sparsity is outside [2/3, 1).

    Example:
    >>> policy = xnnpack_policy(model, sparsity=0.8)
    >>> pruning = MagnitudePruning(ConstantSparsity(0.8, 0), layers=policy.selected)
    """
    if not MIN_SPARSITY <= sparsity < 1.0:
        raise ValueError(
            "XNNPACK's sparse kernels are faster than its dense ones from a sparsity of two thirds "
            f"on: `sparsity` must lie in [2/3, 1). Received: sparsity={sparsity}"
        )
    model = unwrap(model)
    model = functional_of(model)
    if not isinstance(model, keras.Model) or not hasattr(model, "operations"):
        raise TypeError(
            "`model` must be a Sequential or Functional model: the layer order of a subclassed "
            f"model cannot be read. Received: model of type {type(model).__name__}"
        )
    graph = _Graph(model)
    chosen, blocked = set(), {}
    for entry in filter(graph.is_entry, model.operations):
        region, obstacle = graph.region(entry)
        for operation in region:
            if obstacle is None:
                chosen.add(operation)
            else:
                blocked[operation] = obstacle
    selected, left = [], {}
    for kernel in find_kernels(model):
        path, layer = kernel.layer_path, kernel.layer
        if _is_pointwise(layer) and layer in chosen and layer not in blocked:
            selected.append(path)
        else:
            left[path] = _reason(layer, blocked)
    return XnnpackPolicy(tuple(selected), left)


def _reason(layer, blocked):
    """Return why a layer does not run faster when sparse."""
    if not _is_pointwise(layer):
        return "not a 1x1 convolution of stride 1 without dilation and groups"
    if layer in blocked:
        return blocked[layer]
    return (
        "not between a 3x3 convolution of stride 2, padding 1 and 3 input channels, and a global "
        "average pooling"
    )


class _Graph:
    """Producers and consumers of the operations of a Functional model."""

    def __init__(self, model):
        self._producers = {operation: [] for operation in model.operations}
        self._consumers = {operation: [] for operation in model.operations}
        for operation in model.operations:
            for node in nodes_of(operation):
                for tensor in node.input_tensors:
                    producer = produced_by(tensor).operation
                    if producer in self._consumers:
                        self._producers[operation].append(producer)
                        self._consumers[producer].append(operation)

    def is_entry(self, operation):
        """Return whether a channels-first subgraph can begin with an operation."""
        return (
            _is_plain_convolution(operation)
            and operation.kernel_size == (3, 3)
            and operation.strides == (2, 2)
            and operation.kernel.shape[2] == 3
            and self._padding(operation) == ((1, 1), (1, 1))
        )

    def region(self, entry):
        """Return the operations from an entry to the global poolings, and what blocks them."""
        region, pending, obstacle = [], [entry], None
        while pending:
            operation = pending.pop()
            region.append(operation)
            obstacle = obstacle or self._obstacle(operation, entry, region)
            if self._ends(operation):
                continue
            pending += [c for c in self._consumers[operation] if c not in region + pending]
        if obstacle is None:
            obstacle = self._foreign_input(region, entry)
        return region, obstacle

    def _ends(self, operation):
        """Return whether a subgraph ends with an operation."""
        if not isinstance(operation, kl.GlobalAveragePooling2D):
            return False
        onward = self._consumers[operation]
        # With keepdims it may lie in the middle, as in squeeze and excitation.
        return not (operation.keepdims and onward and not any(map(self._unfit, onward)))

    def _obstacle(self, operation, entry, region):
        """Return why an operation blocks the subgraph; None if it does not."""
        if operation is not entry and (unfit := self._unfit(operation)):
            return f"{operation.name!r}, before the global average pooling, is {unfit}"
        if not self._consumers[operation] and not self._ends(operation):
            return f"no global average pooling follows: the model ends with {operation.name!r}"
        return None

    def _foreign_input(self, region, entry):
        """Return which operation reads from outside the subgraph; None if none does."""
        for operation in region:
            for producer in self._producers[operation]:
                if operation is not entry and producer not in region:
                    return (
                        f"{operation.name!r} also reads {producer.name!r}, which lies outside the "
                        "sparse subgraph"
                    )
        return None

    def _unfit(self, operation):
        """Return why an operation has no channels-first kernel; None if it has."""
        activation = getattr(operation, "activation", None)
        if activation is not None and activation.__name__ not in _ACTIVATIONS:
            return f"followed by {activation.__name__}, which has no channels-first kernel"
        if isinstance(operation, kl.DepthwiseConv2D):
            return self._unfit_depthwise(operation)
        if isinstance(operation, kl.Conv2D):
            return None if _is_pointwise(operation) else "a convolution other than 1x1"
        if isinstance(operation, kl.BatchNormalization):
            folds = all(
                isinstance(producer, (kl.Conv2D, kl.DepthwiseConv2D))
                and producer.activation.__name__ == "linear"
                for producer in self._producers[operation]
            )
            return None if folds else "a normalization that folds into no convolution"
        if isinstance(operation, kl.ZeroPadding2D):
            merges = all(isinstance(c, kl.DepthwiseConv2D) for c in self._consumers[operation])
            return None if merges else "a padding that merges into no convolution"
        if isinstance(operation, kl.ReLU):
            plain = operation.max_value in (None, 6) and not operation.threshold
            return None if plain else "a ReLU with an unusual maximum or threshold"
        supported = (
            kl.Add,
            kl.Multiply,
            kl.Activation,
            kl.LeakyReLU,
            kl.ELU,
            kl.Dropout,
            kl.GlobalAveragePooling2D,
        )
        if isinstance(operation, supported):
            return None
        if isinstance(operation, kl.UpSampling2D) and operation.interpolation == "bilinear":
            return None
        return f"of type {type(operation).__name__}, which has no channels-first kernel"

    def _unfit_depthwise(self, layer):
        """Return why a depthwise convolution has no channels-first kernel; None if it has."""
        size = layer.kernel_size[0]
        half = size // 2
        if layer.kernel_size not in ((3, 3), (5, 5)) or layer.depth_multiplier != 1:
            return "a depthwise convolution other than 3x3 or 5x5 with a depth multiplier of 1"
        if layer.strides not in ((1, 1), (2, 2)) or layer.dilation_rate not in (1, (1, 1)):
            return "a depthwise convolution with unusual strides or dilation"
        if self._padding(layer) != ((half, half), (half, half)):
            return (
                f"a depthwise convolution that does not pad by {half} on each side; put "
                f"ZeroPadding2D({half}) before it and set padding='valid'"
            )
        return None

    def _padding(self, layer):
        """Return the rows and columns of zeros around the input of a convolution."""
        before = ((0, 0), (0, 0))
        producers = self._producers[layer]
        if len(producers) == 1 and isinstance(producers[0], kl.ZeroPadding2D):
            before = producers[0].padding
        own = ((0, 0), (0, 0))
        if layer.padding == "same":
            own = tuple(
                _same_padding(size, kernel, stride)
                for size, kernel, stride in zip(
                    layer.input.shape[1:3], layer.kernel_size, layer.strides, strict=True
                )
            )
        return tuple((b[0] + o[0], b[1] + o[1]) for b, o in zip(before, own, strict=True))


def _same_padding(size, kernel, stride):
    """Return the zeros before and after an axis with padding='same'."""
    if stride == 1:
        total = kernel - 1
    elif size is None:
        return None, None
    else:
        total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


def _is_plain_convolution(layer):
    """Return whether a layer is a Conv2D without groups and dilation, channels last."""
    return (
        type(layer) is kl.Conv2D
        and layer.groups == 1
        and layer.dilation_rate in (1, (1, 1))
        and layer.data_format == "channels_last"
    )


def _is_pointwise(layer):
    """Return whether a layer is a 1x1 convolution of stride 1."""
    return _is_plain_convolution(layer) and layer.kernel_size == (1, 1) and layer.strides == (1, 1)
