import keras
import numpy as np
import pytest
import tensorflow as tf

from tfcompress.compat.keras_logits import attach_logits, logits_behind, with_logits


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_keras_keeps_logits_beside_probabilities(activation):
    logits = tf.constant([[100.0, -100.0]])
    kept = logits_behind(keras.activations.get(activation)(logits))
    assert kept is logits


@pytest.mark.parametrize("activation", [tf.nn.softmax, tf.nn.sigmoid])
def test_an_operation_of_a_graph_knows_what_it_reads(activation):
    logits = tf.function(lambda x: logits_behind(activation(x)))(tf.constant([[100.0, -100.0]]))
    assert logits.numpy().tolist() == [[100.0, -100.0]]


def test_crossentropies_compute_with_attached_logits():
    probabilities = tf.constant([[1.0, 0.0]])
    attach_logits(probabilities, tf.constant([[100.0, -100.0]]))
    loss = keras.losses.SparseCategoricalCrossentropy()(np.array([1]), probabilities)
    assert float(loss) == 200.0


def test_other_tensors_have_no_logits():
    assert logits_behind(tf.constant([0.5])) is None


def test_outputs_keep_their_structure_with_logits():
    outputs = with_logits({"a": tf.constant([0.5]), "b": tf.constant([0.5])}, ["logits", None])
    assert logits_behind(outputs["a"]) == "logits"
    assert logits_behind(outputs["b"]) is None
