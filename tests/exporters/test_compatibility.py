import dataclasses
import json

import edits
import keras
import numpy as np
import pytest
import tensorflow as tf
import toy_files

from exporters import export_tflite
from exporters.compatibility import check_target, first_segment
from exporters.running.runtime import Children, RunError, find_runtimes, load_isolated
from tfcompress.targets import list_targets, load_target, oldest_runtime, rules
from tfcompress.targets.arena import ALIGNMENT, plan_tensors
from tfcompress.targets.rules import Site, allowed_types, broken_rules
from tfcompress.targets.target import operation_versions
from tfcompress.tflite.model import (
    FlatbufferError,
    Operation,
    Quantization,
    Subgraph,
    Tensor,
    TFLiteModel,
)

SCALE = Quantization((0.5,), (0,), 0)


def tensor(index, shape, dtype="INT8", value=None, **changes):
    """A tensor and, if it is constant, its bytes."""
    changes = {"quantization": SCALE, "shape_signature": shape} | changes
    size = 0 if value is None else value.nbytes
    made = Tensor(
        index,
        f"net/layer{index}/node",
        shape,
        dtype,
        constant=value is not None,
        size=size,
        sparse=False,
        buffer=index + 1 if value is not None else 0,
        **changes,
    )
    return made, b"" if value is None else value.tobytes()


def site(name, tensors, inputs, outputs, version=1, **options):
    """One operation on those tensors."""
    operation = Operation(0, name, version, inputs, outputs, options)
    made = tuple(entry for entry, _ in tensors)
    graph = Subgraph(0, "main", made, (operation,), (), outputs)
    buffers = (memoryview(b""), *(memoryview(raw) for _, raw in tensors))
    return Site(TFLiteModel((graph,), (), {}, 3, "", 0, buffers), graph, operation)


def unary(name, before, after, **options):
    return site(name, [tensor(0, before), tensor(1, after)], (0,), (1,), **options)


def with_constant(name, before, constant, after, data_first=True, **options):
    value = np.asarray(constant, np.int32)
    tensors = [tensor(0, before), tensor(1, value.shape, "INT32", value), tensor(2, after)]
    return site(name, tensors, (0, 1) if data_first else (1, 0), (2,), **options)


IMAGE = (1, 8, 8, 6)


