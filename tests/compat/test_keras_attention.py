import keras
import numpy as np
from compat.canary import canary
from keras import layers as kl

from tfcompress.compat import keras_attention

ONES = np.ones((1, 2, 4), "float32")


def replacing(layer, name):
    """Call a layer on equal queries and values with a step of it replaced by what notes its use."""
    used = []
    inputs = ([ONES, ONES],) if isinstance(layer, kl.Attention) else (ONES, ONES)
    layer(*inputs)
    stock = getattr(keras_attention, f"{name}_step")(layer)

    def step(*args, **kwargs):
        used.append(name)
        return stock(*args, **kwargs)

    with getattr(keras_attention, f"with_{name}_step")(layer, step):
        layer(*inputs)
    layer(*inputs)
    return used


@canary("keras", "MultiHeadAttention._compute_attention")
def test_attention_step():
    assert replacing(kl.MultiHeadAttention(1, 4), "attention") == ["attention"]


@canary("keras", "GroupQueryAttention._compute_attention")
def test_with_attention_step():
    assert replacing(kl.GroupQueryAttention(4, 1, 1), "attention") == ["attention"]


@canary("keras", "GroupQueryAttention._return_attention_scores", "_compute_attention")
def test_with_scores_returned():
    layer = kl.GroupQueryAttention(4, 2, 1)
    layer(ONES, ONES)
    heads = keras.ops.ones((1, 2, 2, 4))
    assert not keras_attention.are_scores_returned(layer)
    with keras_attention.with_scores_returned(layer):
        assert keras_attention.are_scores_returned(layer)
        _, scores = keras_attention.attention_step(layer)(heads, heads, heads)
    np.testing.assert_allclose(scores, np.full((1, 2, 2, 2), 0.5), rtol=1e-6)


@canary("keras", "MultiHeadAttention._softmax", "GroupQueryAttention._softmax")
def test_softmax_step():
    for layer in (kl.MultiHeadAttention(1, 4), kl.GroupQueryAttention(4, 1, 1)):
        layer(ONES, ONES)
        found = keras_attention.softmax_step(layer)(keras.ops.ones((1, 1, 1, 2)))
        np.testing.assert_allclose(found, np.full((1, 1, 1, 2), 0.5), rtol=1e-6)


@canary("keras", "MultiHeadAttention._softmax")
def test_with_softmax_step():
    layer = kl.MultiHeadAttention(1, 4, dropout=0.1)  # in steps, not fused
    assert replacing(layer, "softmax") == ["softmax"]


@canary("keras", "Attention._apply_scores")
def test_weighting_step():
    step = keras_attention.weighting_step(kl.Attention())
    value, weights = step(keras.ops.zeros((1, 1, 2)), keras.ops.ones((1, 2, 3)), None, False)
    np.testing.assert_allclose(value, np.ones((1, 1, 3)), rtol=1e-6)
    np.testing.assert_allclose(weights, [[[0.5, 0.5]]], rtol=1e-6)


@canary("keras", "Attention._apply_scores")
def test_with_weighting_step():
    assert replacing(kl.Attention(), "weighting") == ["weighting"]


@canary("keras", "AdditiveAttention._calculate_scores")
def test_with_scoring_step():
    layer = kl.AdditiveAttention()
    ours = np.arange(8, dtype="float32").reshape(1, 2, 4)
    layer([ours, ours])
    with keras_attention.with_scoring_step(
        layer, lambda query, key: 1e3 * (query @ keras.ops.swapaxes(key, 1, 2))
    ):
        outputs = layer([ours, ours])
    np.testing.assert_allclose(outputs[0, 1], ours[0, 1], rtol=1e-6)


@canary("keras", "MultiHeadAttention._inverse_sqrt_key_dim", "_masked_softmax")
def test_with_seen_scores():
    layer, seen = kl.MultiHeadAttention(1, 4), []
    layer(ONES, ONES)
    assert keras_attention.score_scale(layer) == 0.5
    heads = keras.ops.ones((1, 2, 1, 4))
    stock = keras_attention.attention_step(layer)
    with keras_attention.with_seen_scores(layer, lambda scores: seen.append(scores) or scores):
        outputs, _ = stock(heads, heads, heads, return_attention_scores=True)
    np.testing.assert_allclose(seen[0], np.full((1, 1, 2, 2), 4.0))
    np.testing.assert_allclose(outputs, heads, rtol=1e-6)
