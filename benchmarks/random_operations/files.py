"""Random files of one operation, run by a runtime and by our kernels: do any values differ?

The runtimes are LiteRT with its two kernel sets, and TFLite Micro where it is installed.

To add an operation, write a generator (a function of a NumPy generator that returns a `Sample`) and
name it in the `GENERATORS` of its module.
"""

import dataclasses
import importlib.util
from collections.abc import Callable
from typing import NamedTuple

import flatbuffers
import litert_files
import numpy as np
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

from tfcompress.compat.litert_schema import schema
from tfcompress.quantization.kernels.grids import Grid, Integers, integer_range
from tfcompress.quantization.kernels.registry import KERNEL_SETS
from tfcompress.tflite.constants import PACKED_BITS, constant_value, pack_bits
from tfcompress.tflite.flatbuffer import read_model

KERNELS = [
    name for name in KERNEL_SETS if name != "micro" or importlib.util.find_spec("tflite_micro")
]
_ARENA_BYTES = 1 << 24
_NUMPY = {
    "INT2": "i1",
    "INT4": "i1",
    "INT8": "i1",
    "INT16": "i2",
    "INT32": "i4",
    "INT64": "i8",
    "FLOAT32": "f4",
    "BOOL": "?",
}


@dataclasses.dataclass
class Port:
    """A tensor of the file: `value` is what is fed, or what the file holds if `constant`.

    A tensor without scales holds indices, or real numbers if it is of FLOAT32.
    """

    dtype: str
    shape: tuple
    scales: np.ndarray | float | None = None
    zero_point: int = 0
    axis: int = 0
    value: np.ndarray | None = None
    constant: bool = False


@dataclasses.dataclass
class Sample:
    """A file of one operation and what is fed to it; an input of None is absent."""

    name: str
    options: object
    inputs: list
    outputs: list
    version: int = 1


class Count(NamedTuple):
    """How many values of so many files differ, of how many, and by how much at most."""

    files: int
    differing: int
    values: int
    largest: float


def written(sample: Sample) -> bytes:
    """Return the sample's .tflite file."""
    model = schema.ModelT()
    model.version, model.buffers, model.signatureDefs = 3, [schema.BufferT()], []
    subgraph = schema.SubGraphT()
    subgraph.tensors, operator, code = [], schema.OperatorT(), schema.OperatorCodeT()

    def indices(ports):
        found = []
        for port in ports:
            if port is not None:
                subgraph.tensors.append(_tensor(port, model.buffers))
            found.append(-1 if port is None else len(subgraph.tensors) - 1)
        return found

    operator.inputs, operator.outputs = indices(sample.inputs), indices(sample.outputs)
    code.builtinCode = getattr(schema.BuiltinOperator, sample.name)
    code.deprecatedBuiltinCode, code.version = min(code.builtinCode, 127), sample.version
    if sample.options is not None:
        kind = type(sample.options).__name__.removesuffix("T")
        operator.builtinOptionsType = getattr(schema.BuiltinOptions, kind)
        operator.builtinOptions = sample.options
    subgraph.operators, model.operatorCodes, model.subgraphs = [operator], [code], [subgraph]
    subgraph.inputs = [
        index
        for index, port in zip(operator.inputs, sample.inputs, strict=True)
        if port is not None and not port.constant
    ]
    subgraph.outputs = operator.outputs
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _tensor(port, buffers):
    record = schema.TensorT()
    record.name, record.shape = f"tensor{len(buffers)}", list(port.shape)
    record.type = getattr(schema.TensorType, port.dtype)
    if port.scales is not None:
        scales = np.atleast_1d(np.asarray(port.scales, "f4"))
        record.quantization = schema.QuantizationParametersT()
        record.quantization.scale = scales
        record.quantization.zeroPoint = np.full(scales.size, port.zero_point, "i8")
        record.quantization.quantizedDimension = port.axis
    buffer = schema.BufferT()
    if port.constant:
        value = np.ascontiguousarray(port.value, _NUMPY[port.dtype])
        if port.dtype in PACKED_BITS:
            value = pack_bits(value, PACKED_BITS[port.dtype])
        buffer.data = np.frombuffer(value.tobytes(), "u1")
    buffers.append(buffer)
    record.buffer = len(buffers) - 1
    return record