@pytest.mark.parametrize(
    ("rule", "value", "good", "bad", "why"),
    [
        (
            "no_fused_activation",
            True,
            unary("MAX_POOL_2D", IMAGE, IMAGE, fused_activation_function="NONE"),
            unary("MAX_POOL_2D", IMAGE, IMAGE, fused_activation_function="RELU6"),
            "fused activation, RELU6",
        ),
        (
            "same_dilation",
            True,
            unary("CONV_2D", IMAGE, IMAGE, dilation_w_factor=2, dilation_h_factor=2),
            unary("CONV_2D", IMAGE, IMAGE, dilation_w_factor=2, dilation_h_factor=1),
            "dilation 1 along y and 2 along x",
        ),
        (
            "innermost_dimensions",
            3,
            unary("ADD", (1, 1, 2, 3, 4), (1, 1, 2, 3, 4)),
            unary("ADD", (2, 8, 8, 3), (2, 8, 8, 3)),
            "a batch, or more than 3",
        ),
        (
            "ranks",
            [3, 4],
            unary("SLICE", IMAGE, IMAGE),
            unary("SLICE", (8, 6), (8, 6)),
            "takes 2 dimensions; supported: 3, 4",
        ),
        (
            "no_shrunk_axes",
            True,
            unary("STRIDED_SLICE", IMAGE, IMAGE, shrink_axis_mask=0),
            unary("STRIDED_SLICE", IMAGE, IMAGE, shrink_axis_mask=1),
            "shrink_axis_mask",
        ),
        (
            "constant_axis",
            1,
            with_constant("MEAN", IMAGE, [1, 2], (1, 6)),
            site(
                "MEAN",
                [tensor(0, IMAGE), tensor(1, (2,), "INT32"), tensor(2, (1, 6))],
                (0, 1),
                (2,),
            ),
            "must be INT32 constants",
        ),
        (
            "reflected_padding",
            True,
            unary("MIRROR_PAD", IMAGE, IMAGE, mode="REFLECT"),
            unary("MIRROR_PAD", IMAGE, IMAGE, mode="SYMMETRIC"),
            "mode SYMMETRIC",
        ),
        (
            "unit_beta",
            True,
            unary("SOFTMAX", (1, 9), (1, 9), beta=1.0),
            unary("SOFTMAX", (1, 9), (1, 9), beta=0.5),
            "logits by 0.5",
        ),
        (
            "one_dimensional_output",
            True,
            unary("FULLY_CONNECTED", (1, 4), (1, 9)),
            unary("FULLY_CONNECTED", (1, 4), (1, 5, 9)),
            "one vector",
        ),
        (
            "max_elements",
            16000,
            unary("SOFTMAX", (1, 16000), (1, 16000)),
            unary("SOFTMAX", (1, 16001), (1, 16001)),
            "16001 values",
        ),
        (
            "axis_is_not_batch",
            1,
            with_constant("MEAN", IMAGE, [1, 2], (1, 6)),
            with_constant("MEAN", IMAGE, [0, 1], (6,)),
            "along the batch",
        ),
        (
            "axis_is_not_batch",
            0,
            with_constant("SPLIT", IMAGE, 3, IMAGE, data_first=False),
            with_constant("SPLIT", IMAGE, -4, IMAGE, data_first=False),
            "along the batch",
        ),
        (
            "reduced_depth_multiple",
            4,
            with_constant("MEAN", (1, 8, 8, 8), [3], (1, 8, 8)),
            with_constant("MEAN", IMAGE, [-1], (1, 8, 8)),
            "depth of 6",
        ),
        (
            "batch_is_not_padded",
            True,
            with_constant("PAD", IMAGE, [[0, 0], [1, 1], [1, 1], [0, 0]], IMAGE),
            with_constant("PAD", IMAGE, [[1, 0], [1, 1], [1, 1], [0, 0]], IMAGE),
            "pads the batch",
        ),
        (
            "axis_option_is_not_batch",
            True,
            unary("PACK", (8, 6), (8, 2, 6), axis=1),
            unary("PACK", (8, 6), (2, 8, 6), axis=0),
            "along the batch",
        ),
        (
            "no_axis_masks",
            True,
            unary("STRIDED_SLICE", IMAGE, IMAGE, begin_mask=3),
            unary("STRIDED_SLICE", IMAGE, IMAGE, new_axis_mask=1),
            "new_axis_mask",
        ),
        (
            "max_interpolation_steps",
            127,
            unary("RESIZE_BILINEAR", (1, 33, 33, 19), (1, 33, 33, 19), align_corners=True),
            unary("RESIZE_BILINEAR", (1, 33, 33, 19), (1, 513, 513, 19), align_corners=True),
            "33x33 to 513x513",
        ),
        (
            "max_interpolation_steps",
            127,
            unary("RESIZE_BILINEAR", (1, 8, 8, 4), (1, 16, 16, 4)),
            unary("RESIZE_BILINEAR", (1, 1, 1, 4), (1, 33, 33, 4), align_corners=True),
            "1x1 to 33x33",
        ),
        (
            "max_bytes",
            100,
            unary("RESHAPE", (1, 50), (50,)),
            unary("RESHAPE", (1, 51), (51,)),
            "102 bytes",
        ),
        (
            "max_version",
            8,
            unary("FULLY_CONNECTED", (1, 4), (1, 4), version=8),
            unary("FULLY_CONNECTED", (1, 4), (1, 4), version=9),
            "version 9",
        ),
        (
            "max_release",
            "2.5.0",
            unary("CONV_2D", IMAGE, IMAGE, version=5),
            unary("CONV_2D", IMAGE, IMAGE, version=6),
            "came with 2.9.0",
        ),
        (
            "default_weights_format",
            True,
            unary("FULLY_CONNECTED", (1, 4), (1, 4), weights_format="DEFAULT"),
            unary("FULLY_CONNECTED", (1, 4), (1, 4), weights_format="SHUFFLED4x16INT8"),
            "SHUFFLED",
        ),
    ],
)
def test_a_rule_judges(rule, value, good, bad, why):
    assert broken_rules(good, {rule: value}) == []
    (reason,) = broken_rules(bad, {rule: value})
    assert why in reason


