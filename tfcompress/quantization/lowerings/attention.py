"""Forms of attention, with masks that leave 8 bits their resolution.

Keras masks a score by a number so low that a range that held it would hold little else. Here a
masked score lies a little below the smallest score that counts, with exp(-8) of its weight: far
less than a step of the softmax's output.
"""

import contextlib

import keras
import numpy as np
from keras import layers as kl
from keras import ops

from tfcompress.backends import runs_on
from tfcompress.compat.keras_attention import (
    are_scores_returned,
    attention_step,
    score_scale,
    softmax_step,
    weighting_step,
    with_attention_step,
    with_scores_returned,
    with_scoring_step,
    with_seen_scores,
    with_softmax_step,
    with_weighting_step,
)
from tfcompress.keras_graph.inner_tensors import graph_roles
from tfcompress.quantization.arithmetic.fake_quantization import round_constant
from tfcompress.quantization.lowerings.activations import call_within

_BELOW_ALL = -1e9
_MARGIN = 8.0


def multi_head(layer, call, tap):
    """Compute MultiHeadAttention's scores in steps, their softmax by a layer of its own."""
    stock = attention_step(layer)

    def compute(*args, **kwargs):
        first = ("query", "key", "value", "attention_mask", "training")
        named = {**dict(zip(first, args, strict=False)), **kwargs}
        in_steps = named.get("return_attention_scores") or len(named["query"].shape) != 4
        with _weighing(layer, tap, in_steps):
            return steps(**{**named, "return_attention_scores": True})

    def in_sight(query, **named):
        made = graph_roles(tap)
        query = made("Mul", query * score_scale(layer))
        with with_seen_scores(layer, lambda scores: made("BatchMatMulV2", scores)):
            outputs, scores = stock(query=query, **named)
        return made("BatchMatMulV2", outputs), scores

    steps = stock if runs_on("tensorflow") else in_sight
    return call_within(lambda: with_attention_step(layer, compute), call)


def grouped_query(layer, call, tap):
    """Compute GroupQueryAttention's scores in steps, likewise."""
    stock = attention_step(layer)

    def compute(*args, **kwargs):
        in_steps = are_scores_returned(layer)
        with with_scores_returned(layer), _weighing(layer, tap, in_steps):
            return stock(*args, **kwargs)

    return call_within(lambda: with_attention_step(layer, compute), call)


def _weighing(layer, tap, in_steps):
    """Weigh what is masked as Keras does, which depends on the way that it takes.

    In steps it gives a query of which all is masked no value at all, fused the mean of all values.
    """
    if in_steps or layer.dropout:
        return contextlib.nullcontext()
    weigh = softmax_step(layer)

    def step(scores, mask=None):
        return weigh(scores if mask is None else _masked(scores, _truth(mask), tap))

    return with_softmax_step(layer, step)


def dot_product(layer, call, tap):
    """Compute Attention with masked scores in reach of 8 bits."""
    stock = weighting_step(layer)

    def apply_scores(scores, value, scores_mask=None, training=False):
        if scores_mask is not None:
            if len(scores_mask.shape) == 2:
                scores_mask = keras.ops.expand_dims(scores_mask, -2)
            scores = _masked(scores, scores_mask, tap)
        return stock(scores, value, None, training)

    return call_within(lambda: with_weighting_step(layer, apply_scores), call)


def additive(layer, call, tap):
    """Compute AdditiveAttention likewise, its scale a constant of 8 bits."""

    def calculate_scores(query, key):
        x = ops.tanh(ops.expand_dims(query, -2) + ops.expand_dims(key, -3))
        if layer.use_scale:
            scale, unscaled = ops.convert_to_tensor(layer.scale), x
            x = tap("scaled", x * scale, stored=lambda: unscaled * round_constant(scale))
        return ops.sum(x, -1)

    masked = dot_product(layer, call, tap)
    return call_within(lambda: with_scoring_step(layer, calculate_scores), masked)


def softmax(layer, call, tap):
    """Compute Softmax with masked inputs in reach of 8 bits, over several axes as over one."""
    several = isinstance(layer.axis, (tuple, list)) and len(layer.axis) > 1

    def compute(inputs):
        return _over_several_axes(inputs, layer.axis) if several else call(inputs)

    def run(inputs, mask=None):
        if mask is None:
            return compute(inputs)
        mask = _truth(mask)
        outputs = compute(_masked(inputs, mask, tap))
        return ops.where(mask, outputs, ops.zeros((), outputs.dtype))

    return run


def _over_several_axes(inputs, axes):
    """Compute the softmax over some axes by the operation that devices have for the last one."""
    rank = len(inputs.shape)
    axes = sorted(axis % rank for axis in axes)
    others = [axis for axis in range(rank) if axis not in axes]
    order = others + axes
    moved = ops.transpose(inputs, order)
    sizes = [-1 if axis == 0 else inputs.shape[axis] for axis in order]
    outputs = ops.softmax(
        ops.reshape(moved, [*sizes[: len(others)], np.prod(sizes[len(others) :])])
    )
    return ops.transpose(ops.reshape(outputs, sizes), [order.index(axis) for axis in range(rank)])


def _truth(mask):
    """Return a mask of truths; numbers hold above one half."""
    is_truth = keras.backend.standardize_dtype(mask.dtype) == "bool"
    return mask if is_truth else mask > ops.cast(0.5, mask.dtype)


def _masked(scores, mask, tap):
    """Mask scores by a low number that a range does not hold."""

    def masked_by(low):
        return ops.where(mask, scores, ops.cast(low, scores.dtype))

    return tap(
        "masked",
        masked_by(_BELOW_ALL),
        observed=lambda: masked_by(ops.min(masked_by(0.0)) - _MARGIN),
    )


FORMS = {kl.MultiHeadAttention: multi_head, kl.Softmax: softmax}
if runs_on("tensorflow"):  # where their tensors are in sight
    FORMS |= {
        kl.AdditiveAttention: additive,
        kl.Attention: dot_product,
        kl.GroupQueryAttention: grouped_query,
    }
