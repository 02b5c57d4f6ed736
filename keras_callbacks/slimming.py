"""Network slimming: training that shows which channels can be removed."""

from typing import Any

import keras
import numpy as np
from keras import ops

from keras_callbacks.callback import CompressionCallback, retrace
from tfcompress.backends import variable_scope
from tfcompress.keras_graph.selection import LayerSelector, select_layers
from tfcompress.keras_graph.wrapper import require_built
from tfcompress.pruning.sparse_optimization import SparsityRegularizer


class NetworkSlimming(CompressionCallback):
    """Add an L1 penalty on BatchNormalization scales, for ``criterion="gamma"``.

    The penalty pulls the scales of unimportant channels towards zero during training.
    ``tfc.remove_channels(model, ..., criterion="gamma", scope="global")`` then removes these
    channels. ``small_scales`` in the logs is the fraction of scales below a hundredth of the
    largest of their layer: channels that can be removed without harm. The penalty ends with the
    training.

    Args:
        strength: weight of the sum of the scales' magnitudes in the loss; 1e-4 to 1e-3 is usual.
        layers: a regular expression, a list of names or layers, or a callable; all
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

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Add the penalty to the scales."""
        super().on_train_begin(logs)
        self._remove_penalty()  # an interrupted training left it there
        require_built(self.model)
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
        with variable_scope(self.model):
            strength = keras.Variable(
                self.strength, dtype="float32", trainable=False, name="strength"
            )
        for scale in self._scales:
            scale.regularizer = SparsityRegularizer(strength, None, scale.regularizer)
        retrace(self.model)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Report the fraction of small scales."""
        self.require_begun("on_epoch_end")
        if logs is not None:
            magnitudes = [np.abs(ops.convert_to_numpy(scale)) for scale in self._scales]
            small = np.concatenate([values < 0.01 * values.max() for values in magnitudes])
            logs["small_scales"] = float(np.mean(small))

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Remove the penalty."""
        self.require_begun("on_train_end")
        self._remove_penalty()
        self.model.train_function = None  # the next fit traces a step without the penalty

    def _remove_penalty(self):
        """Restore the user's own regularizers."""
        for scale in self._scales:
            scale.regularizer = scale.regularizer.regularizer
        self._scales = []