def test_zero_padding_by_concatenation():
    zeros, ones = np.zeros((1, 8, 8, 2), np.int8), np.ones((1, 8, 8, 2), np.int8)
    rule = {"constant_input_is_zero_padding": True}
    for value, inputs, expected in (
        (zeros, (0, 1), 0),
        (ones, (0, 1), 1),
        (zeros, (0, 1, 0), 1),
    ):
        tensors = [tensor(0, IMAGE), tensor(1, value.shape, "INT8", value), tensor(2, IMAGE)]
        assert len(broken_rules(site("CONCATENATION", tensors, inputs, (2,)), rule)) == expected


def test_parameters_are_constant():
    kernel = tensor(1, (6, 1, 1, 6), "INT8", np.zeros((6, 1, 1, 6), np.int8))
    good = site("CONV_2D", [tensor(0, IMAGE), kernel, tensor(2, IMAGE)], (0, 1, -1), (2,))
    bad = site(
        "CONV_2D", [tensor(0, IMAGE), tensor(1, (6, 1, 1, 6)), tensor(2, IMAGE)], (0, 1), (2,)
    )
    assert broken_rules(good, {"constant_parameters": True}) == []
    assert "net/layer1/node" in broken_rules(bad, {"constant_parameters": True})[0]


def test_a_free_batch_of_one_is_static_a_free_length_is_not():
    shapes = {"static_shapes": True}
    batch = site("RELU", [tensor(0, (1, 4), shape_signature=(-1, 4))] * 2, (0,), (1,))
    length = site("RELU", [tensor(0, (1, 4), shape_signature=(1, -1))] * 2, (0,), (1,))
    assert broken_rules(batch, shapes) == []
    assert "free at run time" in broken_rules(length, shapes)[0]


def test_types_and_scales():
    bad = site("ADD", [tensor(0, (1,), "FLOAT32"), tensor(1, (1,))], (0,), (1,))
    assert "computes on FLOAT32" in allowed_types(bad, ("INT8", "UINT8"))
    bare = site("ADD", [tensor(0, (1,), quantization=None), tensor(1, (1,))], (0,), (1,))
    assert "no scale" in broken_rules(bare, {"quantized": True})[0]


def test_an_unknown_rule_is_an_error():
    with pytest.raises(ValueError, match=r"Unknown rules.*'colour'"):
        broken_rules(unary("ADD", (1,), (1,)), {"colour": 1})


def test_every_target_states_rules_that_exist():
    for name in list_targets():
        delegate = load_target(name).delegate
        if delegate is not None:
            stated = set(delegate.rules).union(*delegate.operations.values())
            assert stated <= set(rules.RULES), name


def test_the_targets_of_the_project():
    assert set(list_targets()) >= {
        "android",
        "android-nnapi",
        "raspberry-pi-4",
        "raspberry-pi-zero",
        "coral-edgetpu",
        "microcontroller",
        "generic-cpu",
        "raspberry-pi-5",
        "esp32-s3",
        "stm32f746",
        "stm32h743",
        "stm32l4r5",
    }
    with pytest.raises(ValueError, match=r"Supported: \['android'.*Received: 'toaster'"):
        load_target("toaster")
    assert oldest_runtime("FULLY_CONNECTED", 12) == "2.17.0"
    assert oldest_runtime("FULLY_CONNECTED", 99) is None


def test_a_board_is_like_another_one_with_its_own_memory():
    board, general = load_target("stm32f746"), load_target("microcontroller")
    assert board.delegate == general.delegate
    assert (board.memory.flash, board.memory.arena) == (1 << 20, 320 << 10)
    assert board.sources != general.sources
    assert load_target("raspberry-pi-5").runtime == load_target("raspberry-pi-4").runtime