def fed_values(sample: Sample) -> list:
    """Return what the sample's file is fed."""
    return [
        np.asarray(port.value, _NUMPY[port.dtype])
        for port in sample.inputs
        if port is not None and not port.constant
    ]


def on_device(content: bytes, fed: list, kernels: str) -> list:
    """Return the outputs of a file in the runtime that has these kernels."""
    return in_micro(content, fed) if kernels == "micro" else litert_files.run(content, fed, kernels)


def in_micro(content: bytes, fed: list) -> list:
    """Return the outputs of a file in TFLite Micro's interpreter."""
    from tflite_micro.python.tflite_micro import runtime

    interpreter = runtime.Interpreter.from_bytes(content, arena_size=_ARENA_BYTES)
    for index, value in enumerate(fed):
        interpreter.set_input(value, index)
    interpreter.invoke()
    outputs = range(len(read_model(content).subgraphs[0].outputs))
    return [np.array(interpreter.get_output(index)) for index in outputs]


def delegated(content: bytes) -> bool:
    """Return whether XNNPACK takes the file's operation."""
    interpreter = Interpreter(model_content=content)
    interpreter.allocate_tensors()
    return any(each["op_name"] == "DELEGATE" for each in interpreter._get_ops_details())


def grid_of(port: Port) -> Grid | None:
    """Return the grid of a tensor, None if it has no scales."""
    if port.scales is None:
        return None
    scales = np.asarray(port.scales, "f4")
    return Grid(tf.constant(scales), tf.constant(port.zero_point, tf.int32), port.dtype, port.axis)


def in_python(sample: Sample, content: bytes, kernel: Callable, kernels: str, graph: bool) -> list:
    """Return the outputs that a kernel of ours computes for a sample.

    With `graph`, in a graph in which scales and weights are constants, as TensorFlow optimizes it.
    """
    model = read_model(content)
    operation = model.subgraphs[0].operations[0]
    tensors = model.subgraphs[0].tensors
    values = [
        None
        if port is None
        else constant_value(model, tensors[index])
        if port.constant
        else port.value
        for port, index in zip(sample.inputs, operation.inputs, strict=True)
    ]
    fed = [
        index for index, port in enumerate(sample.inputs) if port is not None and not port.constant
    ]
    grids = [grid_of(port) for port in sample.outputs]

    def compute(*given):
        inputs = list(values)
        for index, value in zip(fed, given, strict=True):
            inputs[index] = value
        inputs = [
            value if port is None else _as_input(port, value)
            for port, value in zip(sample.inputs, inputs, strict=True)
        ]
        return kernel(operation, inputs, grids, kernels)

    given = [tf.constant(values[index]) for index in fed]
    if graph:
        signature = [
            tf.TensorSpec([None, *each.shape[1:]] if each.shape.rank else [], each.dtype)
            for each in given
        ]
        compute = tf.function(compute, input_signature=signature)
    return [each.numpy() for each in compute(*given)]


def _as_input(port, value):
    value = tf.convert_to_tensor(value)
    if port.scales is None:
        return value
    if port.dtype not in ("INT32", "INT64"):
        value = tf.cast(value, tf.float32)
    return Integers(value, grid_of(port))


def compared(sample: Sample, kernel: Callable, kernels: str, graph: bool = False) -> Count:
    """Run one sample both ways."""
    content, fed = written(sample), fed_values(sample)
    differing, values, largest = 0, 0, 0.0
    for theirs, ours in zip(
        on_device(content, fed, kernels),
        in_python(sample, content, kernel, kernels, graph),
        strict=True,
    ):
        if theirs.shape != ours.shape:
            raise AssertionError(f"The runtime's shape {theirs.shape}, ours {ours.shape}")
        distance = np.abs(theirs.astype("f8") - ours.astype("f8"))
        differing += int((theirs != ours).sum())
        values, largest = values + theirs.size, max(largest, float(distance.max(initial=0.0)))
    return Count(1, differing, values, largest)


