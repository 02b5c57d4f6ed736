"""What reads files from elsewhere: with what it begins here, and what it may answer."""

import dataclasses
import io
import json
import pathlib
import time
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable

import numpy as np
from handmade_models import small_models
from mutations import damaged_archive, damaged_bytes, damaged_json

from exporters.compatibility import check_target
from exporters.inspection import inspect
from tfcompress.cli.command import CommandError
from tfcompress.cli.data_argument import load_data
from tfcompress.distillation.cache import Manifest, read_manifest
from tfcompress.legacy.files import is_tf_keras_file
from tfcompress.quantization.scheme import Scheme
from tfcompress.report.histories import read_trainings
from tfcompress.search.results import read_result
from tfcompress.tflite.metadata import append_files, appended_files
from tfcompress.tflite.model import FlatbufferError

_MODELS_FROM = ("shared", "models", "litert_testdata")


@dataclasses.dataclass(frozen=True)
class Reader:
    """One way into the project for bytes from elsewhere.

    Attributes:
        name: what it reads.
        seeds: whole files.
        damage: how they are damaged.
        read: takes the bytes and a folder to put them in.
        refusals: the documented errors.
    """

    name: str
    seeds: list[bytes]
    damage: Callable[[np.random.Generator, list[bytes]], bytes]
    read: Callable[[bytes, pathlib.Path], object]
    refusals: tuple[type[Exception], ...] = ()

    def input(self, number: int) -> bytes:
        """Make an input again by its number."""
        generator = np.random.default_rng([zlib.crc32(self.name.encode()), number])
        return self.damage(generator, self.seeds)


@dataclasses.dataclass
class Outcome:
    """What became of some inputs.

    Attributes:
        counts: how many ended as "read", or in which documented error.
        failures: what else happened, by the number of the input.
        longest: seconds of the slowest input.
    """

    counts: Counter
    failures: dict[int, str]
    longest: float


def feed(reader: Reader, numbers: range, folder: pathlib.Path) -> Outcome:
    """Give a reader its damaged inputs.

    Args:
        reader: the reader.
        numbers: of the inputs.
        folder: where readers of files get theirs.

    Returns:
        What became of them.
    """
    counts, failures, longest = Counter(), {}, 0.0
    for number in numbers:
        content = reader.input(number)
        begin = time.perf_counter()
        try:
            reader.read(content, folder)
            counts["read"] += 1
        except reader.refusals as error:
            counts[type(error).__name__] += 1
        except Exception as error:
            failures[number] = f"{type(error).__name__}: {error}"[:300]
        longest = max(longest, time.perf_counter() - begin)
    return Outcome(counts, failures, longest)


def _models() -> list[bytes]:
    beside = pathlib.Path(__file__).resolve().parents[3].joinpath(*_MODELS_FROM)
    return small_models() + [
        path.read_bytes() for path in sorted(beside.glob("*.bin")) if path.stat().st_size > 8
    ]


def _examine(content, folder):
    report = inspect(content)
    report.to_text(), report.to_svg(), json.dumps(report.to_json())
    check_target(content, "coral-edgetpu")


def _archive(**arrays) -> bytes:
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    return stream.getvalue()


def _data_archives() -> list[bytes]:
    x = np.arange(24, dtype=np.float32).reshape(6, 4)
    objects = np.array([{"a": 1}, None], dtype=object)
    return [
        _archive(x=x, y=np.arange(6)),
        _archive(x=x.astype(np.uint8)),
        _archive(x=x.astype(np.complex64), y=x),
        _archive(x=np.float32(1)),
        _archive(x=objects, y=np.arange(2)),
        _archive(x=np.array(["a", "b"])),
    ]


def _from_file(name: str, read: Callable[[pathlib.Path], object]):
    def reader(content, folder):
        path = folder / name
        path.write_bytes(content)
        return read(path)

    return reader


_RESULT = {
    "format": 1,
    "model": "toy",
    "target": "raspberry-pi-4",
    "budget": {"max_accuracy_drop": 0.05, "max_size": None},
    "time_budget": 60,
    "met": True,
    "nearest": 0,
    "shortfalls": {},
    "reference": {
        "file": "original.tflite",
        "accuracy": 0.9,
        "size": 1500,
        "gzip_size": 1000,
        "latency": 0.003,
        "parameters": 200,
        "macs": 900,
        "bare_size": 100,
    },
    "trials": [
        {
            "number": 0,
            "candidate": {"sparsity": 0.5},
            "accuracy": 0.9,
            "accuracy_drop": 0.0,
            "gzip_size": 500,
            "compression_ratio": 2.0,
            "latency": 0.002,
            "reference_latency": 0.003,
            "seconds": 3.0,
            "error": None,
        }
    ],
    "environment": {"python": "3.11.2"},
}


def _json(*documents) -> list[bytes]:
    return [json.dumps(document).encode() for document in documents]


def _keras_files() -> list[bytes]:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr(zipfile.ZipInfo("metadata.json"), '{"keras_version": "2.15.0"}')
        archive.writestr(zipfile.ZipInfo("config.json"), '{"class_name": "Sequential"}')
    return [stream.getvalue()]


def all_readers() -> list[Reader]:
    """List every reader of files from elsewhere."""
    models = _models()
    schemes = (Scheme.int8(), Scheme.int4_weights().override(["a"], Scheme.int8()))
    manifest = Manifest("f", "teacher", ["logits"], [[3]], [], "float32", 10, 10)
    return [
        Reader(".tflite models", models, damaged_bytes, _examine, (FlatbufferError,)),
        Reader(
            "files behind models",
            [append_files(models[0], {"labels.txt": b"cat\ndog", "more.txt": b"x" * 99})],
            damaged_bytes,
            lambda content, folder: appended_files(content),
        ),
        Reader(
            ".npz data",
            _data_archives(),
            damaged_archive,
            _from_file("data.npz", lambda path: load_data(str(path))),
            (CommandError,),
        ),
        Reader(
            ".keras files, by whom saved",
            _keras_files(),
            damaged_archive,
            _from_file("model.keras", is_tf_keras_file),
            (OSError, ValueError),
        ),
        Reader(
            "quantization schemes",
            _json(*(scheme.get_config() for scheme in schemes)),
            damaged_json,
            lambda content, folder: Scheme.from_config(_parsed(content)),
            (ValueError,),
        ),
        Reader(
            "results of searches",
            _json(_RESULT),
            damaged_json,
            _from_file("result.json", lambda path: read_result(path).to_json()),
            (ValueError,),
        ),
        Reader(
            "histories in JSON",
            _json({"loss": [1.0, 0.5], "accuracy": [0.5, 0.75]}),
            damaged_json,
            _from_file("history.json", read_trainings),
            (ValueError,),
        ),
        Reader(
            "histories in CSV",
            [b"epoch,accuracy,loss\n0,0.5,1.0\n1,0.75,0.5\n"],
            damaged_bytes,
            _from_file("history.csv", read_trainings),
            (ValueError,),
        ),
        Reader(
            "manifests of teacher caches",
            _json(dataclasses.asdict(manifest)),
            damaged_json,
            _from_file("manifest.json", lambda path: read_manifest(path.parent).names),
            (ValueError,),
        ),
    ]


def _parsed(content: bytes):
    try:
        return json.loads(content)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