def chain(*edges):
    """A graph from (inputs, outputs) of tensors for each operation."""
    count = 1 + max(i for edge in edges for side in edge for i in side)
    operations = tuple(
        Operation(place, "ADD", 1, tuple(inputs), tuple(outputs), {})
        for place, (inputs, outputs) in enumerate(edges)
    )
    tensors = tuple(tensor(i, (16,))[0] for i in range(count))
    return Subgraph(0, "main", tensors, operations, (0,), (count - 1,))


@pytest.mark.parametrize(
    ("supported", "expected"),
    [
        ({0, 1, 2, 3}, {0, 1, 2, 3}),
        ({0, 2, 3}, {0, 3}),  # 2 waits for 1; 3 reads 0 alone
        ({1, 2, 3}, {1, 2, 3}),  # the CPU runs 0 first, then everything is ready
        ({0, 1}, {0, 1}),
        (set(), set()),
    ],
)
def test_the_first_segment(supported, expected):
    """0 -> 1 -> 2, and 0 -> 3."""
    graph = chain(([0], [1]), ([1], [2]), ([2], [3]), ([1], [4]))
    assert first_segment(graph, supported) == expected


def test_a_cycle_has_no_segment():
    assert first_segment(chain(([1], [0]), ([0], [1])), {0, 1}) == set()


def test_tensors_share_memory():
    # t0 -> t1 -> t2 -> t3, 16 bytes each: two live at a time.
    assert plan_tensors(chain(([0], [1]), ([1], [2]), ([2], [3]))) == 2 * ALIGNMENT
    # With a skip from t0 to the end, three do.
    assert plan_tensors(chain(([0], [1]), ([1], [2]), ([2, 0], [3]))) == 3 * ALIGNMENT


def test_larger_tensors_are_placed_first():
    graph = chain(([0], [1]), ([1], [2]))
    sizes = ((100,), (33,), (64,))
    tensors = tuple(
        dataclasses.replace(t, shape=shape) for t, shape in zip(graph.tensors, sizes, strict=True)
    )
    # t0 (112) and t1 (48) live together; t2 (64) takes t0's place.
    assert plan_tensors(dataclasses.replace(graph, tensors=tensors)) == 112 + 48


def test_the_edge_tpu_takes_an_int8_file_and_nothing_of_a_float_one():
    verdict = check_target(toy_files.content("int8"), "coral-edgetpu")
    assert (verdict.ok, verdict.reasons, verdict.left_on_cpu) == (True, (), {})
    verdict = check_target(toy_files.content("float32"), "coral-edgetpu")
    assert not verdict.ok
    assert sum(verdict.left_on_cpu.values()) == 5
    assert "layer 'stem_1'" in verdict.reasons[0]
    assert "computes on FLOAT32" in verdict.reasons[0]


def test_float_edges_stay_on_the_cpu_and_the_rest_is_mapped():
    verdict = check_target(toy_files.content("int8 float io"), "coral-edgetpu")
    assert verdict.left_on_cpu == {"QUANTIZE": 1, "DEQUANTIZE": 1}


def test_android_says_what_mediapipe_does_not_take():
    notes = {
        kind: [
            note
            for note in check_target(toy_files.content(kind), "android").notes
            if "MediaPipe" in note
        ]
        for kind in ("int8", "float32")
    }
    assert notes["float32"] == []
    (note,) = notes["int8"]
    assert 'interface="mediapipe"' in note


def test_compiled_pairs_of_the_edge_tpu(shared):
    folder = shared / "models" / "edgetpu_pairs"
    expected = json.loads((folder / "expected.json").read_text())
    assert len(expected) == 6
    for name, entry in expected.items():
        verdict = check_target(folder / name, "coral-edgetpu")
        assert verdict.left_on_cpu == entry["left_on_cpu"], name
        assert verdict.ok == (not entry["left_on_cpu"]), name


