"""TFLite Metadata of a file: class labels, normalization and ranges, written and read."""

import dataclasses
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from exporters.running.tensor_details import TensorDetails, input_output_details
from tfcompress.tflite.editing import Editor
from tfcompress.tflite.flatbuffer import DAMAGE
from tfcompress.tflite.metadata import (
    ENTRY,
    TRANSFORMATIONS,
    Metadata,
    TensorMetadata,
    appended_files,
    pack_metadata,
    unpack_metadata,
)
from tfcompress.tflite.model import FlatbufferError, TFLiteModel

_CALIBRATION_FILE = "score_calibration.csv"

Names = Sequence[str] | str | os.PathLike
Labels = Names | Mapping[str, Names]
Normalization = tuple[float | Sequence[float], float | Sequence[float]]


@dataclasses.dataclass(frozen=True)
class ScoreCalibration:
    """How apps make probabilities of a classifier's scores: a logistic curve for each class.

    A score becomes ``scale / (1 + exp(-(slope * f(score) + offset)))``.

    Attributes:
        scales: a number from 0 for each class.
        slopes: a number for each class.
        offsets: a number for each class.
        transformation: f: "identity", "log" or "inverse_logistic".

    Raises:
        ValueError: the numbers are not as many, or not finite, a scale is negative, or the
            transformation is none of the above.

    Example:
    ```python
    curve = ScoreCalibration([1.0, 1.0, 0.9], [4.0, 6.0, 5.0], [-2.0, -3.5, -1.5])
    export_tflite(model, "m.tflite", representative_data=x, score_calibration=curve)
    ```

    Source: ScoreCalibrationOptions of
    https://github.com/google-ai-edge/mediapipe/blob/master/mediapipe/tasks/metadata/metadata_schema.fbs.
    """

    scales: Sequence[float]
    slopes: Sequence[float]
    offsets: Sequence[float]
    transformation: str = "identity"

    def __post_init__(self) -> None:
        columns = (self.scales, self.slopes, self.offsets)
        if len({len(column) for column in columns}) != 1:
            raise ValueError(
                "A calibration has a scale, a slope and an offset for each class. "
                f"Received: {[len(column) for column in columns]} of them"
            )
        numbers = np.array(columns, float)
        if not np.isfinite(numbers).all() or (numbers[0] < 0).any():
            raise ValueError(
                f"Calibrations are finite numbers, and scales 0 or more. Received: {self}"
            )
        if self.transformation not in TRANSFORMATIONS:
            raise ValueError(
                f"`transformation` must be one of {list(TRANSFORMATIONS)}. "
                f"Received: {self.transformation!r}"
            )

    def to_csv(self) -> str:
        """Return the associated file: a line for each class, and none behind the last."""
        rows = zip(self.scales, self.slopes, self.offsets, strict=True)
        return "\n".join(f"{scale:.9g},{slope:.9g},{offset:.9g}" for scale, slope, offset in rows)


@dataclasses.dataclass(frozen=True)
class TensorDescription:
    """What a file's metadata says about one input or output of its main graph."""

    tensor: str  # the tensor's name
    name: str  # its name in the metadata
    # What to subtract from the raw data, one number or one per channel; empty if unknown.
    mean: tuple[float, ...]
    std: tuple[float, ...]  # what to divide the difference by
    lowest: float | None  # the smallest real number that the tensor can hold, None if unknown
    highest: float | None  # the largest
    labels: tuple[str, ...]  # the name of each entry of the last axis; empty if there are none


def with_metadata(
    content: bytes,
    name: str,
    labels: Labels | None = None,
    normalization: Normalization | Mapping[str, Normalization] | None = None,
    calibration: ScoreCalibration | None = None,
) -> bytes:
    """Return a file with TFLite Metadata, and its labels in text files; ``export_tflite`` explains.

    Without labels, normalization and calibration, the file is returned unchanged.
    """
    if labels is None and normalization is None and calibration is None:
        return content
    editor = Editor(content)
    inputs, outputs = input_output_details(editor.model)
    named = labels_by_output(labels, outputs)
    scaling = _normalization_by_input(normalization, inputs)
    single = len(named) == 1
    files = {
        output: "labels.txt" if single else f"labels_{number}.txt"
        for number, output in enumerate(named)
    }
    calibrated = _calibrated_output(calibration, outputs, named)
    curves = {}
    if calibration is not None:
        curves = {
            "calibration_file": _CALIBRATION_FILE,
            "transformation": calibration.transformation,
        }
    metadata = Metadata(
        name=name,
        inputs=tuple(_tensor_metadata(each, *scaling.get(each.name, ())) for each in inputs),
        outputs=tuple(
            _tensor_metadata(
                each,
                labels_file=files.get(each.name),
                **(curves if each.name == calibrated else {}),
            )
            for each in outputs
        ),
    )
    editor.add_metadata(ENTRY, pack_metadata(metadata))
    editor.files |= {
        files[output]: "".join(f"{label}\n" for label in entries).encode()
        for output, entries in named.items()
    }
    if calibration is not None:
        editor.files[_CALIBRATION_FILE] = calibration.to_csv().encode()
    return editor.packed()


