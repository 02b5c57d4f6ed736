"""TFLite Metadata: what a file tells people and apps about its inputs and outputs.

The metadata is a flatbuffer of its own inside the model's; the files that it names, such as those
of class labels, are a zip archive behind the model's last byte (``associated_files``). Android
Studio, MediaPipe and the Task Library read both.

Source: https://ai.google.dev/edge/litert/conversion/tensorflow/metadata (metadata_schema.fbs).
"""

import dataclasses
import io
import struct
import zipfile
import zlib
from collections.abc import Mapping, Sequence

import flatbuffers
from flatbuffers import number_types
from flatbuffers.table import Table

from tfcompress.tflite.model import FlatbufferError

ENTRY = "TFLITE_METADATA"  # under which the model's own metadata holds it
IDENTIFIER = b"M001"
_PARSER_VERSION = "1.0.0"
_AXIS_LABELS = 2  # AssociatedFileType.TENSOR_AXIS_LABELS
_AXIS_CALIBRATION = 4  # AssociatedFileType.TENSOR_AXIS_SCORE_CALIBRATION
_NORMALIZATION = 1  # ProcessUnitOptions.NormalizationOptions
_CALIBRATION = 2  # ProcessUnitOptions.ScoreCalibrationOptions
TRANSFORMATIONS = ("identity", "log", "inverse_logistic")  # ScoreTransformationType
_MOST_BYTES = 16 << 20
_NO_TIME = (1980, 1, 1, 0, 0, 0)  # the first that an archive can hold: equal files, equal bytes
_UNIX = 3
_READABLE = 0o644 << 16
# What reading an archive from anywhere raises.
_DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    RuntimeError,
    OSError,
    EOFError,
    ValueError,
    OverflowError,
    MemoryError,
)


@dataclasses.dataclass(frozen=True)
class TensorMetadata:
    """The metadata of one input or output."""

    name: str
    # What to subtract from the raw data, one number or one per channel; empty if unknown.
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()  # what to divide the difference by, as many numbers
    # The smallest real number that the tensor can hold, None if unknown.
    lowest: float | None = None
    highest: float | None = None  # the largest
    # The associated file with a name for each entry of the last axis, one a line; None if there
    # is none.
    labels_file: str | None = None
    # The associated file with the calibration of each entry's score, one a line; None if there is
    # none.
    calibration_file: str | None = None
    transformation: str = "identity"  # of a score before it is calibrated


@dataclasses.dataclass(frozen=True)
class Metadata:
    """The metadata of a model."""

    name: str
    inputs: tuple[TensorMetadata, ...]  # an entry for each input of the main graph, in order
    outputs: tuple[TensorMetadata, ...]  # the same for each output


def pack_metadata(metadata: Metadata) -> bytes:
    """Write metadata as a flatbuffer."""
    writer = _Writer()
    graph = writer.table(
        {
            2: writer.offsets([_packed_port(writer, port) for port in metadata.inputs]),
            3: writer.offsets([_packed_port(writer, port) for port in metadata.outputs]),
        }
    )
    root = writer.table(
        {
            0: writer.string(metadata.name),
            3: writer.offsets([graph]),
            7: writer.string(_PARSER_VERSION),
        }
    )
    writer.builder.Finish(root, IDENTIFIER)
    return bytes(writer.builder.Output())


def _packed_port(writer: "_Writer", port: TensorMetadata) -> int:
    fields = {0: writer.string(port.name)}
    if port.mean:
        options = writer.table({0: writer.floats(port.mean), 1: writer.floats(port.std)})
        unit = writer.table({1: options}, codes={0: _NORMALIZATION})
        fields[4] = writer.offsets([unit])
    if port.calibration_file is not None:
        code = TRANSFORMATIONS.index(port.transformation)
        options = writer.table({}, codes={0: code})
        fields[4] = writer.offsets([writer.table({1: options}, codes={0: _CALIBRATION})])
    if port.highest is not None and port.lowest is not None:
        limits = {0: writer.floats([port.highest]), 1: writer.floats([port.lowest])}
        fields[5] = writer.table(limits)
    files = [
        writer.table({0: writer.string(name)}, codes={2: kind})
        for name, kind in (
            (port.labels_file, _AXIS_LABELS),
            (port.calibration_file, _AXIS_CALIBRATION),
        )
        if name is not None
    ]
    if files:
        fields[6] = writer.offsets(files)
    return writer.table(fields)