def test_what_the_compiler_made_needs_no_more_mapping(shared):
    path = shared / "models" / "edgetpu_pairs" / "split_concat_edgetpu.tflite"
    assert check_target(path, "coral-edgetpu").ok
    assert "custom" in check_target(path, "generic-cpu").reasons[0]


def test_a_newer_operation_fails_on_an_older_runtime():
    newer = edits.with_version(toy_files.content("float32"), "FULLY_CONNECTED", 12)
    verdict = check_target(newer, "raspberry-pi-zero")
    assert not verdict.ok
    assert verdict.min_runtime == "2.17.0"
    assert "version 12, which needs TensorFlow 2.17.0 or later" in verdict.reasons[0]
    assert check_target(newer, "raspberry-pi-4").ok


def test_a_microcontroller_has_a_set_of_operations_and_an_arena():
    verdict = check_target(toy_files.content("int8"), "microcontroller")
    assert verdict.ok
    # Stem output and depthwise output live together with their sum.
    assert 3 * 288 <= verdict.arena < 3 * 288 + 3000


def test_the_gpu_of_a_phone_takes_the_toy_file_with_its_mean():
    verdict = check_target(toy_files.content("int8"), "android")
    assert (verdict.ok, verdict.left_on_cpu) == (True, {})


def test_the_phone_runs_what_its_gpu_does_not_take():
    verdict = check_target(toy_files.converted(lambda x: tf.reverse(x, [1]), 1, 4, 4), "android")
    assert verdict.ok
    assert verdict.left_on_cpu == {"REVERSE_V2": 1}
    assert any("GPU delegate does not have" in note for note in verdict.notes)
    assert "  note: operation 0 REVERSE_V2" in verdict.to_text()


# What tf.lite.experimental.Analyzer of TensorFlow 2.17.1, with gpu_compatibility=True, says of
# files of one operation on float tensors of shape (1, 8, 8, 4). That of 2.21 takes every one.
TAKEN_BY_GPU = """
    ABS ADD AVERAGE_POOL_2D BATCH_MATMUL CONCATENATION CONV_2D COS CUMSUM DEPTH_TO_SPACE
    DEPTHWISE_CONV_2D DIV ELU EXP FLOOR FLOOR_DIV FLOOR_MOD FULLY_CONNECTED GATHER GELU HARD_SWISH
    LEAKY_RELU LOG LOGISTIC MAXIMUM MAX_POOL_2D MEAN MINIMUM MIRROR_PAD MUL NEG PACK PAD PADV2 POW
    REDUCE_MIN REDUCE_PROD RELU RELU6 RELU_N1_TO_1 RESHAPE RESIZE_BILINEAR RESIZE_NEAREST_NEIGHBOR
    RSQRT SIGN SIN SLICE SOFTMAX SPACE_TO_DEPTH SPLIT SPLIT_V SQRT SQUARE SQUARED_DIFFERENCE
    STRIDED_SLICE SUB SUM TANH TILE TRANSPOSE TRANSPOSE_CONV"""
NOT_TAKEN_BY_GPU = """
    ARG_MAX ARG_MIN CEIL GATHER_ND L2_NORMALIZATION LOCAL_RESPONSE_NORMALIZATION LOG_SOFTMAX
    LOGICAL_OR REVERSE_V2 ROUND SPACE_TO_BATCH_ND TOPK_V2 UNPACK"""


def test_the_gpus_table_is_that_of_tensorflows_analyzer():
    table = load_target("android").delegate.operations
    assert [name for name in TAKEN_BY_GPU.split() if name not in table] == []
    assert [name for name in NOT_TAKEN_BY_GPU.split() if name in table] == []


def test_a_slice_that_takes_an_axis_away_stays_on_the_cpu_of_a_phone():
    kept = check_target(toy_files.converted(lambda x: x[:, ::2, ::2], 1, 8, 8, 4), "android")
    shrunk = check_target(toy_files.converted(lambda x: x[:, 0], 1, 8, 8, 4), "android")
    assert kept.left_on_cpu == {}
    assert shrunk.left_on_cpu == {"STRIDED_SLICE": 1}
    assert any("takes an axis away" in note for note in shrunk.notes)


