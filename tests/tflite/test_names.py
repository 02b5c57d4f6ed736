import pytest

from tfcompress.tflite.names import layer_scope, layer_scopes, match_layer, match_layers


@pytest.mark.parametrize(
    ("name", "scope"),
    [
        ("toy_1/stem_1/Relu;toy_1/stem_1/convolution", "stem_1"),
        ("toy_1/encoder_1/act_1/Relu6;toy_1/encoder_1/conv_1/convolution", "encoder_1/act_1"),
        ("model/dense/BiasAdd/ReadVariableOp/resource", "dense"),
        ("Identity", None),
        ("PartitionedCall:0", None),
        ("", None),
    ],
)
def test_the_scope_is_between_the_model_and_the_node(name, scope):
    assert layer_scope(name) == scope


def test_fused_layers_come_each_once():
    name = "m/act/Relu;m/bn/FusedBatchNormV3;m/conv/BiasAdd/ReadVariableOp;m/conv/Conv2D"
    assert layer_scopes(name) == ("act", "bn", "conv")


@pytest.mark.parametrize(
    ("scope", "layer"),
    [
        ("conv_1", "conv_1"),
        ("conv_2", "conv"),
        ("conv_1_2", "conv_1"),
        ("encoder_1/act_1", "encoder/act"),
        ("sep_1/separable_conv2d", "sep"),
        ("elsewhere", None),
        (None, None),
    ],
)
def test_a_scope_finds_its_layer(scope, layer):
    assert match_layer(scope, ["conv", "conv_1", "encoder", "encoder/act", "sep"]) == layer


@pytest.mark.parametrize(
    ("scopes", "layers"),
    [
        (["conv_1", "conv_1_1"], ["conv", "conv_1"]),  # every scope has a number of TensorFlow's
        (["conv", "conv_1"], ["conv", "conv_1"]),  # none has
        (["conv_1", "elsewhere"], ["conv_1", None]),  # nothing tells: equal names win
    ],
)
def test_the_scopes_of_a_file_belong_to_different_layers(scopes, layers):
    found = match_layers(scopes, ["conv", "conv_1"])
    assert found == dict(zip(scopes, layers, strict=True))