def _calibrated_output(calibration, outputs: Sequence[TensorDetails], named) -> str | None:
    """Return the output whose scores are calibrated: the one with labels, or of that size."""
    if calibration is None:
        return None
    count = len(calibration.scales)
    fitting = [each.name for each in outputs if each.shape and each.shape[-1] == count]
    chosen = [name for name in fitting if name in named] or fitting
    if len(chosen) != 1:
        sizes = {each.name: each.shape[-1] for each in outputs if each.shape}
        raise ValueError(
            "A calibration has a curve for each entry of one output's last axis, of sizes "
            f"{sizes}. Received: {count} curves"
        )
    return chosen[0]


def labels_by_output(
    labels: Labels | None, outputs: Sequence[TensorDetails]
) -> dict[str, tuple[str, ...]]:
    """Return the labels of each output, checked against the sizes of the last axes."""
    if labels is None:
        return {}
    sizes = {details.name: details.shape[-1] for details in outputs if details.shape}
    if isinstance(labels, Mapping):
        labels = {name: label_names(entries) for name, entries in labels.items()}
    else:
        labels = label_names(labels)
        fitting = [name for name, size in sizes.items() if size == len(labels)]
        if len(fitting) != 1:
            raise ValueError(
                f"Labels name the entries of one output's last axis, of sizes {sizes}. "
                f"Received: {len(labels)} labels. Pass a dict by output if several outputs have "
                "labels or the same size."
            )
        labels = {fitting[0]: labels}
    for name, entries in labels.items():
        if sizes.get(name) != len(entries):
            raise ValueError(
                f"Labels name the entries of an output's last axis, of sizes {sizes}. "
                f"Received: {len(entries)} labels for {name!r}"
            )
        if invalid := [entry for entry in entries if not isinstance(entry, str) or "\n" in entry]:
            raise ValueError(f"A label must be one line of text. Received: {invalid[0]!r}")
    return {name: tuple(entries) for name, entries in labels.items()}


def label_names(labels: Names) -> Sequence[str]:
    """Return labels; from a UTF-8 text file with one name per line where a path is given."""
    if not isinstance(labels, str | os.PathLike):
        return labels
    try:
        names = pathlib.Path(labels).read_text(encoding="utf-8-sig").rstrip().splitlines()
    except FileNotFoundError as error:
        raise FileNotFoundError(
            "Labels must be a list of names, or the path of a text file with one name per line; "
            f"there is no such file. Received: {os.fspath(labels)!r}"
        ) from error
    except UnicodeDecodeError as error:
        raise ValueError(
            "Labels must be a list of names, or the path of a UTF-8 text file with one name per "
            f"line. Received: {os.fspath(labels)!r}, which holds other bytes"
        ) from error
    if not names:
        raise ValueError(f"The file of labels is empty. Received: {os.fspath(labels)!r}")
    return [name.strip() for name in names]


def _normalization_by_input(normalization, inputs: Sequence[TensorDetails]) -> dict[str, tuple]:
    """Return (mean, standard deviation) by input, checked against the number of channels."""
    if normalization is None:
        return {}
    channels = {details.name: details.shape[-1] if details.shape else 1 for details in inputs}
    if not isinstance(normalization, Mapping):
        if len(channels) != 1:
            raise ValueError(
                f"The file's inputs are {list(channels)}: pass `normalization` as a dict by input. "
                f"Received: {normalization!r}"
            )
        normalization = dict.fromkeys(channels, normalization)
    if unknown := sorted(set(normalization) - set(channels)):
        raise ValueError(
            f"The file's inputs are {list(channels)}. Received: normalization of {unknown}"
        )
    return {name: _mean_and_std(name, pair, channels[name]) for name, pair in normalization.items()}


def _mean_and_std(name: str, pair, channels: int) -> tuple[tuple[float, ...], ...]:
    """Return the mean and the standard deviation of one input as tuples."""
    try:
        mean, std = (tuple(np.atleast_1d(np.asarray(part, float)).tolist()) for part in pair)
    except (TypeError, ValueError):
        mean = std = ()
    valid = {len(mean), len(std)} <= {1, channels} and np.isfinite(mean + std).all()
    if not valid or not mean or min(std, default=0) <= 0:
        raise ValueError(
            f"The normalization of input {name!r} must be (mean, standard deviation), each one "
            f"number or {channels}, all finite, deviations above 0. Received: {pair!r}"
        )
    return mean, std


def _tensor_metadata(details: TensorDetails, mean=(), std=(), **files: Any) -> TensorMetadata:
    ends = (None, None) if details.scale is None else details.ends.tolist()
    return TensorMetadata(details.name, mean, std, *ends, **files)


def read_descriptions(
    content: bytes, model: TFLiteModel
) -> tuple[tuple[TensorDescription, ...], tuple[TensorDescription, ...]]:
    """Read what a file's metadata says of its inputs and outputs; both empty without metadata."""
    packed = model.metadata.get(ENTRY)
    if packed is None or not model.subgraphs:
        return (), ()
    try:
        metadata = unpack_metadata(packed)
    except DAMAGE as error:
        raise FlatbufferError(f"damaged metadata: {error}") from error
    files, main = appended_files(content), model.subgraphs[0]

    def description(index: int, each: TensorMetadata) -> TensorDescription:
        text = files.get(each.labels_file or "", b"").decode(errors="replace")
        # str.splitlines would also split at characters that labels may hold.
        labels = text.replace("\r\n", "\n").removesuffix("\n").split("\n") if text else ()
        known = each.name, each.mean, each.std, each.lowest, each.highest
        return TensorDescription(main.tensors[index].name, *known, tuple(labels))

    return (
        tuple(map(description, main.inputs, metadata.inputs)),
        tuple(map(description, main.outputs, metadata.outputs)),
    )
