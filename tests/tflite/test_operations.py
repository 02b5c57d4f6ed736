"""The table of operations against the kernels: what it claims is right, what it denies is not."""

import dataclasses
import functools

import numpy as np
import pytest
from one_operation import (
    DEFAULT_KERNELS,
    PLAIN,
    REFERENCE_KERNELS,
    Case,
    filled,
    float_file,
    in_child,
    quantized,
    run,
    steps_off,
)
from operation_cases import CASES

from tfcompress.compat.litert_schema import schema
from tfcompress.targets.target import operation_versions
from tfcompress.tflite import operations
from tfcompress.tflite.editing import Editor
from tfcompress.tflite.filling import Filling, Storage, fill
from tfcompress.tflite.operations import Operand

BY_NAME = {case.operation: case for case in CASES}
INTEGERS = ("INT8", "INT16")
PAIRS = [
    pytest.param(case, dtype, id=f"{case.operation}-{dtype}")
    for case in CASES
    for dtype in INTEGERS
]
CLAIMED = [pair for pair in PAIRS if operations.runs_with(pair.values[0].operation, pair.values[1])]
# NEG is right until it meets the lowest integer, which has its own test.
DENIED = [p for p in PAIRS if p not in CLAIMED and p.id != "NEG-INT16"]
WEIGHTED = ("CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV", "FULLY_CONNECTED", "EMBEDDING_LOOKUP")
# CONV_2D takes 2-bit weights with float activations, by a kernel without a version of its own.
UNCLAIMED = {("CONV_2D", "FLOAT32", "INT2")}
WRONG = 3.0


def _fails(call) -> bool:
    """Tell whether a call is refused, ends its process, or is off by more than rounding."""
    answer = in_child(call)
    return isinstance(answer, str) or answer > WRONG


@pytest.mark.parametrize(("case", "dtype"), CLAIMED)
def test_integers_give_what_floats_give(case, dtype):
    file = filled(case, dtype)
    for kernels in DEFAULT_KERNELS:
        assert steps_off(file, kernels) <= case.steps.get(dtype, 1.0)


@pytest.mark.parametrize(("case", "dtype"), CLAIMED)
def test_reference_kernels_as_the_table_says(case, dtype):
    file = filled(case, dtype)
    if operations.runs_with(case.operation, dtype, reference=True):
        assert steps_off(file, REFERENCE_KERNELS) <= case.steps.get(dtype, 1.0)
    else:
        assert _fails(functools.partial(steps_off, file, REFERENCE_KERNELS))


@pytest.mark.parametrize(("case", "dtype"), DENIED)
def test_denied_types_are_refused_or_wrong(case, dtype):
    assert _fails(functools.partial(steps_off, filled(case, dtype), PLAIN))


def test_negation_of_the_lowest_integer_is_wrong():
    case = Case("NEG", (np.array([[-32768.0, 32767.0]], np.float32),), BY_NAME["NEG"].options)
    editor = Editor(float_file(case))
    unit = Storage("INT16", (1.0,), (0,))
    fill(editor, Filling({(0, 0): unit, (0, 1): unit}), "INT16", "INT16")
    (result,) = run(editor.packed(), [case.inputs[0].astype(np.int16)], PLAIN)
    assert result.tolist() == [[-32768, -32767]]
    assert not operations.runs_with("NEG", "INT16")


@pytest.mark.parametrize(
    ("case", "dtype"),
    [
        pair
        for pair in CLAIMED
        if operations.support(pair.values[0].operation).output in ("same", "fixed")
        # The specification fixes its scale, though LiteRT's table of 256 entries fits any.
        and pair.id != "TANH-INT8"
    ],
)
def test_other_output_scales_are_refused_or_wrong(case, dtype):
    file = filled(case, dtype, coarser=2.0)
    kernels = (*DEFAULT_KERNELS, REFERENCE_KERNELS)
    assert any(_fails(functools.partial(steps_off, file, each)) for each in kernels)


@pytest.mark.parametrize(
    "name", [n for n in operations.names() if operations.support(n).same_inputs]
)
def test_comparisons_of_16_bits_need_one_scale(name):
    first = np.arange(-40, 40, dtype=np.float32).reshape(2, 40) / 10
    case = dataclasses.replace(BY_NAME[name], inputs=(first, first / 2))
    free = dataclasses.replace(operations.support(name), same_inputs=())
    assert steps_off(filled(case, "INT16"), PLAIN) == 0
    assert steps_off(filled(case, "INT16", support=free), PLAIN) > 255 / 3
    assert steps_off(filled(case, "INT8"), PLAIN) == 0


