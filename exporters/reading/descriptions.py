"""What a file's own metadata says about its inputs and outputs."""

import dataclasses

from tfcompress.tflite.associated_files import appended_files
from tfcompress.tflite.flatbuffer import DAMAGE
from tfcompress.tflite.metadata import ENTRY, Metadata, PortMetadata, unpack_metadata
from tfcompress.tflite.model import FlatbufferError, Subgraph, TFLiteModel


@dataclasses.dataclass(frozen=True)
class PortDescription:
    """What a file says about one input or output of its main graph.

    Attributes:
        tensor: the tensor's name.
        name: the name that the metadata gives it.
        mean: what to subtract from the raw data, one number or one a channel; empty if not said.
        std: what to divide the difference by.
        lowest: the smallest real number that it can hold, None if not said.
        highest: the largest.
        labels: a name for each entry of the last axis; empty if there are none.
    """

    tensor: str
    name: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    lowest: float | None
    highest: float | None
    labels: tuple[str, ...]


def read_descriptions(
    content: bytes, model: TFLiteModel
) -> tuple[tuple[PortDescription, ...], tuple[PortDescription, ...]]:
    """Read a file's TFLite Metadata.

    Args:
        content: the file's bytes.
        model: what ``read_model`` read in them.

    Returns:
        (inputs, outputs) of the main graph; both empty in a file without metadata.

    Raises:
        FlatbufferError: the metadata is damaged.
    """
    packed = model.metadata.get(ENTRY)
    if packed is None or not model.subgraphs:
        return (), ()
    try:
        metadata: Metadata = unpack_metadata(packed)
    except DAMAGE as error:
        raise FlatbufferError(f"damaged metadata: {error}") from error
    files = appended_files(content)
    main = model.subgraphs[0]
    return (
        _described(main, main.inputs, metadata.inputs, files),
        _described(main, main.outputs, metadata.outputs, files),
    )


def _described(
    graph: Subgraph,
    indices: tuple[int, ...],
    ports: tuple[PortMetadata, ...],
    files: dict[str, bytes],
) -> tuple[PortDescription, ...]:
    return tuple(
        PortDescription(
            tensor=graph.tensors[index].name,
            name=port.name,
            mean=port.mean,
            std=port.std,
            lowest=port.lowest,
            highest=port.highest,
            labels=_lines(files.get(port.labels_file or "", b"")),
        )
        for index, port in zip(indices, ports, strict=False)
    )


def _lines(content: bytes) -> tuple[str, ...]:
    # Only "\n" ends a label: str.splitlines would also split at characters that labels may hold.
    lines = content.decode(errors="replace").replace("\r\n", "\n").split("\n")
    return tuple(lines[:-1] if lines[-1] == "" else lines)
