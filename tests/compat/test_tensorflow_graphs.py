import tensorflow as tf
from compat.canary import canary

from tfcompress.compat import tensorflow_graphs


@canary("tensorflow", "FuncGraph._create_op_internal")
def test_made_by():
    made = []

    def hook(make, kind, inputs, *args, **kwargs):
        made.append(kind)
        return make(kind, inputs, *args, **kwargs)

    def function(x):
        with tensorflow_graphs.made_by(tf.compat.v1.get_default_graph(), hook):
            y = x * x
        return tf.abs(y)

    tf.function(function, autograph=False).get_concrete_function(tf.TensorSpec((), tf.float32))
    assert made == ["Mul"]


@canary("tensorflow", "Graph._get_function")
def test_called_graph():
    @tf.function(autograph=False)
    def loop(x):
        return tf.while_loop(lambda x: x < 9.0, lambda x: [x * 2.0], [x])

    graph = loop.get_concrete_function(tf.TensorSpec((), tf.float32)).graph
    (operation,) = [o for o in graph.get_operations() if o.type in ("While", "StatelessWhile")]
    body = tensorflow_graphs.called_graph(operation, "body")
    assert "Mul" in {o.type for o in body.get_operations()}


@canary("tensorflow", "convert_variables_to_constants_v2")
def test_freeze_variables():
    variable = tf.Variable(2.0)
    function = tf.function(lambda x: x * variable, autograph=False)
    traced = function.get_concrete_function(tf.TensorSpec((), tf.float32))
    kinds = {o.type for o in tensorflow_graphs.freeze_variables(traced).graph.get_operations()}
    assert "Const" in kinds
    assert "ReadVariableOp" not in kinds
