"""Layers that mix channels by one matrix, and what enters them on sample data."""

import dataclasses
import zlib

import keras
import numpy as np
import tensorflow as tf

from tfcompress.compat.keras_layers import stored_kernel
from tfcompress.data import iterate_inputs
from tfcompress.keras_graph.channels import ChannelFlow
from tfcompress.keras_graph.interception import intercepted_calls
from tfcompress.keras_graph.patches import extract_patches


@dataclasses.dataclass(frozen=True)
class MixingLayer:
    """A Dense layer or a plain convolution as a matrix product at each position.

    Attributes:
        layer: the Keras layer.
        path: the user's name for it.
        read: int array (channels,): the numbers of the channels that it reads.
    """

    layer: keras.Layer
    path: str
    read: np.ndarray

    @property
    def matrix(self) -> np.ndarray:
        """The kernel as an array (taps, channels, outputs)."""
        kernel = keras.ops.convert_to_numpy(stored_kernel(self.layer))
        return kernel.reshape(-1, *kernel.shape[-2:])

    def change(self, matrix: np.ndarray, bias: np.ndarray) -> None:
        """Add to the kernel, an array (taps * channels, outputs), and to a bias."""
        kernel = stored_kernel(self.layer)
        kernel.assign_add(matrix.reshape(kernel.shape))
        if self.layer.use_bias:
            self.layer.bias.assign_add(bias)

    def rows(self, inputs, most: int, seed: int) -> np.ndarray:
        """Return what the matrix is applied to, at random positions.

        Args:
            inputs: the layer's input, channels last.
            most: how many positions at most.
            seed: the same seed and input shape give the same positions.

        Returns:
            float32 array (positions, taps, channels).
        """
        x = tf.cast(inputs, tf.float32)
        channels = x.shape[-1]
        if not isinstance(self.layer, keras.layers.Dense):
            x = extract_patches(self.layer, x)
        flat = tf.reshape(x, (-1, x.shape[-1] // channels, channels))
        count = flat.shape[0]
        chosen = np.random.default_rng(seed).permutation(count)[:most]
        return tf.gather(flat, np.sort(chosen)).numpy()


def mixing_layers(flow: ChannelFlow) -> list[MixingLayer]:
    """List the layers that read channels by one matrix, in the order of the model."""
    found = []
    for record in flow.records.values():
        layer, read = record.layer, record.read.get("inputs")
        plain = isinstance(layer, keras.layers.Dense) or (
            isinstance(layer, (keras.layers.Conv1D, keras.layers.Conv2D))
            and not isinstance(layer, keras.layers.DepthwiseConv2D)
            and layer.groups == 1
            and layer.data_format == "channels_last"
        )
        if read is not None and plain:
            found.append(MixingLayer(layer, record.path, read))
    return found


def collect_rows(
    model: keras.Model, layers: list[MixingLayer], data, most: int
) -> dict[str, np.ndarray]:
    """Run a model on data and return what enters some of its layers.

    Args:
        model: the model that holds the layers.
        layers: which.
        data: inputs, with or without labels: whatever ``fit`` takes.
        most: positions of each layer at most.

    Returns:
        For each path a float32 array (positions, taps, channels).
    """
    batches = list(iterate_inputs(data))
    each = -(-most // len(batches))
    rows: dict[str, list[np.ndarray]] = {mixing.path: [] for mixing in layers}
    by_layer = {id(mixing.layer): mixing for mixing in layers}

    def wrap(layer, call):
        mixing = by_layer[id(layer)]

        def record(inputs, *args, **kwargs):
            seed = zlib.crc32(f"{mixing.path} {len(rows[mixing.path])}".encode())
            rows[mixing.path].append(mixing.rows(inputs, each, seed))
            return call(inputs, *args, **kwargs)

        return record

    with intercepted_calls([mixing.layer for mixing in layers], wrap):
        for batch in batches:
            model(batch, training=False)
    return {path: np.concatenate(parts)[:most] for path, parts in rows.items()}
