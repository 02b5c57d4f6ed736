"""Which numbers the tensors of small float files become."""

import keras
import numpy as np
from keras import layers as kl

from tfcompress.quantization.deployed_graph import deploy_as_it_is
from tfcompress.quantization.planning import Fixed, Float, Learned
from tfcompress.quantization.scheme import Scheme


def planned(model, scheme):
    graph = deploy_as_it_is(model, scheme)
    operations = graph.model.subgraphs[0].operations
    made = {op.name: graph.plan.tensors.get(op.outputs[0]) for op in operations}
    return graph, operations, made


def test_what_is_copied_has_the_grid_of_its_source():
    inputs = keras.Input((4, 4, 2))
    x = kl.Flatten()(kl.MaxPooling2D()(kl.Conv2D(2, 1)(inputs)))
    graph, _, made = planned(keras.Model(inputs, x), Scheme.int8())
    assert made["CONV_2D"] == made["MAX_POOL_2D"] == made["RESHAPE"] == Learned(1)
    assert graph.plan.tensors[graph.model.subgraphs[0].inputs[0]] == Learned(0)
    assert not graph.plan.reads
    assert not graph.plan.in_float


def test_a_fixed_grid_is_requantized_where_another_is_needed():
    inputs = keras.Input((4,))
    gate = kl.Dense(4, activation="sigmoid")(inputs)
    joined = kl.Concatenate()([gate, kl.Dense(4)(inputs)])
    graph, operations, made = planned(keras.Model(inputs, joined), Scheme.int8())
    assert made["LOGISTIC"] == Fixed(1 / 256, -128)
    (join,) = [op for op in operations if op.name == "CONCATENATION"]
    (place,) = graph.plan.reads
    assert place[0] == join.index
    assert graph.plan.reads[place] == made["CONCATENATION"]


def test_a_layer_in_float_stands_between_conversions():
    inputs = keras.Input((4,))
    hidden = kl.Dense(4, name="hidden")(inputs)
    model = keras.Model(inputs, kl.Dense(2, name="head")(hidden))
    scheme = Scheme.int8().override(["hidden"], None)
    graph, operations, _ = planned(model, scheme)
    first, second = operations
    assert graph.plan.in_float == {first.index: "left in float"}
    assert graph.plan.tensors[first.outputs[0]] == Float()
    assert graph.plan.reads == {(second.index, 0): Learned(0)}
    assert graph.left_in_float == ("hidden",)


def test_biases_name_the_scales_that_make_theirs():
    inputs = keras.Input((6, 6, 3))
    model = keras.Model(inputs, kl.Conv2DTranspose(2, 2)(kl.Conv2D(3, 3)(inputs)))
    for variable in model.variables:
        variable.assign(np.random.default_rng(0).random(variable.shape))
    graph, operations, _ = planned(model, Scheme.int8())
    data = {operations[place[0]].name: sources for place, sources in graph.plan.biases.items()}
    assert data["CONV_2D"] == ((operations[0].index, 0), (operations[0].index, 1))
    transposed = next(op.index for op in operations if op.name == "TRANSPOSE_CONV")
    assert data["TRANSPOSE_CONV"] == ((transposed, 2), (transposed, 1))
    axes = {operations[place[0]].name: k.axis for place, k in graph.plan.kernels.items()}
    assert axes == {"CONV_2D": 0, "TRANSPOSE_CONV": 0}
