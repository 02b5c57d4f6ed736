"""TensorFlow Lite's converter, for a graph that is frozen already."""

import types
from typing import Any

import tensorflow as tf
from tensorflow.lite.python.lite import TFLiteConverterBaseV2


def convert_frozen_graph(definition: Any, inputs: list[str], outputs: list[str]) -> bytes:
    """Convert a graph without variables to a float .tflite file without signatures.

    ``inputs`` are names of placeholders, ``outputs`` of tensors; the file has them in that order.
    The public constructors take functions or files, and freeze once more what is frozen. Raises
    whatever the converter does where it does not take the graph.
    """
    with tf.Graph().as_default() as graph:
        tf.compat.v1.import_graph_def(definition, name="")
        given = [graph.get_tensor_by_name(f"{name}:0") for name in inputs]
        returned = [graph.get_tensor_by_name(name) for name in outputs]
    converter = TFLiteConverterBaseV2()
    converter._trackable_obj = None
    converter._funcs = [types.SimpleNamespace(graph=graph)]  # what it words its errors with
    # Its passes over the TensorFlow graph fold nothing that those over the TFLite graph do not.
    converter._optimize_tf_model = lambda definition, *_: definition
    return converter.convert(definition, given, returned)
