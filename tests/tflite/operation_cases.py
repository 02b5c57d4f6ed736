"""What each operation is called on when its kernels are tried.

Where a 16-bit kernel may be off by more than a step, it interpolates in a table of 513 entries
(EXP, LOG, RSQRT, GELU, LOGISTIC, TANH), weighs pixels in steps of 1/1024 (RESIZE_BILINEAR), or
rounds after each factor (REDUCE_PROD).
"""

import numpy as np
from one_operation import Case

from tfcompress.compat.litert_schema import schema

_RANDOM = np.random.default_rng(0)
_SAME, _VALID = schema.Padding.SAME, schema.Padding.VALID


def _uniform(*shape, low=-3.0, high=5.0):
    return _RANDOM.uniform(low, high, shape).astype(np.float32)


def _ints(*values):
    return np.array(values, np.int32)


def _options(kind, **fields):
    record = getattr(schema, f"{kind}OptionsT")()
    for field, value in fields.items():
        assert hasattr(record, field), field
        setattr(record, field, value)
    return record


_CONVOLUTION = {"padding": _SAME, "strideW": 1, "strideH": 1}
_POOL = {"padding": _VALID, "strideW": 2, "strideH": 2, "filterWidth": 2, "filterHeight": 2}
_IMAGE = (1, 6, 6, 4)
_MASK = _RANDOM.uniform(size=(2, 5)) > 0.5


def _unary(name, options=None, low=-3.0, high=5.0, **fields):
    return Case(name, (_uniform(2, 40, low=low, high=high),), options, **fields)


def _binary(name, options=None, second=(2, 40), low=-3.0, high=5.0, **fields):
    inputs = (_uniform(2, 40, low=low, high=high), _uniform(*second, low=low / 2, high=high / 3))
    return Case(name, inputs, options, **fields)


def _reduced(name, low=-3.0, high=5.0, **fields):
    inputs = (_uniform(2, 3, 8, low=low, high=high), _ints(2))
    return Case(name, inputs, _options("Reducer"), **fields)


