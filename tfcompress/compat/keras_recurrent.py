"""The inside of Keras's recurrent layers."""

from contextlib import AbstractContextManager

import keras
from keras.src.layers.rnn.conv_lstm import ConvLSTMCell
from keras.src.layers.rnn.dropout_rnn_cell import DropoutRNNCell

from tfcompress.compat.keras_attributes import replaced_attributes

__all__ = ["ConvLSTMCell", "can_drop_out", "through_the_cell", "through_the_layers"]


def can_drop_out(cell: keras.Layer) -> bool:
    """Tell whether a layer is a cell with ``dropout`` and ``recurrent_dropout``."""
    return isinstance(cell, DropoutRNNCell)


def through_the_cell(layer: keras.layers.RNN) -> AbstractContextManager:
    """Let a recurrent layer call its cell at each step, unrolled, while a ``with`` block runs.

    Cells then draw what they drop out when they first need it. Keras would do so before, in
    inference as well, and call stacked cells for it.
    """
    settings = {"unroll": True, "_maybe_config_dropout_masks": lambda *_: None}
    if hasattr(layer, "use_cudnn"):
        settings["use_cudnn"] = False
    return replaced_attributes(layer, **settings)


def through_the_layers(layer: keras.layers.Bidirectional) -> AbstractContextManager:
    """Let Bidirectional call its two layers, and no fused kernel, while a ``with`` block runs."""
    # Older releases of Keras have none for it.
    attempts = ("_can_attempt_fused_lstm", "_can_attempt_fused_gru")
    never = {name: lambda *_: False for name in attempts if hasattr(layer, name)}
    return replaced_attributes(layer, **never)
