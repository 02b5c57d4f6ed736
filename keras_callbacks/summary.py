"""Sparsity and clusters of a model while it trains."""

import os
from typing import Any

import numpy as np
from keras import ops

from keras_callbacks.callback import CompressionCallback
from tfcompress.backends import require_tensorflow
from tfcompress.clustering.constraint import ClusterConstraint
from tfcompress.clustering.summary import kernel_clusters
from tfcompress.keras_graph.custom_kernels import find_all_kernels
from tfcompress.keras_graph.selection import LayerSelector
from tfcompress.pruning.masks import MaskConstraint


class CompressionSummary(CompressionCallback):
    """Log the sparsity and the clusters of each kernel after each epoch.

    The numbers are counted on the weights. They appear in ``logs``, and so in the progress bar,
    ``History`` and ``CSVLogger``, and in TensorBoard if ``log_dir`` is given:

    - ``sparsity/<layer>/<kernel>``: the fraction of zeros of a kernel;
    - ``sparsity/all``: the fraction of zeros over all kernels;
    - ``threshold/<layer>/<kernel>``: the smallest score that the last update of the mask kept, for
      pruned kernels;
    - ``values/<layer>/<kernel>``: the number of distinct values, and
      ``bits_per_weight/<layer>/<kernel>``: their entropy, for clustered kernels.

    Args:
        log_dir: the directory of the TensorBoard logs; none are written without it.
        layers: a regular expression, a list of names or layers, or a callable; all by default.

    Raises:
        ValueError: when training begins: ``layers`` matches nothing, or nothing with a kernel.

    Example:
    >>> pruning = MagnitudePruning(ConstantSparsity(0.5, begin_step=0))
    >>> model.fit(x, y, callbacks=[pruning, CompressionSummary("logs")])
    """

    def __init__(self, log_dir: str | os.PathLike | None = None, layers: LayerSelector = None):
        super().__init__()
        self.log_dir = log_dir
        self.layers = layers
        self._writer = None

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Find the kernels and open the log."""
        super().on_train_begin(logs)
        self._kernels = find_all_kernels(self.model, self.layers)
        if not self._kernels:
            raise ValueError(
                f"`layers` selects no layer with a kernel in model {self.model.name!r}. "
                f"Received: layers={self.layers!r}"
            )
        if self.log_dir is not None:
            require_tensorflow("CompressionSummary(log_dir=...)")
            import tensorflow as tf  # not at the top: only these logs need it

            self._writer = tf.summary.create_file_writer(str(self.log_dir))

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Count zeros and values, and log them."""
        self.require_begun("on_epoch_end")
        entries = self._entries()
        if logs is not None:
            logs.update(entries)
        if self._writer is not None:
            with self._writer.as_default(step=epoch):
                for name, value in entries.items():
                    _write_scalar(name, value)
            self._writer.flush()

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Close the log."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _entries(self):
        """Return the numbers to log by name."""
        entries, zeros, size = {}, 0, 0
        for kernel in self._kernels:
            weights = ops.convert_to_numpy(kernel.variable)
            zero = int(np.count_nonzero(weights == 0))
            entries[f"sparsity/{kernel.path}"] = zero / weights.size
            zeros += zero
            size += weights.size
            constraint = kernel.variable.constraint
            if isinstance(constraint, MaskConstraint) and constraint.threshold is not None:
                entries[f"threshold/{kernel.path}"] = constraint.threshold
            if isinstance(constraint, ClusterConstraint):
                clusters = kernel_clusters(kernel.path, weights)
                entries[f"values/{kernel.path}"] = clusters.values
                entries[f"bits_per_weight/{kernel.path}"] = clusters.bits_per_weight
        entries["sparsity/all"] = zeros / size
        return entries


def _write_scalar(name, value):
    """Write a scalar; unlike this, `tf.summary.scalar` needs the tensorboard package."""
    import tensorflow as tf  # not at the top: only these logs need it

    metadata = tf.compat.v1.SummaryMetadata(
        plugin_data=tf.compat.v1.SummaryMetadata.PluginData(plugin_name="scalars"),
        data_class=1,  # DATA_CLASS_SCALAR of tensorflow/core/framework/summary.proto
    )
    tf.summary.write(name, tf.constant(value, tf.float32), metadata=metadata)