CASES = [
    Case(
        "CONV_2D",
        (_uniform(*_IMAGE), _uniform(8, 3, 3, 4, low=-1, high=1), _uniform(8)),
        _options("Conv2D", **_CONVOLUTION),
        (1, 2),
    ),
    Case(
        "DEPTHWISE_CONV_2D",
        (_uniform(*_IMAGE), _uniform(1, 3, 3, 4, low=-1, high=1), _uniform(4)),
        _options("DepthwiseConv2D", depthMultiplier=1, **_CONVOLUTION),
        (1, 2),
    ),
    Case(
        "TRANSPOSE_CONV",
        (_ints(1, 12, 12, 8), _uniform(8, 3, 3, 4, low=-1, high=1), _uniform(*_IMAGE), _uniform(8)),
        _options("TransposeConv", padding=_SAME, strideW=2, strideH=2),
        (1, 3),
    ),
    Case(
        "FULLY_CONNECTED",
        (_uniform(2, 16), _uniform(8, 16, low=-1, high=1), _uniform(8)),
        _options("FullyConnected"),
        (1, 2),
    ),
    Case(
        "BATCH_MATMUL",
        (_uniform(2, 5, 16), _uniform(2, 16, 6, low=-1, high=1)),
        _options("BatchMatMul"),
    ),
    Case("EMBEDDING_LOOKUP", (_ints(3, 1, 4), _uniform(7, 16)), constants=(1,)),
    Case(
        "CONV_3D",
        (_uniform(1, 4, 4, 4, 3), _uniform(3, 3, 3, 3, 5), _uniform(5)),
        _options("Conv3D", padding=_SAME, strideD=1, strideW=1, strideH=1),
        (1, 2),
    ),
    Case(
        "CONV_3D_TRANSPOSE",
        (_ints(1, 4, 4, 4, 5), _uniform(3, 3, 3, 5, 3), _uniform(1, 4, 4, 4, 3), _uniform(5)),
        _options("Conv3D", padding=_SAME, strideD=1, strideW=1, strideH=1),
        (1, 3),
    ),
    _binary("ADD", _options("Add")),
    _binary("SUB", _options("Sub")),
    _binary("MUL", _options("Mul")),
    _binary("DIV", _options("Div"), low=1.0),
    _binary("SQUARED_DIFFERENCE", _options("SquaredDifference")),
    _binary("MAXIMUM", _options("MaximumMinimum")),
    _binary("MINIMUM", _options("MaximumMinimum")),
    Case("PRELU", (_uniform(1, 4, 4, 6), _uniform(1, 1, 6, low=0.0, high=0.4)), constants=(1,)),
    _binary("POW", _options("Pow"), low=0.5, high=2.0),
    _binary("FLOOR_DIV", _options("FloorDiv"), low=1.0),
    _binary("FLOOR_MOD", _options("FloorMod"), low=1.0),
    _binary("ATAN2", _options("ATan2")),
    _unary("ABS", _options("Abs")),
    _unary("RELU"),
    _unary("RELU6", high=8.0),
    _unary("RELU_N1_TO_1"),
    _unary("RELU_0_TO_1"),
    _unary("LEAKY_RELU", _options("LeakyRelu", alpha=0.25)),
    _unary("ELU"),
    _unary("GELU", _options("Gelu"), steps={"INT16": 2}),
    _unary("HARD_SWISH", _options("HardSwish")),
    _unary("LOGISTIC", steps={"INT16": 2}),
    _unary("TANH", steps={"INT16": 2}),
    _unary("EXP", _options("Exp"), high=1.0, steps={"INT16": 100}),
    _unary("LOG", low=0.5, steps={"INT16": 5}),
    _unary("SQRT", low=0.0),
    _unary("RSQRT", low=0.5, steps={"INT16": 100}),
    _unary("NEG", _options("Neg")),
    _unary("SQUARE", _options("Square")),
    _unary("SIN"),
    _unary("COS", _options("Cos")),
    _unary("SIGN", _options("Sign")),
    _unary("FLOOR"),
    _unary("CEIL"),
    _unary("ROUND"),
    _unary("SOFTMAX", _options("Softmax", beta=1.0)),
    _unary("LOG_SOFTMAX", _options("LogSoftmax")),
    _unary("L2_NORMALIZATION", _options("L2Norm")),
    Case(
        "LOCAL_RESPONSE_NORMALIZATION",
        (_uniform(*_IMAGE),),
        _options("LocalResponseNormalization", radius=2, bias=1.0, alpha=0.5, beta=0.5),
    ),
    _reduced("MEAN"),
    _reduced("SUM"),
    _reduced("REDUCE_MAX"),
    _reduced("REDUCE_MIN"),
    _reduced("REDUCE_PROD", low=0.8, high=1.3, steps={"INT16": 8}),
    Case("CUMSUM", (_uniform(2, 8), _ints(1)), _options("Cumsum")),
    Case(
        "ARG_MAX",
        (_uniform(4, 8), _ints(1)),
        _options("ArgMax", outputType=schema.TensorType.INT32),
        result="INT32",
    ),
    Case(
        "ARG_MIN",
        (_uniform(4, 8), _ints(1)),
        _options("ArgMin", outputType=schema.TensorType.INT32),
        result="INT32",
    ),
    Case("TOPK_V2", (_uniform(4, 8), np.array(3, np.int32)), _options("TopKV2"), outputs=2),
    Case("AVERAGE_POOL_2D", (_uniform(*_IMAGE),), _options("Pool2D", **_POOL)),
    Case("MAX_POOL_2D", (_uniform(*_IMAGE),), _options("Pool2D", **_POOL)),
    Case("L2_POOL_2D", (_uniform(*_IMAGE),), _options("Pool2D", **_POOL)),
    Case(
        "RESIZE_BILINEAR",
        (_uniform(*_IMAGE), _ints(9, 9)),
        _options("ResizeBilinear", halfPixelCenters=True),
        steps={"INT16": 100},
    ),
    Case(
        "RESIZE_NEAREST_NEIGHBOR",
        (_uniform(*_IMAGE), _ints(9, 9)),
        _options("ResizeNearestNeighbor", halfPixelCenters=True),
    ),
    Case("SPACE_TO_DEPTH", (_uniform(*_IMAGE),), _options("SpaceToDepth", blockSize=2)),
    Case("DEPTH_TO_SPACE", (_uniform(*_IMAGE),), _options("DepthToSpace", blockSize=2)),
    Case(
        "SPACE_TO_BATCH_ND",
        (_uniform(*_IMAGE), _ints(2, 2), np.zeros((2, 2), np.int32)),
        _options("SpaceToBatchND"),
    ),
    Case(
        "BATCH_TO_SPACE_ND",
        (_uniform(4, 3, 3, 2), _ints(2, 2), np.zeros((2, 2), np.int32)),
        _options("BatchToSpaceND"),
    ),
    Case("RESHAPE", (_uniform(*_IMAGE), _ints(1, 144)), _options("Reshape")),
    Case("SQUEEZE", (_uniform(*_IMAGE),), _options("Squeeze", squeezeDims=[0])),
    Case("EXPAND_DIMS", (_uniform(4, 5), np.array(1, np.int32)), _options("ExpandDims")),
    Case("TRANSPOSE", (_uniform(*_IMAGE), _ints(0, 3, 1, 2)), _options("Transpose")),
    Case("PAD", (_uniform(*_IMAGE), _ints([0, 0], [1, 1], [1, 2], [0, 0])), _options("Pad")),
    Case(
        "PADV2",
        (_uniform(*_IMAGE), _ints([0, 0], [1, 1], [1, 2], [0, 0]), np.array(1.5, np.float32)),
        _options("PadV2"),
        (2,),
    ),
    Case(
        "MIRROR_PAD",
        (_uniform(*_IMAGE), _ints([0, 0], [1, 1], [1, 2], [0, 0])),
        _options("MirrorPad"),
    ),
    Case("CONCATENATION", (_uniform(2, 5), _uniform(2, 4)), _options("Concatenation", axis=1)),
    Case("PACK", (_uniform(2, 5), _uniform(2, 5)), _options("Pack", axis=1, valuesCount=2)),
    Case("UNPACK", (_uniform(2, 5),), _options("Unpack", axis=0, num=2), outputs=2),
    Case(
        "SPLIT", (np.array(1, np.int32), _uniform(2, 6)), _options("Split", numSplits=2), outputs=2
    ),
    Case(
        "SPLIT_V",
        (_uniform(2, 6), _ints(2, 4), np.array(1, np.int32)),
        _options("SplitV", numSplits=2),
        outputs=2,
    ),
    Case("SLICE", (_uniform(2, 6), _ints(0, 1), _ints(2, 3)), _options("Slice")),
    Case(
        "STRIDED_SLICE",
        (_uniform(2, 6), _ints(0, 1), _ints(2, 6), _ints(1, 2)),
        _options("StridedSlice"),
    ),
    Case("GATHER", (_uniform(6, 5), _ints(4, 1)), _options("Gather")),
    Case("GATHER_ND", (_uniform(6, 5), _ints([4, 1], [2, 2])), _options("GatherNd")),
    Case("SCATTER_ND", (_ints([4], [1]), _uniform(2), _ints(6)), _options("ScatterNd")),
    Case("TILE", (_uniform(2, 3), _ints(1, 2)), _options("Tile")),
    Case("BROADCAST_TO", (_uniform(1, 3), _ints(2, 3)), _options("BroadcastTo")),
    Case("REVERSE_V2", (_uniform(2, 3), _ints(1)), _options("ReverseV2")),
    Case("REVERSE_SEQUENCE", (_uniform(2, 5), _ints(3, 2)), _options("ReverseSequence", seqDim=1)),
    Case("SELECT", (_MASK, _uniform(2, 5), _uniform(2, 5)), _options("Select")),
    Case("SELECT_V2", (_MASK, _uniform(2, 5), _uniform(2, 1)), _options("SelectV2")),
    Case("FILL", (_ints(2, 3), np.array(1.5, np.float32)), _options("Fill")),
    Case(
        "DYNAMIC_UPDATE_SLICE",
        (_uniform(4, 5), _uniform(2, 2), _ints(1, 1)),
        _options("DynamicUpdateSlice"),
    ),
    Case(
        "ONE_HOT",
        (_ints(1, 2), np.array(4, np.int32), np.array(1.0, np.float32), np.array(0.0, np.float32)),
        _options("OneHot", axis=-1),
        (2, 3),
    ),
    _unary("ZEROS_LIKE", _options("ZerosLike")),
    *(
        _binary(name, _options(kind), result="BOOL")
        for name, kind in (
            ("EQUAL", "Equal"),
            ("NOT_EQUAL", "NotEqual"),
            ("LESS", "Less"),
            ("LESS_EQUAL", "LessEqual"),
            ("GREATER", "Greater"),
            ("GREATER_EQUAL", "GreaterEqual"),
        )
    ),
    Case(
        "CAST",
        (_uniform(2, 3),),
        _options("Cast", inDataType=0, outDataType=schema.TensorType.INT32),
        result="INT32",
    ),
    Case(
        "SHAPE",
        (_uniform(2, 3),),
        _options("Shape", outType=schema.TensorType.INT32),
        result="INT32",
    ),
    Case("RANK", (_uniform(2, 3),), _options("Rank"), result="INT32"),
]