def _combinations():
    for name in WEIGHTED:
        entry = operations.support(name)
        # The kernel of an integer embedding is its data.
        for dtype in ("FLOAT32",) if entry.output == "same" else ("INT8", "INT16", "FLOAT32"):
            for weights in ("INT8", "INT4", "INT2"):
                for per_channel in (True, False):
                    for bias in ("INT32", "INT64") if dtype == "INT16" else (None,):
                        if (name, dtype, weights) not in UNCLAIMED:
                            yield name, dtype, weights, per_channel, bias


def _claims(name, dtype, weights, per_channel, bias) -> bool:
    entry = operations.support(name)
    channels = entry.per_channel if per_channel else entry.per_tensor
    known = bias is None or bias in entry.biases[dtype]
    return dtype in channels and weights in operations.weight_types(name, dtype) and known


@pytest.mark.parametrize(("name", "dtype", "weights", "per_channel", "bias"), list(_combinations()))
def test_weights_as_the_table_says(name, dtype, weights, per_channel, bias):
    file = filled(BY_NAME[name], dtype, weights, per_channel, bias)
    if _claims(name, dtype, weights, per_channel, bias):
        for kernels in DEFAULT_KERNELS:
            assert steps_off(file, kernels) <= (2.0 if dtype == "FLOAT32" else 1.0)
    else:
        assert _fails(functools.partial(steps_off, file, PLAIN))


@pytest.mark.parametrize(
    ("dtype", "weights"),
    [("INT8", "INT8"), ("INT16", "INT8"), ("INT16", "INT16"), ("FLOAT32", "INT8")],
)
def test_a_product_with_a_constant_matrix(dtype, weights):
    assert weights in operations.weight_types("BATCH_MATMUL", dtype)
    case = dataclasses.replace(BY_NAME["BATCH_MATMUL"], constants=(1,))
    file = filled(case, dtype, weights, per_channel=False)
    for kernels in (*DEFAULT_KERNELS, REFERENCE_KERNELS):
        assert steps_off(file, kernels) <= 1.0


def _scaled(name, inputs, output) -> float:
    """Run an operation of two inputs on ones, with given scales."""
    case = Case(name, (np.ones((1, 4), np.float32),) * 2, BY_NAME[name].options)
    scales = (*inputs, output)
    storages = {(0, i): Storage("INT8", (scale,), (0,)) for i, scale in enumerate(scales)}
    editor = Editor(float_file(case))
    fill(editor, Filling(storages))
    run(editor.packed(), [np.ones((1, 4), np.int8)] * 2, PLAIN)
    return 0.0


@pytest.mark.parametrize(
    ("name", "inputs", "fits", "ends"),
    [
        ("ADD", (1.0, 0.5), 2.1e-6, 1.8e-6),
        ("SQUARED_DIFFERENCE", (1.0, 1.0), 2.6e-4, 2.3e-4),
    ],
)
def test_scales_that_end_the_process(name, inputs, fits, ends):
    assert operations.accepts_scales(name, "INT8", inputs, fits)
    assert in_child(functools.partial(_scaled, name, inputs, fits)) == 0.0
    assert not operations.accepts_scales(name, "INT8", inputs, ends)
    answer = in_child(functools.partial(_scaled, name, inputs, ends))
    assert answer == "ended the process"


def _equal_values(scales) -> float:
    """Compare equal reals that are stored with given scales; return the share found unequal."""
    reals = np.arange(-30, 30, dtype=np.float32)[None] * max(scales)
    case = Case("EQUAL", (reals, reals), BY_NAME["EQUAL"].options, result="BOOL")
    forms = [Storage("INT8", (scale,), (0,)) for scale in scales]
    editor = Editor(float_file(case))
    fill(editor, Filling(dict(zip([(0, 0), (0, 1)], forms, strict=True))))
    (equal,) = run(editor.packed(), [quantized(reals, form) for form in forms], PLAIN)
    return float((~equal).mean())


@pytest.mark.parametrize(
    ("scales", "answer"),
    [((0.5, 0.25), 0.0), ((3.0, 3.0), 0.0), ((1.0, 0.5), "ended the process"), ((1.5, 0.75), None)],
)
def test_comparisons_of_unequal_scales_need_scales_below_1(scales, answer):
    assert operations.accepts_scales("EQUAL", "INT8", scales, 0.0) == (answer == 0.0)
    found = in_child(functools.partial(_equal_values, scales))
    assert found == answer if answer is not None else found > 0.3


@pytest.mark.parametrize("name", ["SQRT", "RSQRT"])
def test_roots_refuse_integers_below_the_zero_point(name):
    case = Case(name, (np.ones((1, 2), np.float32),))
    editor = Editor(float_file(case))
    unit = Storage("INT8", (0.1,), (0,))
    fill(editor, Filling({(0, 0): unit, (0, 1): unit}))
    with pytest.raises(RuntimeError, match="only defined for"):
        run(editor.packed(), [np.array([[-1, 5]], np.int8)], PLAIN)


