"""Writing into a file what its numbers mean: class labels, normalization, ranges."""

import dataclasses
import os
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np

from exporters.running.tensor_details import Port, ports
from tfcompress.tflite.editing import Editor
from tfcompress.tflite.flatbuffer import DAMAGE
from tfcompress.tflite.metadata import (
    ENTRY,
    Metadata,
    PortMetadata,
    appended_files,
    pack_metadata,
    unpack_metadata,
)
from tfcompress.tflite.model import FlatbufferError, Subgraph, TFLiteModel

Names = Sequence[str] | str | os.PathLike
Labels = Names | Mapping[str, Names]
Normalization = tuple[float | Sequence[float], float | Sequence[float]]


def with_description(
    content: bytes,
    name: str,
    labels: Labels | None = None,
    normalization: Normalization | Mapping[str, Normalization] | None = None,
) -> bytes:
    """Put TFLite Metadata into a file: apps on a phone read labels and normalization from it.

    Args:
        content: a .tflite file.
        name: the model's name.
        labels: a name for each entry of an output's last axis, or the path of a text file with a
            name a line; by output where several have one.
        normalization: (mean, standard deviation) of an input, each one number or one a channel: the
            model takes ``(raw - mean) / deviation``. By input where there are several.

    Returns:
        The file with metadata, and with the labels in a text file behind it; the given file if
        there is nothing to say.

    Raises:
        OSError: a file of labels cannot be read.
        ValueError: labels or normalization fit no output or input, or several.
    """
    if labels is None and normalization is None:
        return content
    editor = Editor(content)
    inputs, outputs = ports(editor.model)
    named = labels_by_output(labels, outputs)
    scaled = _normalization_by_input(normalization, inputs)
    files = {output: _file_name(output, named) for output in named}
    described = Metadata(
        name=name,
        inputs=tuple(_described(port, scaled.get(port.name)) for port in inputs),
        outputs=tuple(_described(port, labels_file=files.get(port.name)) for port in outputs),
    )
    editor.add_metadata(ENTRY, pack_metadata(described))
    editor.files |= {
        files[output]: "".join(f"{label}\n" for label in entries).encode()
        for output, entries in named.items()
    }
    return editor.packed()


def labels_by_output(labels: Labels | None, outputs: Sequence[Port]) -> dict[str, tuple[str, ...]]:
    """Tell which output labels belong to.

    Args:
        labels: as ``with_description`` takes them.
        outputs: the file's outputs.

    Returns:
        The labels by the name of their output.

    Raises:
        OSError: a file of labels cannot be read.
        ValueError: they fit no output, or several; or a label is no single line of text.
    """
    if labels is None:
        return {}
    if isinstance(labels, Mapping):
        labels = {name: label_names(entries) for name, entries in labels.items()}
    else:
        labels = label_names(labels)
    sizes = {port.name: port.shape[-1] for port in outputs if port.shape}
    if not isinstance(labels, Mapping):
        fitting = [name for name, size in sizes.items() if size == len(labels)]
        if len(fitting) != 1:
            raise ValueError(
                "Labels name the entries of one output's last axis, of sizes "
                f"{sizes}. Received: {len(labels)} labels. Where several outputs have labels, or "
                "the same size, pass a dict by output."
            )
        labels = {fitting[0]: labels}
    for name, entries in labels.items():
        if sizes.get(name) != len(entries):
            raise ValueError(
                f"Labels name the entries of an output's last axis, of sizes {sizes}. "
                f"Received: {len(entries)} labels for {name!r}"
            )
        if unfit := [entry for entry in entries if not isinstance(entry, str) or "\n" in entry]:
            raise ValueError(f"A label is one line of text. Received: {unfit[0]!r}")
    return {name: tuple(entries) for name, entries in labels.items()}


def label_names(labels: Names) -> Sequence[str]:
    """Return labels, read from a file where a path is given.

    Args:
        labels: names; or the path of a text file in UTF-8 with a name a line.

    Returns:
        The names. Empty lines at the end of a file are none.

    Raises:
        OSError: the file cannot be read.
        ValueError: it holds no text, or no name.
    """
    if not isinstance(labels, str | os.PathLike):
        return labels
    try:
        names = pathlib.Path(labels).read_text(encoding="utf-8-sig").rstrip().splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(
            f"Labels are a list of names, or the path of a text file in UTF-8 with a name a line. "
            f"Received: {os.fspath(labels)!r}, which holds other bytes"
        ) from error
    if not names:
        raise ValueError(f"The file of labels is empty. Received: {os.fspath(labels)!r}")
    return [name.strip() for name in names]


def _normalization_by_input(normalization, inputs: Sequence[Port]) -> dict[str, tuple]:
    if normalization is None:
        return {}
    names = [port.name for port in inputs]
    if not isinstance(normalization, Mapping):
        if len(names) != 1:
            raise ValueError(
                f"The file's inputs are {names}: pass normalization as a dict by input. "
                f"Received: {normalization!r}"
            )
        normalization = {names[0]: normalization}
    if unknown := sorted(set(normalization) - set(names)):
        raise ValueError(f"The file's inputs are {names}. Received: normalization of {unknown}")
    channels = {port.name: port.shape[-1] if port.shape else 1 for port in inputs}
    return {
        name: _mean_and_deviation(name, pair, channels[name])
        for name, pair in normalization.items()
    }


def _mean_and_deviation(name: str, pair, channels: int) -> tuple[tuple[float, ...], ...]:
    try:
        mean, deviation = (tuple(np.atleast_1d(np.asarray(part, float)).tolist()) for part in pair)
    except (TypeError, ValueError):
        mean = deviation = ()
    good = {len(mean), len(deviation)} <= {1, channels} and np.isfinite(mean + deviation).all()
    if not good or not mean or min(deviation, default=0) <= 0:
        raise ValueError(
            f"Normalization of input {name!r} is (mean, deviation), each one number or "
            f"{channels}, finite, deviations above 0. Received: {pair!r}"
        )
    return mean, deviation


def _described(port: Port, scaled=None, labels_file: str | None = None) -> PortMetadata:
    mean, deviation = scaled or ((), ())
    lowest = highest = None
    if port.scale is not None:
        span = np.iinfo(port.dtype)
        lowest, highest = port.to_real(np.array([span.min, span.max], port.dtype)).tolist()
    return PortMetadata(port.name, mean, deviation, lowest, highest, labels_file)


def _file_name(output: str, named: Mapping[str, object]) -> str:
    if len(named) == 1:
        return "labels.txt"
    return f"labels_{list(named).index(output)}.txt"


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
        _description(main, main.inputs, metadata.inputs, files),
        _description(main, main.outputs, metadata.outputs, files),
    )


def _description(
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
