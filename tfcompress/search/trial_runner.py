"""Runs trials: measures the original, then makes, trains, exports and measures candidates."""

import contextlib
import dataclasses
import json
import pathlib
import tempfile
import time

import filelock
import keras
import numpy as np

from exporters import benchmark, export_tflite
from exporters.report import gzip_size
from exporters.running.runtime import load_isolated
from tfcompress.atomic_files import replace_atomically, write_atomically, write_folder_atomically
from tfcompress.data import evenly_spaced
from tfcompress.hashing import hash_arrays
from tfcompress.keras_graph.channels import read_channels
from tfcompress.keras_graph.kernels import find_kernels
from tfcompress.keras_graph.wrapper import unwrap
from tfcompress.search.candidates import Candidate
from tfcompress.search.fine_tuning import FineTuning
from tfcompress.search.quality import Quality, quality_of
from tfcompress.search.results import ACCURACY, Reference, Trial
from tfcompress.targets.target import load_target
from tfcompress.targets.vela import Compilation, CompilerError
from tfcompress.tflite.editing import Editor

_ORIGINAL = "original.keras"
_FLOAT_FILE = "original.tflite"
_EVIDENCE = 256  # examples on which every kernel set is compared with the model; others are slow


@contextlib.contextmanager
def one_at_a_time(directory: pathlib.Path):
    """Let one worker at a time write the files in a directory that all of them read."""
    with filelock.FileLock(directory / ".lock"):
        yield


def fingerprint(model: keras.Model, validation_data: tuple) -> str:
    """Identify a model's weights and gathered validation data by 16 hexadecimal digits."""
    return hash_arrays(*model.get_weights(), *keras.tree.flatten(validation_data))[:16]


def claim_directory(
    directory: pathlib.Path, identity: str, target: str | None, metric: str
) -> None:
    """Mark a directory as that of one model, its data, target and metric, or check the mark."""
    mark = directory / "search.json"
    wanted = {"fingerprint": identity, "target": target, "metric": metric}
    if not mark.exists():
        write_atomically(mark, json.dumps(wanted).encode())
        return
    found = {"metric": ACCURACY, **json.loads(mark.read_text(encoding="utf-8"))}
    what = {
        "fingerprint": "another model, or one with other validation data",
        "target": f"another target, {found['target']!r}",
        "metric": f"another metric, {found['metric']!r}",
    }
    for name, value in wanted.items():
        if found[name] != value:
            raise ValueError(
                f"The directory holds a search for {what[name]}: choose another directory, or "
                f"empty it. Received: directory={str(directory)!r}, target={target!r}, "
                f"metric={metric!r}"
            )


def measure_reference(
    model: keras.Model,
    validation_data: tuple,
    directory: pathlib.Path,
    runs: int,
    quality: Quality,
    target: str | None = None,
) -> Reference:
    """Save the original and its float file, and measure the file; or read what was measured.

    A target with a compiler measures the model in 8 bits: it computes nothing in float.
    """
    record = directory / "reference.json"
    if record.exists():
        return Reference(**json.loads(record.read_text(encoding="utf-8")))
    with replace_atomically(directory / _ORIGINAL) as draft:
        model.save(draft)
    exported, accuracy = _export(
        model, directory / _FLOAT_FILE, validation_data, quality, quantization="float32"
    )
    if compiles(target):
        compiled = _compiled_in_8_bits(model, validation_data, target)
        latency, flash = compiled.seconds, compiled.flash
    else:
        latency, flash = benchmark(exported.path, runs).measurements[0].median, None
    reference = Reference(
        file=_FLOAT_FILE,
        accuracy=accuracy,
        size=exported.size,
        gzip_size=exported.gzip_size,
        latency=latency,
        parameters=model.count_params(),
        macs=count_macs(model),
        bare_size=0 if flash else bare_size(exported.path.read_bytes()),
        metric=quality.name,
        lower_is_better=quality.lower_is_better,
        flash=flash,
    )
    write_atomically(record, json.dumps(dataclasses.asdict(reference)).encode())
    return reference


def compiles(target: str | None) -> bool:
    """Return whether a target has a compiler, which knows cycles and flash."""
    return target is not None and load_target(target).compiler is not None


def _compiled_in_8_bits(model, validation_data, target: str) -> Compilation:
    """Compile the model as it is, quantized after training, for the target."""
    inputs, _ = evenly_spaced(validation_data, _EVIDENCE)
    with tempfile.TemporaryDirectory() as scratch:
        settings = {"representative_data": inputs, "repair": False, "progress": False}
        file = pathlib.Path(scratch) / "model.tflite"
        exported = export_tflite(model, file, "int8", target=target, **settings)
    return _require_compiled(exported.report.verdict)


def _require_compiled(verdict) -> Compilation:
    """Return what the target's compiler says, which it has to say."""
    if verdict.compiled is None:
        raise CompilerError("; ".join(verdict.reasons))
    return verdict.compiled


