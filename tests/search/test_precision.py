import keras
import numpy as np
import pytest
from keras import layers as kl

import tfcompress as tfc
from exporters import export_tflite
from tfcompress.search import Sensitivity, choose_precisions
from tfcompress.search.sensitivity import Effect
from tfcompress.tflite.flatbuffer import read_model


def table(**kernels):
    """Build a table from {layer: (weights, error at 8 bits, error at 4 bits)}."""
    return Sensitivity(
        tuple(
            Effect(f"{layer}/kernel", "bits", bits, weights, error)
            for layer, (weights, *errors) in kernels.items()
            for bits, error in zip((8, 4), errors, strict=True)
        )
    )


def test_the_cheapest_bytes_go_first():
    choice = choose_precisions(table(a=(100, 0.0, 0.5), b=(100, 0.0, 0.1), c=(200, 0.0, 0.1)), 300)
    assert choice.bits == {"a/kernel": 8, "b/kernel": 8, "c/kernel": 4}
    assert choice.weight_bytes == 300
    assert choice.error == pytest.approx(0.1)
    assert choice.gap == pytest.approx(0.0)
    assert choice.scheme == tfc.Scheme.int8().override(["c"], tfc.Scheme.int4_weights())


def test_what_became_superfluous_is_taken_back():
    # Per byte "a" is cheapest, but "b" alone saves enough.
    choice = choose_precisions(table(a=(20, 0.0, 0.01), b=(200, 0.0, 0.2)), 120)
    assert choice.bits == {"a/kernel": 8, "b/kernel": 4}
    assert 0 < choice.gap < 0.2


def test_a_budget_for_all_needs_no_override():
    choice = choose_precisions(table(a=(100, 0.01, 0.5)), 100)
    assert choice.scheme == tfc.Scheme.int8()
    assert choice.error == 0.01


def test_budgets_that_cannot_be_met_say_what_is_nearest():
    with pytest.raises(ValueError, match="take 50 bytes"):
        choose_precisions(table(a=(100, 0.0, 0.5)), 0.4)
    with pytest.raises(ValueError, match="bits=\\(8, 4\\)"):
        choose_precisions(Sensitivity((Effect("a/kernel", "bits", 8, 9, 0.1),)), 0.6)


def test_the_file_has_both_precisions(tmp_path):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8, 8, 3))
    x = kl.Conv2D(8, 3, activation="relu", name="first")(inputs)
    x = kl.Conv2D(32, 3, activation="relu", name="second")(x)
    model = keras.Model(inputs, kl.Dense(4, name="head")(kl.GlobalAveragePooling2D()(x)))
    x = np.random.default_rng(0).normal(size=(32, 8, 8, 3)).astype("float32")
    found = tfc.sensitivity(model, x, sparsities=(), bits=(8, 4), progress=False)
    choice = choose_precisions(found, 0.6)
    assert choice.bits["second/kernel"] == 4
    assert choice.weight_bytes <= 0.6 * sum(e.weights for e in found.of("bits", 8).values())
    result = export_tflite(model, tmp_path / "m.tflite", choice.scheme, representative_data=x)
    content = read_model(result.path)
    types = {t.shape: t.dtype for t in content.subgraphs[0].tensors if t.constant}
    assert types[32, 3, 3, 8] == "INT4"
    assert types[8, 3, 3, 3] == "INT8"
