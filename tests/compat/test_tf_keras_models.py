import pytest
from compat.canary import canary

from tfcompress.compat import tf_keras_models

tf_keras = pytest.importorskip("tf_keras")
tfmot = pytest.importorskip("tensorflow_model_optimization")


def small():
    x = tf_keras.Input((3,), name="x")
    layer = tf_keras.layers.Dense(2, name="dense")
    return x, layer, tf_keras.Model({"x": x}, [layer(x)])


@canary("tf-keras", "Layer._flatten_layers")
def test_all_layers():
    names = [layer.name for layer in tf_keras_models.all_layers(small()[2], include_self=False)]
    assert names == ["x", "dense"]


@canary("tf-keras", "Layer._trainable_weights", "Layer._non_trainable_weights")
def test_own_weights():
    assert len(tf_keras_models.own_weights(small()[1])) == 2


@canary("tf-keras", "Model._is_graph_network")
def test_has_graph():
    class Own(tf_keras.Model):
        pass

    assert tf_keras_models.has_graph(small()[2])
    assert not tf_keras_models.has_graph(Own())


@canary("tf-keras", "Functional._input_layers")
def test_input_layers():
    assert [layer.name for layer in tf_keras_models.input_layers(small()[2])] == ["x"]


@canary("tf-keras", "Functional._nested_inputs")
def test_input_structure():
    x, _, model = small()
    assert tf_keras_models.input_structure(model)["x"] is x


@canary("tf-keras", "Functional._nested_outputs")
def test_output_structure():
    x = tf_keras.Input((3,))
    y = tf_keras.layers.Dense(2)(x)
    assert tf_keras_models.output_structure(tf_keras.Model(x, {"y": y}))["y"] is y


@canary("tf-keras", "Functional._nodes_by_depth", "Node.call_args", "Node.call_kwargs")
def test_nodes_in_order():
    x, layer, model = small()
    (node,) = tf_keras_models.nodes_in_order(model)
    assert node.layer is layer
    assert node.call_args[0] is x
    assert node.call_kwargs == {}


@canary("tf-keras", "Model")
def test_is_tf_keras_model():
    assert tf_keras_models.is_tf_keras_model(small_sequential())
    assert not tf_keras_models.is_tf_keras_model(tf_keras.layers.Dense(1))


@canary("tensorflow-model-optimization", "PruneLowMagnitude")
def test_is_pruned():
    wrapped = tfmot.sparsity.keras.prune_low_magnitude(tf_keras.layers.Dense(1))
    assert tf_keras_models.is_pruned(wrapped)
    assert not tf_keras_models.is_pruned(wrapped.layer)


@canary("tensorflow-model-optimization", "ClusterWeights")
def test_is_clustered():
    clustering = tfmot.clustering.keras
    start = clustering.CentroidInitialization.LINEAR
    wrapped = clustering.cluster_weights(tf_keras.layers.Dense(1), 2, start)
    assert tf_keras_models.is_clustered(wrapped)
    assert not tf_keras_models.is_pruned(wrapped)


@canary("tensorflow-model-optimization", "QuantizeWrapper", "QuantizeLayer")
def test_is_quantizing():
    layers = tfmot.quantization.keras.quantize_model(small_sequential()).layers
    assert sum(map(tf_keras_models.is_quantizing, layers)) == 2


def small_sequential():
    return tf_keras.Sequential([tf_keras.layers.Dense(2, input_shape=(3,))])
