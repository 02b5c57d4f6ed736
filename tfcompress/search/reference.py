"""Before the first trial: the float file, and what each layer tolerates; once for all workers."""

import contextlib
import dataclasses
import hashlib
import json
import pathlib

import filelock
import keras
import numpy as np

from exporters import benchmark, export_tflite
from exporters.parity import Agreement
from exporters.report import gzip_size
from exporters.validation import file_metric
from tfcompress.atomic_files import replace_atomically, write_atomically
from tfcompress.data import gather
from tfcompress.keras_graph.channels import read_channels
from tfcompress.search.records import Reference
from tfcompress.search.teaching import spread
from tfcompress.tflite.editing import Editor

ORIGINAL = "original.keras"
FLOAT_FILE = "original.tflite"
EVIDENCE = 256  # examples on which every kernel set is compared with the model; others are slow


@contextlib.contextmanager
def one_at_a_time(directory: pathlib.Path):
    """Let one worker at a time write what all of them read in a directory."""
    with filelock.FileLock(directory / ".lock"):
        yield


def fingerprint(model: keras.Model, validation_data) -> str:
    """Return a name for a model's weights and the data that it is judged by.

    Args:
        model: a built model.
        validation_data: whatever ``fit`` takes, with labels.

    Returns:
        16 hexadecimal digits.
    """
    found = hashlib.sha256()
    inputs, labels = gather(validation_data)
    for array in (*model.get_weights(), *keras.tree.flatten(inputs), labels):
        found.update(np.ascontiguousarray(array).tobytes())
    return found.hexdigest()[:16]


def require_own(directory: pathlib.Path, own: str, target: str | None) -> None:
    """Mark a directory as that of one model, its data and its target, or check the mark.

    Raises:
        ValueError: the directory belongs to another model, other validation data or another target.
    """
    mark = directory / "search.json"
    wanted = {"fingerprint": own, "target": target}
    if not mark.exists():
        write_atomically(mark, json.dumps(wanted).encode())
        return
    found = json.loads(mark.read_text(encoding="utf-8"))
    what = {
        "fingerprint": "another model, or with other validation data",
        "target": f"another target, {found['target']!r}",
    }
    for name, value in wanted.items():
        if found[name] != value:
            raise ValueError(
                f"The directory holds the search of {what[name]}: choose another one, or empty it. "
                f"Received: directory={str(directory)!r}, target={target!r}"
            )


def measure_reference(
    model: keras.Model, validation_data, directory: pathlib.Path, runs: int
) -> Reference:
    """Save the original and its float file, and measure the file; or read what was measured.

    Args:
        model: the model as it was given.
        validation_data: (inputs, labels).
        directory: the search's.
        runs: timed runs of the file.

    Returns:
        The reference of all trials.
    """
    note = directory / "reference.json"
    if note.exists():
        return Reference(**json.loads(note.read_text(encoding="utf-8")))
    with replace_atomically(directory / ORIGINAL) as draft:
        model.save(draft)
    exported = export_tflite(
        model,
        directory / FLOAT_FILE,
        "float32",
        validation_data=spread(validation_data, EVIDENCE),
    )
    (measured,) = benchmark(exported.path, runs).measurements
    reference = Reference(
        file=FLOAT_FILE,
        accuracy=file_accuracy(exported.path, exported.report.agreement, validation_data),
        size=exported.size,
        gzip_size=exported.gzip_size,
        latency=measured.median,
        parameters=model.count_params(),
        macs=count_macs(model),
        bare_size=bare_size(exported.path.read_bytes()),
    )
    write_atomically(note, json.dumps(dataclasses.asdict(reference)).encode())
    return reference


def file_accuracy(file: pathlib.Path, agreement: Agreement, validation_data) -> float:
    """Measure the accuracy of a file on all examples, under the kernels that it is used with.

    Args:
        file: the file.
        agreement: the evidence of its export, on some examples under every kernel set.
        validation_data: (inputs, labels).

    Returns:
        The share that it classifies right.
    """
    return file_metric(file, validation_data, agreement.ran[0].kernels)


def bare_size(flatbuffer: bytes) -> int:
    """Return the bytes after gzip of a file whose constants are taken out."""
    editor = Editor(flatbuffer)
    for buffer in editor.tree.buffers:
        buffer.data = None
    return gzip_size(editor.packed())


def count_macs(model: keras.Model) -> int | None:
    """Count the multiply-accumulate operations of one example; None for a subclassed model."""
    try:
        return read_channels(model).macs()
    except ValueError:
        return None
