"""Forms of recurrent layers: one step after the other, without a loop.

The converter cannot quantize a loop. Unrolled, each step is a call of the cell, whose tensors are
seen as those of any layer.
"""

from keras import layers as kl

from tfcompress.quantization.lowerings.attributes import attributes


def unrolled(layer, call, tap):
    """Run an RNN layer step by step, through its cell alone."""
    del tap
    # Cells draw what they drop out when they first need it. Keras would do so before, in inference
    # as well, and call stacked cells for it.
    settings = {"unroll": True, "_maybe_config_dropout_masks": _nothing}
    if hasattr(layer, "use_cudnn"):
        settings["use_cudnn"] = False

    def run(*args, **kwargs):
        with attributes(layer, **settings):
            return call(*args, **kwargs)

    return run


def both_directions(layer, call, tap):
    """Run Bidirectional through its two layers."""
    del tap

    def run(*args, **kwargs):
        with attributes(layer, _can_attempt_fused_lstm=_never, _can_attempt_fused_gru=_never):
            return call(*args, **kwargs)

    return run


def _nothing(*_):
    pass


def _never(*_):
    return False


FORMS = {
    kl.Bidirectional: both_directions,
    kl.GRU: unrolled,
    kl.LSTM: unrolled,
    kl.RNN: unrolled,
    kl.SimpleRNN: unrolled,
}
