"""Which tensors of small float files hold scores that may be masked."""

import keras
from keras import ops

from tfcompress.quantization.arithmetic.masks import BELOW_SCORES, BELOW_SUMMANDS
from tfcompress.quantization.deployed_graph import deploy_as_it_is


def margins_of(outputs, *inputs):
    graph = deploy_as_it_is(keras.Model(inputs, outputs), None)
    made = {op.outputs[0]: op.name for op in graph.model.subgraphs[0].operations}
    return {made.get(index, "fed"): margin for index, margin in graph.margins.items()}


def test_what_a_softmax_reads_alone():
    x, y = keras.Input((3, 4)), keras.Input((3, 4))
    assert margins_of(ops.softmax(x * y), x, y) == {"MUL": BELOW_SCORES}
    scores = x * y
    assert margins_of([ops.softmax(scores), scores], x, y) == {}


def test_summands_of_scores_lie_further_below():
    x, y, z = (keras.Input((3, 4)) for _ in range(3))
    found = margins_of(ops.softmax(ops.reshape((x * y) / 2.0 + z, (-1, 12))), x, y, z)
    own = {"RESHAPE": BELOW_SCORES, "ADD": BELOW_SCORES}
    assert found == own | dict.fromkeys(["MUL", "fed"], BELOW_SUMMANDS) | {
        name: BELOW_SUMMANDS for name in ("DIV",) if name in found
    }


def test_a_softmax_by_hand_reads_scores():
    x, y = keras.Input((3, 4)), keras.Input((3, 4))
    scores = x * y
    found = margins_of(ops.exp(scores - ops.max(scores, -1, keepdims=True)), x, y)
    assert found == {"MUL": BELOW_SCORES, "SUB": BELOW_SCORES}


def test_what_is_taken_away_from_scores_is_none():
    x, y = keras.Input((3, 4)), keras.Input((3, 4))
    assert margins_of(ops.softmax(x - y * y), x, y)["fed"] == BELOW_SUMMANDS
    assert "MUL" not in margins_of(ops.softmax(x - y * y), x, y)
