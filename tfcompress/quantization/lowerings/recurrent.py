"""Forms of recurrent layers: one step after the other, without a loop.

The converter cannot quantize a loop. Unrolled, each step is a call of the cell, whose tensors are
seen as those of any layer.
"""

from keras import layers as kl

from tfcompress.compat.keras_recurrent import through_the_cell, through_the_layers


def unrolled(layer, call, tap):
    """Run an RNN layer step by step, through its cell alone."""
    del tap

    def run(*args, **kwargs):
        with through_the_cell(layer):
            return call(*args, **kwargs)

    return run


def both_directions(layer, call, tap):
    """Run Bidirectional through its two layers."""
    del tap

    def run(*args, **kwargs):
        with through_the_layers(layer):
            return call(*args, **kwargs)

    return run


FORMS = {
    kl.Bidirectional: both_directions,
    kl.GRU: unrolled,
    kl.LSTM: unrolled,
    kl.RNN: unrolled,
    kl.SimpleRNN: unrolled,
}
