import keras
import numpy as np
import pytest
from keras import layers as kl

import tfcompress as tfc
from exporters import export_tflite
from tfcompress.keras_graph.hooks import HookPoint
from tfcompress.quantization.placement import Placement, share_ranges
from tfcompress.tflite.flatbuffer import read_model

A, B, C, D = map(HookPoint, "abcd")


def test_points_of_a_group_share_the_range_of_the_first():
    assert share_ranges([A, B, C, D], [(C, B)]) == {C: B}


def test_groups_with_a_point_in_common_are_one():
    assert share_ranges([A, B, C, D], [(B, C), (D, C)]) == {C: B, D: B}
    assert share_ranges([A, B, C, D], [(A, B), (C, D), (D, B)]) == {B: A, C: A, D: A}


def test_rows_and_config():
    placement = Placement((A, C), ((D, (0.0, 1.0)),), ((B, A),))
    assert placement.rows() == {A: 0, B: 0, C: 1}
    assert Placement.from_config(placement.get_config()) == placement


def test_config_of_an_early_file_shares_nothing():
    config = Placement((A, B), ()).get_config()
    del config["shared"]
    assert Placement.from_config(config).rows() == {A: 0, B: 1}


def dense_block(inputs):
    x = kl.Conv2D(4, 3, padding="same", activation="relu", name="stem")(inputs)
    for number in (1, 2):
        new = kl.Conv2D(2, 3, padding="same", name=f"conv{number}")(x)
        x = kl.Concatenate(name=f"joined{number}")([x, new])
    return kl.Conv2D(3, 1, name="head")(kl.MaxPooling2D()(x))


def pooled_branches(inputs):
    left = kl.MaxPooling2D(name="pooled")(kl.Conv2D(3, 1, name="left")(inputs))
    right = kl.Conv2D(3, 2, strides=2, activation="relu", name="right")(inputs)
    return kl.Conv2D(3, 1, name="head")(kl.Concatenate(name="joined")([left, right]))


@pytest.mark.parametrize(
    ("build", "owner", "shared"),
    [
        (dense_block, "stem", ["conv1", "joined1", "conv2", "joined2"]),
        (pooled_branches, "left", ["right", "joined"]),
    ],
)
def test_concatenation_is_one_scale_in_the_file(build, owner, shared, tmp_path):
    inputs = keras.Input((8, 8, 3))
    model = keras.Model(inputs, build(inputs))
    images = np.random.default_rng(0).normal(size=(32, 8, 8, 3)).astype("float32")
    q = tfc.quantize_aware(model)
    assert sorted(point.path for point, _ in q.placement.shared) == sorted(shared)
    assert {point.path for _, point in q.placement.shared} == {owner}
    q.compile("sgd", "mse", jit_compile=False)
    q.fit(images, np.zeros((32, *model.output_shape[1:])), verbose=0)
    result = export_tflite(q, tmp_path / "m.tflite", validation_data=images)
    assert "QUANTIZE" not in result.report.operations
    graph = read_model(result.path).subgraphs[0]
    for operation in graph.operations:
        if operation.name == "CONCATENATION":
            ends = [graph.tensors[i] for i in (*operation.inputs, *operation.outputs)]
            assert len({(t.quantization.scales, t.quantization.zero_points) for t in ends}) == 1
    assert result.report.agreement.within_one >= 0.99


def test_shared_range_holds_all_its_tensors():
    inputs = keras.Input((4,))
    wide = kl.Dense(1, use_bias=False, kernel_initializer="ones", name="wide")(inputs)
    narrow = kl.Dense(
        1, use_bias=False, kernel_initializer=keras.initializers.Constant(-1.0), name="narrow"
    )(inputs)
    q = tfc.quantize_aware(keras.Model(inputs, kl.Concatenate(name="both")([wide, narrow])))
    q.calibrate(np.array([[1.0, 1.0, 1.0, 1.0]], "float32"))
    row = q.placement.rows()[HookPoint("both")]
    np.testing.assert_allclose(q.ranges.numpy()[row], [-4.0, 4.0], rtol=1e-5)
