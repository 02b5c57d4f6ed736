import copy

import keras
import numpy as np
from compat.canary import canary

from tfcompress.compat import keras_graphs


def small():
    x = keras.Input((3,), name="x")
    layer = keras.layers.Dense(2)
    return x, layer, keras.Model({"x": x}, [layer(x)])


@canary("keras", "Functional._nodes_by_depth")
def test_has_graph():
    assert keras_graphs.has_graph(small()[2])
    assert not keras_graphs.has_graph(keras.Sequential([keras.layers.Dense(1)]))


@canary("keras", "Sequential._functional")
def test_functional_of():
    built = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    assert keras_graphs.has_graph(keras_graphs.functional_of(built))
    assert keras_graphs.functional_of(keras.Sequential([keras.layers.Dense(1)])) is None


@canary("keras", "Functional._nodes_by_depth", "Node.is_input", "Node.operation", "Node.arguments")
def test_nodes_in_order():
    _, layer, model = small()
    (node,) = keras_graphs.nodes_in_order(model)
    assert node.operation is layer
    assert node.outputs[0] is model.outputs[0]
    args, _ = node.arguments.fill_in({id(node.input_tensors[0]): "given"})
    assert args == ("given",)


@canary("keras", "KerasTensor._keras_history")
def test_produced_by():
    _, layer, model = small()
    operation, node_index, tensor_index = keras_graphs.produced_by(model.outputs[0])
    assert operation is layer
    assert (node_index, tensor_index) == (0, 0)
    assert keras_graphs.produced_by(model.outputs[0]).operation is layer


@canary("keras", "KerasTensor._keras_history", "Operation._inbound_nodes")
def test_producing_node():
    x, _, model = small()
    assert keras_graphs.producing_node(model.outputs[0]).input_tensors[0] is x


@canary("keras", "Operation._inbound_nodes")
def test_nodes_of():
    x, layer, _ = small()
    again = layer(x)
    assert keras_graphs.nodes_of(layer)[1].outputs[0] is again


@canary("keras", "Operation._inbound_nodes", "Operation._outbound_nodes")
def test_forget_nodes():
    x = keras.Input((3,))
    operation = keras_graphs.produced_by(keras.ops.relu(x)).operation
    twin = copy.copy(operation)
    keras_graphs.forget_nodes(twin)
    twin(x)
    assert len(keras_graphs.nodes_of(operation)) == len(keras_graphs.nodes_of(twin)) == 1


@canary("keras", "Functional._inputs_struct")
def test_input_structure():
    x, _, model = small()
    assert keras_graphs.input_structure(model)["x"] is x


@canary("keras", "Functional._outputs_struct")
def test_output_structure():
    _, _, model = small()
    assert keras_graphs.output_structure(model) == [model.outputs[0]]
    built = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    assert keras_graphs.output_structure(built) is built.outputs[0]


@canary("keras", "Functional._standardize_inputs")
def test_standardize_inputs():
    (flat,) = keras_graphs.standardize_inputs(small()[2], {"x": np.zeros((5, 3), "float64")})
    assert flat.shape == (5, 3)
    assert flat.dtype == "float32"


@canary("keras", "Tensor._keras_mask")
def test_keras_mask():
    masked = keras.layers.Masking()(np.array([[[1.0], [0.0]]]))
    assert np.array_equal(keras_graphs.keras_mask(masked), [[True, False]])
    assert keras_graphs.keras_mask(keras.ops.ones(1)) is None


@canary("keras", "keras.src.backend.compute_output_spec")
def test_output_spec():
    spec = keras_graphs.output_spec(lambda x: (x, x[:, :2]), keras.KerasTensor((None, 3)))
    assert [tensor.shape for tensor in spec] == [(None, 3), (None, 2)]
