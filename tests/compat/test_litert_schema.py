from compat.canary import canary

from tfcompress.compat.litert_schema import schema


@canary("ai-edge-litert", "ai_edge_litert.schema_py_generated")
def test_schema():
    model = schema.ModelT()
    model.version = 3
    assert vars(schema.BuiltinOperator)["CONV_2D"] == 3
    assert model.subgraphs is None
    assert model.operatorCodes is None
    assert model.buffers is None
