"""Forms of recurrent layers: one step after the other, without a loop.

The converter cannot quantize a loop. Unrolled, each step is a call of the cell, whose tensors are
seen as those of any layer.
"""

import contextlib

from keras import layers as kl

from tfcompress.quantization.layer_calls.attributes import attributes


def unrolled(layer, call, tap):
    """Run an RNN layer step by step, through its cell alone."""
    del tap
    settings = {"unroll": True}
    if hasattr(layer, "use_cudnn"):
        settings["use_cudnn"] = False

    def run(*args, training=False, **kwargs):
        with contextlib.ExitStack() as stack:
            stack.enter_context(attributes(layer, **settings))
            for cell in getattr(layer.cell, "cells", [layer.cell]):
                # Keras draws what to drop out in inference, too.
                if not training and hasattr(cell, "dropout"):
                    stack.enter_context(attributes(cell, dropout=0.0, recurrent_dropout=0.0))
            return call(*args, training=training, **kwargs)

    return run


def both_directions(layer, call, tap):
    """Run Bidirectional through its two layers."""
    del tap

    def run(*args, **kwargs):
        with attributes(layer, _can_attempt_fused_lstm=_never, _can_attempt_fused_gru=_never):
            return call(*args, **kwargs)

    return run


def cell_with_dropout(layer, call, tap):
    """Drop out a cell's inputs before its call, which then is the same call as in inference."""
    del tap
    if not layer.dropout or layer.recurrent_dropout or getattr(layer, "implementation", 2) != 2:
        return call

    def run(inputs, states, training=False):
        if training:
            inputs = inputs * layer.get_dropout_mask(inputs)
        return call(inputs, states, training=False)

    return run


def _never(*_):
    return False


FORMS = {
    kl.Bidirectional: both_directions,
    kl.GRU: unrolled,
    kl.GRUCell: cell_with_dropout,
    kl.LSTM: unrolled,
    kl.LSTMCell: cell_with_dropout,
    kl.RNN: unrolled,
    kl.SimpleRNN: unrolled,
    kl.SimpleRNNCell: cell_with_dropout,
}