def _export(model: keras.Model, file, validation_data: tuple, quality: Quality, **settings):
    """Export a model with evidence on some examples; return the result and the quality on all."""
    evidence = evenly_spaced(validation_data, _EVIDENCE)
    if not isinstance(evidence[1], np.ndarray):
        evidence = evidence[0]
    exported = export_tflite(model, file, validation_data=evidence, progress=False, **settings)
    kernels = exported.report.agreement.ran[0].kernels
    return exported, _file_quality(file, kernels, unwrap(model), validation_data, quality)


def _file_quality(
    file: pathlib.Path, kernels: str, model: keras.Model, validation_data: tuple, quality: Quality
) -> float:
    """Measure a file on all examples; the model names its inputs and outputs, in order."""
    inputs, labels = validation_data
    with load_isolated(file, kernels=kernels) as loaded:
        names = [tensor.name for tensor in getattr(model, "inputs", None) or ()]
        if isinstance(inputs, list) and sorted(names) == sorted(p.name for p in loaded.inputs):
            inputs = dict(zip(names, inputs, strict=True))
        found = dict(zip([p.name for p in loaded.outputs], loaded.predict(inputs), strict=True))
    order = getattr(model, "output_names", None) or found
    if set(order) == set(found):
        found = {name: found[name] for name in order}
    return quality.compute(found, labels)


def bare_size(flatbuffer: bytes) -> int:
    """Return the bytes after gzip of a file without its constants."""
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


def zeros(model: keras.Model) -> float:
    """Return the share of zeros among the weights of a model's kernels."""
    kernels = [keras.ops.convert_to_numpy(kernel.variable) for kernel in find_kernels(model)]
    return float(sum(np.sum(k == 0) for k in kernels) / sum(k.size for k in kernels))


@dataclasses.dataclass(frozen=True)
class TrialRunner:
    """Makes candidates of one model, and measures them against the reference."""

    directory: pathlib.Path
    fine_tuning: FineTuning
    reference: Reference
    validation_data: tuple  # (inputs, labels)
    target: str | None
    runs: int  # timed runs of each file
    quality: Quality = dataclasses.field(default_factory=quality_of)  # what files keep

    def load(self, trial: Trial | None = None) -> keras.Model:
        """Return a fresh copy of a trial's model; of the original by default."""
        name = _ORIGINAL if trial is None else trial.files["weights"]
        return unwrap(keras.saving.load_model(self.directory / name, compile=False))

    def run(
        self,
        number: int,
        candidate: Candidate,
        epochs: int,
        deadline: float,
        parent: Trial | None = None,
    ) -> Trial:
        """Make, train, export, measure and save a candidate; its folder is complete or absent.

        The number seeds the trial, its training ends at the deadline, a moment of
        ``time.monotonic``, and the parent's model is the warm start; None for the original.
        """
        start = time.monotonic()
        done = Candidate() if parent is None else parent.candidate
        quantized = self.fine_tuning.make(self.load(parent), candidate, done)
        history: dict[str, list[float]] = {}
        made = time.monotonic()
        if candidate.trained:
            history = self.fine_tuning.train(quantized, candidate, done, epochs, deadline, number)
        training_seconds = time.monotonic() - made
        with tempfile.TemporaryDirectory() as scratch:
            file = pathlib.Path(scratch) / "model.tflite"
            exported, accuracy = _export(
                quantized, file, self.validation_data, self.quality, target=self.target
            )
            weights = pathlib.Path(scratch) / "model.keras"
            quantized.save(weights)
            cost = self._cost(file, exported.report.verdict)
            content = {"model.tflite": file.read_bytes(), "model.keras": weights.read_bytes()}
        report = exported.report
        user_model = unwrap(quantized)
        trial = Trial(
            number=number,
            candidate=candidate,
            parent=None if parent is None else parent.number,
            epochs=len(history.get("loss", ())),
            seconds=time.monotonic() - start,
            training_seconds=training_seconds,
            accuracy=accuracy,
            accuracy_drop=self.reference.drop_to(accuracy),
            size=report.size,
            gzip_size=report.gzip_size,
            compression_ratio=self.reference.stored / cost.get("flash", report.gzip_size),
            **cost,
            parameters=user_model.count_params(),
            macs=count_macs(user_model),
            zeros=zeros(user_model),
            runs_on_target=report.verdict is None or report.verdict.ok,
        )
        records = {"history": history, "evidence": report.to_json(), "trial": trial.to_json()}
        for name, record in records.items():
            text = json.dumps(record, indent=1, default=float) + "\n"
            content[f"{name}.json"] = text.encode()
        write_folder_atomically(self.directory / "trials" / str(number), content)
        return trial

    def _cost(self, file: pathlib.Path, verdict) -> dict:
        """Ask the target's compiler what a file costs, or time it in turns with the float file."""
        if compiles(self.target):
            compiled = _require_compiled(verdict)
            return {
                "latency": compiled.seconds,
                "reference_latency": self.reference.latency,
                "flash": compiled.flash,
                "cycles": compiled.cycles,
            }
        before, after = benchmark([self.directory / _FLOAT_FILE, file], self.runs).measurements
        return {"latency": after.median, "reference_latency": before.median}
