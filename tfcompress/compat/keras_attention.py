"""The steps inside Keras's attention layers, each replaced while one call runs."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import keras

from tfcompress.compat.keras_attributes import replaced_attributes


def attention_step(layer: keras.Layer) -> Callable:
    """Return what MultiHeadAttention or GroupQueryAttention does between its projections.

    A function of (query, key, value, attention_mask, training) that returns the outputs and the
    scores. MultiHeadAttention's also takes ``return_attention_scores``.
    """
    return layer._compute_attention


def with_attention_step(layer: keras.Layer, step: Callable) -> AbstractContextManager:
    """Let another function do that while a ``with`` block runs."""
    return replaced_attributes(layer, _compute_attention=step)


def score_scale(layer: keras.layers.MultiHeadAttention) -> float:
    """Return what MultiHeadAttention multiplies queries by."""
    return layer._inverse_sqrt_key_dim


def with_seen_scores(
    layer: keras.layers.MultiHeadAttention, see: Callable
) -> AbstractContextManager:
    """Let a function see MultiHeadAttention's scores, of queries that are scaled already."""
    weigh = layer._masked_softmax

    def seen(scores: Any, attention_mask: Any = None) -> Any:
        return weigh(see(scores), attention_mask)

    return replaced_attributes(layer, _inverse_sqrt_key_dim=1.0, _masked_softmax=seen)


def are_scores_returned(layer: keras.layers.GroupQueryAttention) -> bool:
    """Tell whether the present call of GroupQueryAttention returns its scores."""
    return layer._return_attention_scores


def with_scores_returned(layer: keras.layers.GroupQueryAttention) -> AbstractContextManager:
    """Let GroupQueryAttention return its scores: it computes them in steps then, not fused."""
    return replaced_attributes(layer, _return_attention_scores=True)


def softmax_step(layer: keras.Layer) -> Callable:
    """Return how MultiHeadAttention or GroupQueryAttention weighs: takes (scores, mask=None)."""
    return layer._softmax


def with_softmax_step(layer: keras.Layer, step: Callable) -> AbstractContextManager:
    """Let another function weigh while a ``with`` block runs."""
    return replaced_attributes(layer, _softmax=step)


def weighting_step(layer: keras.layers.Attention) -> Callable:
    """Return how Attention weights values: takes (scores, value, scores_mask, training)."""
    return layer._apply_scores


def with_weighting_step(layer: keras.layers.Attention, step: Callable) -> AbstractContextManager:
    """Let another function weight the values while a ``with`` block runs."""
    return replaced_attributes(layer, _apply_scores=step)


def with_scoring_step(layer: keras.layers.Attention, step: Callable) -> AbstractContextManager:
    """Let another function of (query, key) compute Attention's scores, likewise."""
    return replaced_attributes(layer, _calculate_scores=step)