class _Writer:
    """A flatbuffer written from the leaves up; fields are numbered as in the schema."""

    def __init__(self) -> None:
        self.builder = flatbuffers.Builder(256)

    def string(self, text: str) -> int:
        return self.builder.CreateString(text)

    def floats(self, values: Sequence[float]) -> int:
        self.builder.StartVector(4, len(values), 4)
        for value in reversed(values):
            self.builder.PrependFloat32(value)
        return self.builder.EndVector()

    def offsets(self, places: Sequence[int]) -> int:
        self.builder.StartVector(4, len(places), 4)
        for place in reversed(places):
            self.builder.PrependUOffsetTRelative(place)
        return self.builder.EndVector()

    def table(self, fields: dict[int, int], codes: dict[int, int] | None = None) -> int:
        codes = codes or {}
        self.builder.StartObject(1 + max((*fields, *codes)))
        for field, place in fields.items():
            self.builder.PrependUOffsetTRelativeSlot(field, place, 0)
        for field, code in codes.items():
            self.builder.PrependInt8Slot(field, code, 0)
        return self.builder.EndObject()


def unpack_metadata(content: bytes) -> Metadata:
    """Read metadata; whatever this project does not write is passed over."""
    if content[4:8] != IDENTIFIER:
        raise FlatbufferError(f"its {ENTRY} must hold {IDENTIFIER!r}. Received: {content[4:8]!r}")
    root = _Reader.root(content)
    graphs = root.tables(3)
    return Metadata(
        name=root.string(0),
        inputs=tuple(_unpacked_port(port) for port in graphs[0].tables(2)) if graphs else (),
        outputs=tuple(_unpacked_port(port) for port in graphs[0].tables(3)) if graphs else (),
    )


def _unpacked_port(port: "_Reader") -> TensorMetadata:
    units = [unit.table(1) for unit in port.tables(4) if unit.code(0) == _NORMALIZATION]
    options = next((unit for unit in units if unit is not None), None)
    limits = port.table(5)
    files = [file.string(0) for file in port.tables(6) if file.code(2) == _AXIS_LABELS]
    return TensorMetadata(
        name=port.string(0),
        mean=options.floats(0) if options else (),
        std=options.floats(1) if options else (),
        highest=next(iter(limits.floats(0)), None) if limits else None,
        lowest=next(iter(limits.floats(1)), None) if limits else None,
        labels_file=next(iter(files), None),
    )


class _Reader:
    """A table from anywhere: every read is charged against the size of the flatbuffer."""

    def __init__(self, table: Table, budget: list[int]):
        self._table, self._budget = table, budget

    @classmethod
    def root(cls, content: bytes) -> "_Reader":
        start = flatbuffers.encode.Get(number_types.UOffsetTFlags.packer_type, content, 0)
        return cls(Table(content, start), [4 * len(content) + 1024])

    def string(self, field: int) -> str:
        place = self._place(field)
        if place is None:
            return ""
        text = self._table.String(place)
        self._spend(len(text))
        return text.decode(errors="replace")

    def code(self, field: int) -> int:
        place = self._place(field)
        return 0 if place is None else self._table.Get(number_types.Int8Flags, place)

    def table(self, field: int) -> "_Reader | None":
        place = self._place(field)
        return None if place is None else self._at(self._table.Indirect(place))

    def tables(self, field: int) -> list["_Reader"]:
        return [self._at(self._table.Indirect(place)) for place in self._elements(field)]

    def floats(self, field: int) -> tuple[float, ...]:
        get = self._table.Get
        return tuple(get(number_types.Float32Flags, place) for place in self._elements(field))

    def _at(self, position: int) -> "_Reader":
        self._spend(4)
        return _Reader(Table(self._table.Bytes, position), self._budget)

    def _place(self, field: int) -> int | None:
        offset = self._table.Offset(4 + 2 * field)
        return self._table.Pos + offset if offset else None

    def _elements(self, field: int) -> list[int]:
        offset = self._table.Offset(4 + 2 * field)
        if not offset:
            return []
        count = self._table.VectorLen(offset)
        self._spend(4 * count)
        start = self._table.Vector(offset)
        return [start + 4 * index for index in range(count)]

    def _spend(self, size: int) -> None:
        self._budget[0] -= size
        if self._budget[0] < 0:
            raise FlatbufferError(f"its {ENTRY} claims to hold more than its bytes")


def append_files(content: bytes, files: Mapping[str, bytes]) -> bytes:
    """Put files behind a model."""
    if not files:
        return content
    stream = io.BytesIO(content)
    with zipfile.ZipFile(stream, "a") as archive:
        for name, data in files.items():
            # Stored as they are: readers on devices map them instead of unpacking them.
            entry = zipfile.ZipInfo(name, _NO_TIME)
            entry.create_system, entry.external_attr = _UNIX, _READABLE
            archive.writestr(entry, data)
    return stream.getvalue()


def appended_files(content: bytes) -> dict[str, bytes]:
    """Read the files behind a model."""
    files: dict[str, bytes] = {}
    left = _MOST_BYTES
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            for entry in archive.infolist():
                with archive.open(entry) as file:
                    data = file.read(left + 1)
                left -= len(data)
                if left < 0:
                    return {}
                files[entry.filename] = data
    except _DAMAGE:
        return {}
    return files
