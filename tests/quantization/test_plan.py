"""Which numbers the tensors of small float files become."""

import functools

import keras
import numpy as np
from keras import layers as kl

from tfcompress.quantization.deployed_graph import deploy_as_it_is
from tfcompress.quantization.planning import Fixed, Float, Learned, make_plan
from tfcompress.quantization.scheme import Scheme
from tfcompress.tflite.model import Operation, Subgraph, Tensor, TFLiteModel


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


def test_what_16_bits_compare_has_one_grid():
    inputs = [keras.Input((8,)), keras.Input((8,))]
    a, b = (kl.Dense(8, name=name)(x) for name, x in zip("ab", inputs, strict=True))
    larger = keras.ops.where(a > b, a, b * 0.5)
    model = keras.Model(inputs, keras.ops.where(larger > 0.3, larger, a))
    graph, operations, _ = planned(model, Scheme.int8_weights_int16_activations())
    compared = [op for op in operations if op.name == "GREATER"]
    assert len(compared) == 2
    for operation in compared:
        places = [(operation.index, position) for position in range(2)]
        forms = {
            graph.plan.constants.get(place, graph.plan.form(operation, place[1]))
            for place in places
        }
        assert len(forms) == 1
        assert isinstance(*forms, Learned)


def test_a_kernel_that_needs_the_zero_point_0():
    tensor = functools.partial(Tensor, quantization=None, constant=False, size=0, sparse=False)
    tensors = [
        tensor(0, "indices", (2, 1), "INT32", shape_signature=(2, 1)),
        tensor(1, "values", (2,), "FLOAT32", shape_signature=(2,)),
        tensor(2, "shape", (1,), "INT32", shape_signature=(1,)),
        tensor(3, "scattered", (4,), "FLOAT32", shape_signature=(4,)),
    ]
    scatter = Operation(0, "SCATTER_ND", 1, (0, 1, 2), (3,), {})
    main = Subgraph(0, "main", tuple(tensors), (scatter,), (0, 1, 2), (3,))
    model = TFLiteModel((main,), (), {}, 3, "", 0, ())
    symmetric = Scheme(symmetric_activations=True)
    found = [make_plan(model, scheme, {}).in_float for scheme in (Scheme.int8(), symmetric)]
    assert found == [{0: "no kernel for int8 with a zero point"}, {}]