def test_a_divisor_of_zero_is_refused():
    case = Case("DIV", (np.ones((1, 2), np.float32),) * 2, BY_NAME["DIV"].options)
    editor = Editor(float_file(case))
    unit = Storage("INT8", (0.1,), (0,))
    fill(editor, Filling({(0, 0): unit, (0, 1): unit, (0, 2): unit}))
    with pytest.raises(RuntimeError, match="zero_point"):
        run(editor.packed(), [np.ones((1, 2), np.int8), np.array([[0, 5]], np.int8)], PLAIN)


def _options(kind, **fields):
    record = getattr(schema, f"{kind}OptionsT")()
    vars(record).update(fields)
    return record


def _operands(*texts):
    """Read operands as "INT8 1x6x6x4 2": type, shape, number of scales."""
    found = []
    for text in texts:
        dtype, shape, *count = text.split()
        sizes = tuple(int(size) for size in shape.split("x"))
        found.append(Operand(dtype, sizes, (0.5,) * int(*count or [0])))
    return found


IMAGE, KERNEL = "1x6x6x4", "8x3x3x4"
NARROW = {"quantizedBiasType": schema.TensorType.INT32}


@pytest.mark.parametrize(
    ("name", "inputs", "output", "options", "expected"),
    [
        ("CONV_2D", (f"FLOAT32 {IMAGE}", f"FLOAT32 {KERNEL}"), "FLOAT32 1", None, 1),
        ("CONV_2D", (f"FLOAT32 {IMAGE}", f"INT8 {KERNEL} 1"), "FLOAT32 1", None, 2),
        ("CONV_2D", (f"FLOAT32 {IMAGE}", f"INT8 {KERNEL} 8"), "FLOAT32 1", None, 5),
        ("CONV_2D", (f"INT8 {IMAGE} 1", f"INT8 {KERNEL} 8"), "INT8 1 1", None, 3),
        ("CONV_2D", (f"INT8 {IMAGE} 1", "INT8 8x3x3x2 8"), "INT8 1 1", None, 6),
        ("CONV_2D", (f"INT8 {IMAGE} 1", f"INT4 {KERNEL} 8"), "INT8 1 1", None, 7),
        ("CONV_2D", (f"INT16 {IMAGE} 1", f"INT8 {KERNEL} 8"), "INT16 1 1", None, 4),
        ("CONV_2D", (f"INT16 {IMAGE} 1", f"INT8 {KERNEL} 8"), "INT16 1 1", ("Conv2D", NARROW), 8),
        ("DEPTHWISE_CONV_2D", (f"INT8 {IMAGE} 1", "INT8 1x3x3x4 4"), "INT8 1 1", None, 3),
        ("DEPTHWISE_CONV_2D", (f"INT8 {IMAGE} 1", "INT4 1x3x3x4 4"), "INT8 1 1", None, 7),
        ("DEPTHWISE_CONV_2D", (f"INT16 {IMAGE} 1", "INT8 1x3x3x4 4"), "INT16 1 1", None, 5),
        ("DEPTHWISE_CONV_2D", (f"FLOAT32 {IMAGE}", "INT8 1x3x3x4 4"), "FLOAT32 1", None, 6),
        ("FULLY_CONNECTED", ("FLOAT32 2x4", "FLOAT32 3x4", "FLOAT32 3"), "FLOAT32 1", None, 1),
        ("FULLY_CONNECTED", ("INT8 2x4 1", "INT8 3x4 3", "INT32 3 3"), "INT8 1 1", None, 4),
        ("FULLY_CONNECTED", ("INT8 2x4 1", "INT8 3x4 3"), "INT8 1 1", None, 6),
        (
            "FULLY_CONNECTED",
            ("INT8 2x4 1", "INT8 3x4 3", "INT32 3 3"),
            "INT8 1 1",
            ("FullyConnected", {"keepNumDims": True}),
            5,
        ),
        ("FULLY_CONNECTED", ("INT8 2x4 1", "INT4 3x4 3", "INT32 3 3"), "INT8 1 1", None, 10),
        ("FULLY_CONNECTED", ("INT8 2x4 1", "INT2 3x4 3", "INT32 3 3"), "INT8 1 1", None, 14),
        ("FULLY_CONNECTED", ("INT16 2x4 1", "INT8 3x4 3", "INT64 3 3"), "INT16 1 1", None, 7),
        (
            "FULLY_CONNECTED",
            ("INT16 2x4 1", "INT8 3x4 3", "INT32 3 3"),
            "INT16 1 1",
            ("FullyConnected", NARROW),
            11,
        ),
        ("FULLY_CONNECTED", ("INT16 2x4 1", "INT4 3x4 3", "INT64 3 3"), "INT16 1 1", None, 13),
        ("FULLY_CONNECTED", ("FLOAT32 2x4", "INT8 3x4 3", "FLOAT32 3"), "FLOAT32 1", None, 12),
        ("FULLY_CONNECTED", ("FLOAT32 2x4", "INT8 3x4 1", "FLOAT32 3"), "FLOAT32 1", None, 3),
        (
            "FULLY_CONNECTED",
            ("FLOAT32 2x4", "INT8 3x4 1", "FLOAT32 3"),
            "FLOAT32 1",
            ("FullyConnected", {"asymmetricQuantizeInputs": True}),
            9,
        ),
        ("TRANSPOSE_CONV", ("INT32 4", f"INT8 {KERNEL} 8", f"INT8 {IMAGE} 1"), "INT8 1 1", None, 2),
        (
            "TRANSPOSE_CONV",
            ("INT32 4", f"INT8 {KERNEL} 8", f"INT16 {IMAGE} 1", "INT32 8 8"),
            "INT16 1 1",
            ("TransposeConv", NARROW),
            5,
        ),
        ("ADD", ("INT8 4 1", "INT8 4 1"), "INT8 4 1", None, 2),
        ("ADD", ("INT16 4 1", "INT16 4 1"), "INT16 4 1", None, 3),
        ("SUB", ("INT16 4 1", "INT16 4 1"), "INT16 4 1", None, 5),
        ("SUB", ("FLOAT32 1x1x1x1x4", "FLOAT32 4"), "FLOAT32 4", None, 3),
        ("MUL", ("INT8 4 1", "INT8 4 1"), "INT8 4 1", None, 2),
        ("MAXIMUM", ("INT8 2x1x1x1x4 1", "INT8 4 1"), "INT8 4 1", None, 3),
        ("TRANSPOSE", ("INT8 1x1x1x1x4 1", "INT32 5"), "INT8 4 1", None, 4),
        ("TRANSPOSE", ("INT16 4x4 1", "INT32 2"), "INT16 4 1", None, 5),
        ("PAD", ("INT8 1x1x1x1x4 1", "INT32 5x2"), "INT8 4 1", None, 4),
        ("GATHER", ("INT8 4 1", "INT32 2"), "INT8 4 1", ("Gather", {"batchDims": 1}), 5),
        (
            "RESIZE_BILINEAR",
            (f"INT8 {IMAGE} 1", "INT32 2"),
            "INT8 4 1",
            ("ResizeBilinear", {"halfPixelCenters": True}),
            3,
        ),
        (
            "STRIDED_SLICE",
            ("INT8 4 1", "INT32 1", "INT32 1", "INT32 1"),
            "INT8 4 1",
            ("StridedSlice", {"newAxisMask": 1}),
            6,
        ),
        ("QUANTIZE", ("FLOAT32 4",), "INT8 4 1", None, 1),
        ("QUANTIZE", ("FLOAT32 4",), "INT16 4 1", None, 2),
        ("DEQUANTIZE", ("FLOAT16 4",), "FLOAT32 4", None, 3),
        ("DEQUANTIZE", ("INT4 4 1",), "FLOAT32 4", None, 6),
        ("SPLIT", ("INT32 1", "INT16 4 1"), "INT16 4 1", None, 4),
        ("FILL", ("INT32 1", "INT8 1 1"), "INT8 4 1", None, 3),
        ("NOBODY_KNOWS", ("INT8 1 1",), "INT8 1 1", None, 1),
    ],
)
def test_versions(name, inputs, output, options, expected):
    record = None if options is None else _options(options[0], **options[1])
    assert operations.version(name, _operands(*inputs), _operands(output), record) == expected


def test_a_large_product_needs_its_own_version():
    operands = [Operand("INT8", (4,), (1.0,))] * 2
    assert operations.version("MUL", operands, [Operand("INT8", (4,), (1.01,))]) == 2
    assert operations.version("MUL", operands, [Operand("INT8", (4,), (0.99,))]) == 3


@pytest.mark.parametrize(("case", "dtype"), CLAIMED)
def test_versions_are_known_releases(case, dtype):
    editor = Editor(filled(case, dtype).content)
    (operation,) = editor.model.subgraphs[0].operations
    assert operation.version in operation_versions()[operation.name]


def test_every_operation_of_the_table_is_tried():
    elsewhere = {"UNIDIRECTIONAL_SEQUENCE_LSTM", "QUANTIZE", "DEQUANTIZE"}
    no_reals = {"REDUCE_ALL", "REDUCE_ANY"}
    assert set(operations.names()) - elsewhere - no_reals == set(BY_NAME)
