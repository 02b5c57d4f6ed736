import numpy as np
from compat.canary import canary
from keras import layers as kl

from tfcompress.compat import keras_recurrent


@canary("keras", "keras.src.layers.rnn.conv_lstm.ConvLSTMCell")
def test_ConvLSTMCell():
    assert type(kl.ConvLSTM2D(1, 1).cell) is keras_recurrent.ConvLSTMCell


@canary("keras", "keras.src.layers.rnn.dropout_rnn_cell.DropoutRNNCell")
def test_can_drop_out():
    assert keras_recurrent.can_drop_out(kl.GRUCell(1))
    assert not keras_recurrent.can_drop_out(kl.Dense(1))


@canary("keras", "RNN._maybe_config_dropout_masks")
def test_through_the_cell():
    layer = kl.LSTM(2, dropout=0.5)
    layer.build((1, 3, 1))
    calls, stock = [], layer.cell.call
    layer.cell.call = lambda *args, **kwargs: calls.append(1) or stock(*args, **kwargs)
    with keras_recurrent.through_the_cell(layer):
        layer(np.ones((1, 3, 1)))
    assert len(calls) == 3
    assert layer.use_cudnn == "auto"


@canary("keras", "Bidirectional._can_attempt_fused_lstm", "Bidirectional._can_attempt_fused_gru")
def test_through_the_layers():
    layer = kl.Bidirectional(kl.LSTM(2))
    layer.build((1, 3, 1))
    calls, stock = [], layer.forward_layer.call
    layer.forward_layer.call = lambda *args, **kwargs: calls.append(1) or stock(*args, **kwargs)
    with keras_recurrent.through_the_layers(layer):
        outputs = layer(np.ones((1, 3, 1)))
    assert len(calls) == 1
    np.testing.assert_allclose(outputs, layer(np.ones((1, 3, 1))), rtol=1e-5)
