import handmade
from ai_edge_litert import schema_py_generated as schema

from tfcompress.tflite.flatbuffer import read_model
from tfcompress.tflite.ordering import PortNames, in_order

PLAIN = PortNames(["x"], ["y"])
FIRST_DEFAULT = {"default": PLAIN, "features": PLAIN}
FIRST_FEATURES = {"features": PLAIN, "default": PLAIN}


def one_operation(name, *operation):
    tensors = [handmade.tensor("x", (1,)), handmade.tensor("y", (1,))]
    return handmade.graph(tensors, [handmade.operation(*operation)], [0], [1], name)


def loop():
    options = schema.WhileOptionsT()
    options.condSubgraphIndex, options.bodySubgraphIndex = 2, 3
    return handmade.operation("WHILE", [0], [1], options=options)


def test_the_signatures_graph_becomes_the_first_and_references_follow():
    tensors = [handmade.tensor("x", (1,)), handmade.tensor("y", (1,))]
    content = handmade.file(
        one_operation("features", "NEG", [0], [1]),
        handmade.graph(tensors, [loop()], [0], [1], "default"),
        one_operation("condition", "ABS", [0], [1]),
        one_operation("body", "SIN", [0], [1]),
        signatures=[
            ("features", 0, {"x": 0}, {"y": 1}),
            ("default", 1, {"x": 0}, {"y": 1}),
        ],
    )
    model = read_model(in_order(content, FIRST_DEFAULT))
    assert [g.name for g in model.subgraphs] == ["default", "features", "condition", "body"]
    assert [(s.key, s.subgraph) for s in model.signatures] == [("default", 0), ("features", 1)]
    options = model.subgraphs[0].operations[0].options
    assert (options["cond_subgraph_index"], options["body_subgraph_index"]) == (2, 3)
    back = read_model(in_order(in_order(content, FIRST_DEFAULT), FIRST_FEATURES))
    assert [g.name for g in back.subgraphs] == ["features", "default", "condition", "body"]
    assert back.subgraphs[1].operations[0].options == options


def test_references_to_graphs_that_move():
    tensors = [handmade.tensor("x", (1,)), handmade.tensor("y", (1,))]
    content = handmade.file(
        one_operation("features", "NEG", [0], [1]),
        one_operation("other", "COS", [0], [1]),
        one_operation("condition", "ABS", [0], [1]),
        handmade.graph(tensors, [loop()], [0], [1], "default"),
        signatures=[("default", 3, {"x": 0}, {"y": 1})],
    )
    model = read_model(in_order(content, FIRST_DEFAULT))
    assert [g.name for g in model.subgraphs] == ["default", "features", "other", "condition"]
    options = model.subgraphs[0].operations[0].options
    assert (options["cond_subgraph_index"], options["body_subgraph_index"]) == (3, 0)


def test_a_file_in_order_is_left_alone():
    content = handmade.file(
        one_operation("main", "NEG", [0], [1]), signatures=[("default", 0, {"x": 0}, {"y": 1})]
    )
    assert in_order(content, FIRST_DEFAULT) is content


def two_ways(tensors=("x", "y", "sum", "difference")):
    records = [handmade.tensor(name, (1,)) for name in tensors]
    operations = [
        handmade.operation("SUB", [0, 1], [3]),
        handmade.operation("ADD", [0, 1], [2]),
    ]
    return handmade.graph(records, operations, [1, 0], [3, 2])


def test_inputs_and_outputs_come_in_the_models_order():
    content = handmade.file(
        two_ways(), signatures=[("default", 0, {"y": 1, "x": 0}, {"difference": 3, "sum": 2})]
    )
    wanted = {"default": PortNames(["x", "y"], ["sum", "difference"])}
    model = read_model(in_order(content, wanted))
    assert (model.subgraphs[0].inputs, model.subgraphs[0].outputs) == ((0, 1), (2, 3))
    assert list(model.signatures[0].inputs.items()) == [("x", 0), ("y", 1)]
    assert list(model.signatures[0].outputs.items()) == [("sum", 2), ("difference", 3)]
    assert [operation.name for operation in model.subgraphs[0].operations] == ["SUB", "ADD"]


def test_a_tensor_that_leaves_under_two_names_leaves_twice():
    tensors = [handmade.tensor(name, (1,)) for name in ("x", "minus", "size")]
    operations = [handmade.operation("NEG", [0], [1]), handmade.operation("ABS", [0], [2])]
    content = handmade.file(
        handmade.graph(tensors, operations, [0], [2, 1, 1]),
        signatures=[("default", 0, {"x": 0}, {"size": 2, "first": 1, "second": 1})],
    )
    wanted = {"default": PortNames(["x"], ["first", "second", "size"])}
    model = read_model(in_order(content, wanted))
    assert model.subgraphs[0].outputs == (1, 1, 2)


def test_a_side_whose_names_are_others_is_left_alone():
    content = handmade.file(
        two_ways(), signatures=[("default", 0, {"y": 1, "x": 0}, {"difference": 3, "sum": 2})]
    )
    wanted = {"default": PortNames(["x", "y"], ["sum"])}
    model = read_model(in_order(content, wanted))
    assert (model.subgraphs[0].inputs, model.subgraphs[0].outputs) == ((0, 1), (3, 2))