def check(
    generator: Callable, kernel: Callable, kernels: str, cases: int, seed: int = 0, graph=False
) -> Count:
    """Compare a kernel of ours with a runtime's on random files.

    Args:
        generator: makes a `Sample` of a `numpy.random.Generator`.
        kernel: the function of ours.
        kernels: "xnnpack", "reference" or "micro".
        cases: how many files.
        seed: of the first; each file has its own generator.
        graph: whether to compute in a graph instead of eagerly.
    """
    return total(
        compared(generator(np.random.default_rng((seed, case))), kernel, kernels, graph)
        for case in range(cases)
    )


def check_values(generator: Callable, kernel: Callable, kernels: str, values: int) -> Count:
    """Compare a kernel of ours with LiteRT's on as many random files as give so many values."""
    counts = []
    while sum(count.values for count in counts) < values:
        random = np.random.default_rng((0, len(counts)))
        counts.append(compared(generator(random), kernel, kernels))
    return total(counts)


def total(counts) -> Count:
    """Return what several files come to."""
    counts = list(counts)
    return Count(
        sum(count.files for count in counts),
        sum(count.differing for count in counts),
        sum(count.values for count in counts),
        max((count.largest for count in counts), default=0.0),
    )


# What the generators are made of.


def scale(random, low=-9.0, high=0.0) -> np.float32:
    """Return a random scale between two powers of two; some are powers of two themselves."""
    exponent = random.uniform(low, high)
    return np.float32(2.0 ** (round(exponent) if random.random() < 0.1 else exponent))


def activations(random, shape, dtype="INT8", scales=None) -> Port:
    """Return a fed tensor of random integers, with a zero point in 8 bits."""
    lowest, highest = integer_range(dtype)
    zero_point = 0
    if dtype == "INT8":
        zero_point = int(random.choice([lowest, highest, 0, random.integers(lowest, highest)]))
    value = random.integers(lowest, highest + 1, shape)
    return Port(dtype, shape, scale(random) if scales is None else scales, zero_point, value=value)


def output(random, shape, spread, dtype="INT8") -> Port:
    """Return an output whose grid reaches about `spread`, sometimes too little or too much.

    On some grids, 6.0 and 1.0 lie halfway between two integers, or almost.
    """
    lowest, highest = integer_range(dtype)
    scales = np.float32(spread / highest * 2.0 ** random.uniform(-2.0, 2.0))
    if random.random() < 0.2:
        limit = random.choice([1.0, 6.0])
        scales = np.float32(limit / (np.floor(limit / scales) + 0.5))
    zero_point = 0
    if dtype == "INT8":
        zero_point = int(random.choice([lowest, highest, 0, random.integers(lowest, highest)]))
    return Port(dtype, shape, scales, zero_point)


def weights(random, shape, axis=None, dtype="INT8") -> Port:
    """Return constant weights, with a scale per index of `axis` or one."""
    _, highest = integer_range(dtype)
    value = random.integers(-highest, highest + 1, shape)
    if random.random() < 0.5:
        value = np.clip(np.rint(random.normal(0, highest / 4, shape)), -highest, highest)
    if axis is None:
        return Port(dtype, shape, scale(random, -12, -4), value=value, constant=True)
    scales = np.float32([scale(random, -12, -4) for _ in range(shape[axis])])
    return Port(dtype, shape, scales, axis=axis, value=value, constant=True)


def bias(random, taken: Port, kernel: Port, channels: int, spread: float) -> Port:
    """Return a bias on the products' grid, within `spread`; in a tenth of the cases zeros."""
    grid = (np.float32(taken.scales) * kernel.scales).astype("f4")
    dtype = "INT64" if taken.dtype == "INT16" else "INT32"
    value = np.rint(random.normal(0, spread / 2, channels) / grid) * (random.random() > 0.1)
    return Port(dtype, (channels,), grid, value=value, constant=True)


def fused(random) -> int:
    """Return the schema's code of a fused activation."""
    return int(random.choice([0, 0, 1, 2, 3]))
