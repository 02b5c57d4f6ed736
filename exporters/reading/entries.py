"""What an inspection says of one tensor and of one operation."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class TensorReport:
    """A tensor.

    Attributes:
        subgraph: its graph.
        index: its place there.
        name: its name.
        dtype: its type in the file, such as "INT4" (interpreters report some types wider).
        shape: its dimensions, -1 where free until run time.
        size: bytes that the file holds for it.
        scales: its scales; empty if it is not quantized.
        zero_points: its zero points.
        axis: the dimension of the scales, None with one scale or none.
        constant: whether the file holds its value.
        sparse: whether that value is stored sparse.
        variable: whether it keeps its value from one run to the next.
    """

    subgraph: int
    index: int
    name: str
    dtype: str
    shape: tuple[int, ...]
    size: int
    scales: tuple[float, ...]
    zero_points: tuple[int, ...]
    axis: int | None
    constant: bool
    sparse: bool
    variable: bool


@dataclasses.dataclass(frozen=True)
class OperationReport:
    """An operation.

    Attributes:
        subgraph: its graph.
        index: its place there.
        name: its name; "CUSTOM:..." if it is custom.
        version: its version.
        layer: the Keras layer behind it, the one with the kernel where it has one: its path where
            the layers are known, otherwise its scope.
        fused_layers: all layers that were fused into it, the last of the model first.
        dtype: the type that it computes in: that of its first output.
        weights_dtype: the type of its kernel, None if it has none.
        sparse: whether its kernel is stored sparse.
        shape: the shape of its first output.
        inputs: its inputs' tensor indices.
        outputs: its outputs' tensor indices.
        parameters: how many parameters it has.
        size: bytes of its constants.
        macs: its multiply-accumulates.
        min_runtime: the oldest TensorFlow release that runs it, None if unknown.
        float_: whether it computes in float.
    """

    subgraph: int
    index: int
    name: str
    version: int
    layer: str | None
    fused_layers: tuple[str, ...]
    dtype: str | None
    weights_dtype: str | None
    sparse: bool
    shape: tuple[int, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    parameters: int
    size: int
    macs: int
    min_runtime: str | None
    float_: bool