def arena_of(name, before, after, *others, dtype="INT8"):
    """The arena's plan for one operation on tensors of one type; others are constants."""
    made = [tensor(0, before, dtype), tensor(1, after, dtype)]
    made += [(dataclasses.replace(entry, constant=True), raw) for entry, raw in others]
    inputs = (0, *range(2, len(made)))
    return plan_tensors(dataclasses.replace(site(name, made, inputs, (1,)).subgraph, inputs=(0,)))


def test_scratch_memory_is_planned_with_the_tensors():
    small, large = (1, 4, 4, 4), (1, 8, 8, 16)  # 64 and 1,024 values
    # The sums of a transposed convolution: 4 bytes a value of the output in int8, 8 in int16.
    assert arena_of("TRANSPOSE_CONV", small, large) == 64 + 1024 + 4 * 1024
    assert arena_of("TRANSPOSE_CONV", small, large, dtype="INT16") == 2 * (64 + 1024) + 8 * 1024
    assert arena_of("TRANSPOSE_CONV", small, large, dtype="FLOAT32") == 4 * (64 + 1024)
    assert arena_of("MEAN", large, (1, 16)) == 1024 + 16 + 4 * 16
    # Kernels of 4 bits are unpacked to bytes.
    kernel = tensor(2, (16, 3, 3, 4), "INT4")
    assert arena_of("CONV_2D", small, large, kernel) == 64 + 1024 + 576
    assert arena_of("CONV_2D", small, large, tensor(2, (16, 3, 3, 4))) == 64 + 1024


def test_a_transposed_convolution_too_large_for_a_microcontroller(tmp_path):
    # Its interpreter needs 751,068 bytes (tflite-micro on x86-64).
    model = keras.Sequential(
        [
            keras.Input((48, 48, 4)),
            keras.layers.Conv2DTranspose(16, 4, strides=2, padding="same"),
            keras.layers.Conv2D(1, 3, padding="same"),
        ]
    )
    samples = np.random.default_rng(0).random((8, 48, 48, 4), "float32")
    made = export_tflite(model, tmp_path / "t.tflite", "int8", representative_data=samples)
    verdict = check_target(made.path, "microcontroller")
    assert not verdict.ok
    assert 0.99 * 751_068 < verdict.arena < 751_068
    assert "the arena has 262,144" in verdict.reasons[0]
    assert f"arena: about {verdict.arena:,} of 262,144 bytes" in verdict.to_text()


def test_verdicts_are_json():
    verdict = check_target(toy_files.content("int8"), "android-nnapi")
    assert json.loads(json.dumps(verdict.to_json()))["target"] == "android-nnapi"


def test_bad_input():
    with pytest.raises(ValueError, match="Unknown target"):
        check_target(toy_files.content("int8"), "toaster")
    with pytest.raises(FlatbufferError):
        check_target(b"PK", "generic-cpu")


@pytest.mark.process
@pytest.mark.parametrize("target", ["raspberry-pi-zero", "raspberry-pi-4"])
def test_the_runtimes_accept_the_versions_that_the_table_says(target, request):
    """Operations of the toy file in every version: what the target's runtime really loads."""
    old = target == "raspberry-pi-zero"
    python = request.getfixturevalue("old_runtime") if old else None
    runtime = find_runtimes(python)[0]
    assert runtime.name == load_target(target).runtime.package
    with Children() as children:
        for operation in ("CONV_2D", "ADD", "FULLY_CONNECTED"):
            for version in operation_versions()[operation]:
                content = edits.with_version(toy_files.content("float32"), operation, version)
                refusal = ""
                try:
                    load_isolated(content, runtime, child=children.of(runtime))
                except RunError as error:
                    refusal = str(error)
                case = (operation, version, refusal)
                assert check_target(content, target).ok == (refusal == ""), case
                assert refusal == "" or "Didn't find op for builtin opcode" in refusal, case
