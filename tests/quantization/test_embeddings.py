"""Embeddings: tables of 8 and of 16 bits, read once or twice, and what their masks make."""

import keras
import numpy as np
import pytest
from keras import layers as kl

import tfcompress as tfc
from exporters import export_tflite

INT16 = tfc.Scheme.int8_weights_int16_activations()
TOKENS = np.random.default_rng(0).integers(1, 9, (32, 4)).astype("int32")


def deployed(model, scheme, data, path):
    return export_tflite(model, path / "m.tflite", scheme, representative_data=data).report


@pytest.mark.parametrize("scheme", [tfc.Scheme.int8(), INT16, "int16x8"])
def test_a_table_that_is_read_twice(scheme, tmp_path):
    left, right = (keras.Input((4,), dtype="int32", name=name) for name in ("left", "right"))
    embedding, dense = kl.Embedding(9, 4), kl.Dense(3)
    model = keras.Model(
        [left, right], kl.Subtract()([dense(embedding(left)), dense(embedding(right))])
    )
    report = deployed(model, scheme, [TOKENS, TOKENS[::-1]], tmp_path)
    assert report.float_operations == ()
    assert "ADD" not in report.operations  # indices are taken as they are
    if scheme in (INT16, "int16x8"):
        assert report.agreement.largest < 1e-3
    else:
        assert report.agreement.within_one == 1.0


@pytest.mark.parametrize("scheme", [tfc.Scheme.int8(), "int8"])
def test_the_average_of_what_is_not_masked(scheme, tmp_path):
    inputs = keras.Input((4,), dtype="int32")
    rows = kl.Embedding(9, 4, embeddings_initializer="glorot_normal", mask_zero=True)(inputs)
    model = keras.Model(inputs, kl.GlobalAveragePooling1D()(rows))
    padded = TOKENS * (np.arange(4) < [[1], [2], [3], [4]] * 8)
    report = deployed(model, scheme, padded.astype("int32"), tmp_path)
    assert report.float_operations == ()
    assert report.agreement.largest <= 3
