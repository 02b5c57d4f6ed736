import handmade
from ai_edge_litert import schema_py_generated as schema

from tfcompress.tflite.flatbuffer import read_model
from tfcompress.tflite.main_graph import with_main_signature


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
    model = read_model(with_main_signature(content, "default"))
    assert [g.name for g in model.subgraphs] == ["default", "features", "condition", "body"]
    assert [(s.key, s.subgraph) for s in model.signatures] == [("default", 0), ("features", 1)]
    options = model.subgraphs[0].operations[0].options
    assert (options["cond_subgraph_index"], options["body_subgraph_index"]) == (2, 3)
    back = read_model(with_main_signature(with_main_signature(content, "default"), "features"))
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
    model = read_model(with_main_signature(content, "default"))
    assert [g.name for g in model.subgraphs] == ["default", "features", "other", "condition"]
    options = model.subgraphs[0].operations[0].options
    assert (options["cond_subgraph_index"], options["body_subgraph_index"]) == (3, 0)


def test_a_file_in_order_is_left_alone():
    content = handmade.file(
        one_operation("main", "NEG", [0], [1]), signatures=[("default", 0, {"x": 0}, {"y": 1})]
    )
    assert with_main_signature(content, "default") is content
