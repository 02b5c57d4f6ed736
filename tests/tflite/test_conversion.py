import logging

import keras
from keras import layers as kl

import tfcompress as tfc
from exporters.converting import convert_model


def test_converting_says_nothing_and_leaves_loggers_alone(caplog, capfd):
    model = keras.Sequential([keras.Input((8, 8, 3)), kl.Conv2D(4, 3, name="conv")])
    quantized = tfc.quantize_aware(model).calibrate(keras.random.normal((4, 8, 8, 3), seed=0))
    before = [list(logging.getLogger(name).filters) for name in ("absl", "tensorflow")]
    capfd.readouterr()
    convert_model(quantized)
    printed = capfd.readouterr()
    assert printed.out == ""
    assert "WARNING" not in printed.err
    assert not caplog.records
    assert before == [list(logging.getLogger(name).filters) for name in ("absl", "tensorflow")]
