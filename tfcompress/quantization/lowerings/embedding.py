"""The form of Embedding: rows of a table, without the arithmetic on indices that Keras adds."""

import tensorflow as tf
from keras import layers as kl

from tfcompress.keras_graph.interception import is_deploying


def looked_up(layer, call, tap):
    """Look up rows; a device is not asked to count negative indices from the table's end.

    The quantizer for 16 bits takes that arithmetic for one on activations. The range of rows of 16
    bits is that of the table: a batch holds few of them.
    """

    def run(inputs):
        as_keras_does = layer.quantization_mode is not None or not is_deploying()
        if as_keras_does or not tf.as_dtype(inputs.dtype).is_integer:
            outputs = call(inputs)
        else:
            outputs = tf.gather(tf.convert_to_tensor(layer.embeddings), tf.cast(inputs, tf.int32))
        table = tf.convert_to_tensor(layer.embeddings)
        return tap("rows", tf.cast(outputs, layer.compute_dtype), observed=lambda: table)

    return run


FORMS = {kl.Embedding: looked_up}
