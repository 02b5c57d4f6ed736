"""One trial: make, train, export, measure and save a candidate."""

import dataclasses
import json
import pathlib
import tempfile
import time

import keras
import numpy as np

from exporters import benchmark, export_tflite
from tfcompress.atomic_files import write_folder_atomically
from tfcompress.keras_graph.kernels import find_kernels
from tfcompress.keras_graph.wrapper import unwrap
from tfcompress.search.fine_tuning import FineTuning
from tfcompress.search.records import Reference, Trial
from tfcompress.search.reference import (
    EVIDENCE,
    FLOAT_FILE,
    ORIGINAL,
    count_macs,
    file_accuracy,
)
from tfcompress.search.space import Candidate
from tfcompress.search.teaching import spread


@dataclasses.dataclass(frozen=True)
class Workshop:
    """Where candidates of one model are made and measured.

    Attributes:
        directory: the search's.
        fine_tuning: makes and trains candidates.
        reference: what they are compared with.
        validation_data: (inputs, labels) that files are judged by.
        target: the device, or None.
        runs: timed runs of each file.
    """

    directory: pathlib.Path
    fine_tuning: FineTuning
    reference: Reference
    validation_data: tuple
    target: str | None
    runs: int

    def original(self) -> keras.Model:
        """Return a fresh copy of the model as it was given."""
        return keras.saving.load_model(self.directory / ORIGINAL, compile=False)

    def _model_of(self, trial: Trial | None) -> keras.Model:
        if trial is None:
            return self.original()
        path = self.directory / trial.files["weights"]
        return unwrap(keras.saving.load_model(path, compile=False))

    def run(
        self,
        number: int,
        candidate: Candidate,
        epochs: int,
        deadline: float,
        parent: Trial | None = None,
    ) -> Trial:
        """Make, train, export, measure and save a candidate.

        Args:
            number: the trial's number, which also seeds it.
            candidate: what to make.
            epochs: epochs of training.
            deadline: the moment of ``time.monotonic`` at which the training ends in any case.
            parent: the trial whose model this one goes on from; None for the original.

        Returns:
            The trial. Its folder is there whole, or not at all.
        """
        start = time.monotonic()
        done = None if parent is None else parent.candidate
        quantized = self.fine_tuning.make(self._model_of(parent), candidate, done)
        history: dict[str, list[float]] = {}
        made = time.monotonic()
        if candidate.trained:
            history = self.fine_tuning.train(quantized, candidate, done, epochs, deadline, number)
        training_seconds = time.monotonic() - made
        with tempfile.TemporaryDirectory() as making:
            file = pathlib.Path(making) / "model.tflite"
            exported = export_tflite(
                quantized,
                file,
                target=self.target,
                validation_data=spread(self.validation_data, EVIDENCE),
            )
            accuracy = file_accuracy(file, exported.report.agreement, self.validation_data)
            weights = pathlib.Path(making) / "model.keras"
            quantized.save(weights)
            timing = benchmark([self.directory / FLOAT_FILE, file], self.runs).measurements
            content = {"model.tflite": file.read_bytes(), "model.keras": weights.read_bytes()}
        before, after = timing
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
            accuracy_drop=self.reference.accuracy - accuracy,
            size=report.size,
            gzip_size=report.gzip_size,
            compression_ratio=self.reference.gzip_size / report.gzip_size,
            latency=after.median,
            reference_latency=before.median,
            parameters=user_model.count_params(),
            macs=count_macs(user_model),
            zeros=zeros(user_model),
            runs_on_target=report.verdict is None or report.verdict.ok,
        )
        content["history.json"] = _json(history)
        content["evidence.json"] = _json(report.to_json())
        content["trial.json"] = _json(trial.to_json())
        write_folder_atomically(self.directory / "trials" / str(number), content)
        return trial


def zeros(model: keras.Model) -> float:
    """Return the share of zeros among the weights of a model's kernels."""
    kernels = [keras.ops.convert_to_numpy(kernel.variable) for kernel in find_kernels(model)]
    return float(sum(np.sum(k == 0) for k in kernels) / sum(k.size for k in kernels))


def _json(content) -> bytes:
    return (json.dumps(content, indent=1, default=float) + "\n").encode()
