import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter
from compat.canary import canary

from tfcompress.compat import tflite_converter


@canary("tensorflow", "tensorflow.lite.python.lite.TFLiteConverterBaseV2")
def test_convert_frozen_graph():
    with tf.Graph().as_default() as graph:
        x = tf.compat.v1.placeholder(tf.float32, (1, 2), name="x")
        y = tf.abs(x)
    content = tflite_converter.convert_frozen_graph(graph.as_graph_def(), ["x"], [y.name])
    assert Interpreter(model_content=content).get_input_details()[0]["shape"].tolist() == [1, 2]
