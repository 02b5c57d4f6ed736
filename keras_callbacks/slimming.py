"""Training that shows which channels a network can do without."""

import keras
import numpy as np
from keras import ops

from keras_callbacks.callback import CompressionCallback, retrace
from tfcompress.keras_graph.selection import LayerSelector, select_layers
from tfcompress.pruning.regularization import SparsityRegularizer


class NetworkSlimming(CompressionCallback):
    """An L1 penalty on the scales of BatchNormalization, for ``criterion="gamma"``.

    The penalty pulls the scales of channels that matter little towards zero while the network
    trains. ``tfc.remove_channels(model, ..., criterion="gamma", scope="global")`` then removes
    these channels. While training, ``small_scales`` in the logs tells the share of scales below a
    hundredth of the largest of their layer: what can go without harm. The penalty is taken off
    when the training ends.

    Args:
        strength: weight of the sum of the scales' magnitudes in the loss; 1e-4 to 1e-3 is usual.
        layers: which layers: a regular expression, a list of names or layers, or a callable; all
            BatchNormalization layers by default.

    Raises:
        ValueError: ``strength`` is not positive. Before the first step: the model is not built, or
            no selected layer is a BatchNormalization with a scale.
        TypeError: ``layers`` is not a selector.

    Example:
    >>> model.fit(x, y, epochs=20, callbacks=[NetworkSlimming(1e-3)])
    >>> smaller = tfc.remove_channels(model, ratio=0.5, criterion="gamma", scope="global")

    Source: Liu et al., "Learning efficient convolutional networks through network slimming", 2017,
    https://arxiv.org/abs/1708.06519.
    """

    def __init__(self, strength: float = 1e-4, layers: LayerSelector = None):
        super().__init__()
        if not strength > 0:
            raise ValueError(f"`strength` must be positive. Received: strength={strength!r}")
        self.strength = strength
        self.layers = layers
        self._scales = []

    def on_train_begin(self, logs=None):
        """Put the penalty on the scales."""
        super().on_train_begin(logs)
        self._take_off()  # a training that was interrupted left it there
        if not self.model.built:
            raise ValueError(
                f"Model {self.model.name!r} is not built, so it has no scales yet. Call it once on "
                "a batch, give it an `Input`, or call `model.build(input_shape)` first."
            )
        self._scales = [
            layer.gamma
            for _, layer in select_layers(self.model, self.layers)
            if isinstance(layer, keras.layers.BatchNormalization) and layer.scale
        ]
        if not self._scales:
            raise ValueError(
                f"Model {self.model.name!r} has no BatchNormalization with a scale among the "
                f"selected layers. Received: layers={self.layers!r}"
            )
        with self.model.distribute_strategy.scope():
            strength = keras.Variable(
                self.strength, dtype="float32", trainable=False, name="strength"
            )
        for scale in self._scales:
            scale.regularizer = SparsityRegularizer(strength, None, scale.regularizer)
        retrace(self.model)

    def on_epoch_end(self, epoch, logs=None):
        """Report how many scales are small."""
        self.require_begun("on_epoch_end")
        if logs is not None:
            logs["small_scales"] = self._share_of_small()

    def on_train_end(self, logs=None):
        """Take the penalty off."""
        self.require_begun("on_train_end")
        self._take_off()
        self.model.train_function = None  # the next fit traces a step without the penalty

    def _take_off(self):
        for scale in self._scales:
            scale.regularizer = scale.regularizer.regularizer
        self._scales = []

    def _share_of_small(self):
        magnitudes = [np.abs(ops.convert_to_numpy(scale)) for scale in self._scales]
        return float(np.mean(np.concatenate([m < 0.01 * m.max() for m in magnitudes])))
