"""Measures everything about a file that a report says."""

import contextlib
import dataclasses
import datetime
import importlib.metadata
import os
import pathlib
import platform
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from exporters.comparing.agreement import Agreement
from exporters.comparing.layer_agreement import LayerAgreement
from exporters.comparing.validation import Metric, file_metric, validate
from exporters.download_size import gzip_size
from exporters.judging.target_check import check_target
from exporters.reading.inspection import Inspection, inspect
from exporters.running.runtime import Limits, find_runtime
from exporters.timing.benchmarking import OperationTime, benchmark
from tfcompress.data import gather
from tfcompress.hashing import hash_file
from tfcompress.report.findings import FileFindings, Findings, LayerFindings
from tfcompress.report.histories import read_trainings
from tfcompress.report.weights import file_sparsity, operation_weights
from tfcompress.search.results import read_result
from tfcompress.targets.target import Target, list_targets, load_target
from tfcompress.tflite.flatbuffer import read_model
from tfcompress.tflite.model import TFLiteModel

Path = str | os.PathLike
_PACKAGES = ("tfcompress", "ai-edge-litert", "tflite-runtime", "tensorflow", "keras", "numpy")


def examine(
    file: Path,
    *,
    model: Any = None,
    baseline: Path | None = None,
    data: Any = None,
    labels: np.ndarray | None = None,
    metric: Metric | None = None,
    targets: Sequence[str | Target] | None = None,
    history: Any = None,
    search: Path | None = None,
    kernels: Sequence[str] = ("xnnpack", "builtin"),
    runs: int = 50,
    profile: bool = False,
    limits: Limits | None = None,
    sources: Iterable[Path] = (),
    command: str | None = None,
) -> Findings:
    """Measure everything that a report says about a file.

    Args:
        file: the .tflite file.
        model: the Keras model that it was made of. With ``data``, the outputs are compared with
            the model's, and every layer with the same weights in float.
        baseline: the float .tflite file to compare it with. Without ``model``, the outputs and the
            layers are compared with it: it should have the same weights then.
        data: examples, with labels for the metric: whatever ``fit`` takes. Without it nothing is
            compared.
        labels: labels, if ``data`` has none.
        metric: a function from the outputs (real numbers) and the labels to a number; by default
            accuracy, if the first output is a row of classes and the labels are classes.
        targets: devices to check the file for; all known ones by default.
        history: the metrics during training: what ``fit`` returned, its ``history``, a .json or
            .csv file of it, or a list or dict of these.
        search: ``result.json`` of the search that found the file, or its folder.
        kernels: kernel sets to compare under; the first one gives the metric and is timed.
        runs: runs of each file for its latency, measured in turns; 0 for none.
        profile: whether to time every operation by itself, too.
        limits: what child processes may use.
        sources: further files that the findings depend on, whose hashes are recorded.
        command: the command that reproduces the findings, to be recorded.

    Returns:
        The findings: ``write_report`` makes a page of them, ``to_json`` plain data.

    Raises:
        FlatbufferError: a file is damaged.
        OSError: a file cannot be read.
        RunError: a file does not run.
        TypeError: ``data`` is of a kind that ``fit`` does not take.
        ValueError: a target is unknown, the data does not fit the file, ``history`` or ``search``
            holds something else, or ``runs`` is negative.

    Example:
    ```python
    findings = tfc.examine(
        "model_int8.tflite", model=model, baseline="model_float.tflite", data=(x_test, y_test)
    )
    tfc.write_report(findings, "report")
    ```
    """
    if runs < 0:
        raise ValueError(f"`runs` must be a number of runs, 0 for none. Received: runs={runs}")
    trainings = () if history is None else read_trainings(history)
    found_by = None if search is None else read_result(search)
    devices = [
        load_target(target) if isinstance(target, str) else target
        for target in (list_targets() if targets is None else targets)
    ]
    if data is not None:
        inputs, found = gather(data)
        labels = found if labels is None else np.asarray(labels)
        data = inputs if labels is None else (inputs, labels)

    files = [os.fspath(path) for path in (baseline, file) if path is not None]
    hashes = {path: hash_file(path) for path in (*files, *map(os.fspath, sources))}
    comparison = _Comparison()
    if data is not None:
        comparison = _compare(file, model, baseline, data, kernels, metric=metric, limits=limits)
    timed = {"kernels": (kernels[0],), "limits": limits}
    times = {m.file: m for m in benchmark(files, runs, **timed).measurements} if runs else {}
    profiled = benchmark(file, 1, profile=True, **timed).measurements if profile else ()
    own = inspect(file, () if model is None else _layer_paths(model))
    if baseline is not None:
        baseline = _file_findings(inspect(baseline), hashes, comparison.baseline_metric, times)
    return Findings(
        file=_file_findings(own, hashes, comparison.metric, times),
        layers=_layer_findings(
            read_model(file),
            own,
            () if comparison.agreement is None else comparison.agreement.layers,
            profiled[0].operations if profile else (),
        ),
        baseline=baseline,
        metric_name=getattr(metric, "__name__", "metric") if metric else "accuracy",
        reference=comparison.reference,
        agreement=comparison.agreement,
        noise_reference=comparison.noise_reference,
        verdicts=tuple(check_target(file, device) for device in devices),
        trainings=trainings,
        search=found_by,
        runtime=str(find_runtime()) if runs or profile or data is not None else None,
        environment=_environment(),
        sources=hashes,
        command=command,
    )


def _layer_paths(model) -> list[str]:
    from tfcompress.graph.selection import walk_layers

    return [path for path, _ in walk_layers(model)]


def _file_findings(
    inspection: Inspection, hashes: dict[str, str], metric: float | None, times
) -> FileFindings:
    content = pathlib.Path(inspection.path).read_bytes()
    return FileFindings(
        name=inspection.path,
        sha256=hashes[inspection.path],
        size=inspection.size,
        gzip_size=gzip_size(content),
        parameters=inspection.parameters,
        sparsity=file_sparsity(read_model(content)),
        macs=inspection.macs,
        operations=inspection.operation_counts,
        float_operations=sum(operation.float_ for operation in inspection.operations),
        min_runtime=inspection.min_runtime,
        metric=metric,
        timing=times.get(inspection.path),
    )


@dataclasses.dataclass(frozen=True)
class _Comparison:
    """What running a file on examples showed; the attributes are those of ``Findings``."""

    metric: float | None = None
    baseline_metric: float | None = None
    agreement: Agreement | None = None
    reference: str | None = None
    noise_reference: str | None = None


def _compare(
    file: Path, model: Any, baseline: Path | None, examples: Any, kernels, **settings
) -> _Comparison:
    """Compare a file with its model, or else with a float file, on the same examples.

    The first kernel set gives the metrics; settings are ``metric`` and ``limits`` of ``validate``.
    """

    def own_metric(path):
        return file_metric(path, examples, kernels[0], **settings)

    baseline_metric = None if baseline is None else own_metric(baseline)
    if model is None and baseline is None:
        return _Comparison(metric=own_metric(file))
    if model is not None:
        against, float_file = model, _float_equivalent(model, file)
        names = f"the Keras model {model.name}", f"{model.name} with its weights in float"
    else:
        against = float_file = baseline
        names = (os.fspath(baseline),) * 2
    agreement = validate(
        file, against, examples, kernels=kernels, float_file=float_file, **settings
    )
    return _Comparison(
        metric=agreement.metric,
        baseline_metric=baseline_metric,
        agreement=agreement,
        reference=names[0],
        noise_reference=names[1] if agreement.layers else None,
    )


def _float_equivalent(model: Any, file: Path) -> bytes | None:
    """Convert a model's weights in float, for the batch size and the tensor names of its file.

    None for a model that TFMOT has trained with quantization: its ranges are in its graph.
    """
    # A file without a model is examined without TensorFlow.
    from exporters.converting import convert_model
    from tfcompress.graph.wrapper import unwrap
    from tfcompress.legacy.wrappers import has_learned_ranges, is_tf_keras_model
    from tfcompress.tflite.compact import compact

    if is_tf_keras_model(model) and has_learned_ranges(model):
        return None
    main = read_model(file).subgraphs[0]
    sizes = {main.tensors[index].shape_signature[0] for index in main.inputs}
    batch_size = None if -1 in sizes else max(sizes)
    return compact(convert_model(unwrap(model), "float32", batch_size=batch_size).flatbuffer)


def _environment() -> dict[str, str]:
    """Describe this computer and the packages that are installed, without importing them."""
    found = {
        "made": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "python": platform.python_version(),
    }
    for name in _PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return {
        **found,
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "processor cores": str(len(os.sched_getaffinity(0))),
    }


def _processor() -> str:
    with contextlib.suppress(OSError):
        for line in pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            name, _, value = line.partition(":")
            if name.strip() in ("model name", "Model"):
                return value.strip()
    return platform.processor() or "unknown"


def _layer_findings(
    model: TFLiteModel,
    inspection: Inspection,
    agreements: Sequence[LayerAgreement],
    times: Sequence[OperationTime],
) -> tuple[LayerFindings, ...]:
    """Combine what was read, compared and timed for each operation of the main graph."""
    noise = {agreement.index: agreement for agreement in agreements}
    seconds = {time.index: time.seconds for time in times}
    main = [operation for operation in inspection.operations if operation.subgraph == 0]
    return tuple(
        LayerFindings(
            index=report.index,
            operation=report.name,
            layer=report.layer,
            dtype=report.dtype,
            float_=report.float_,
            size=report.size,
            macs=report.macs,
            weights=operation_weights(model, model.subgraphs[0].operations[report.index]),
            sqnr=noise[report.index].sqnr if report.index in noise else None,
            inherited=noise[report.index].inherited if report.index in noise else None,
            seconds=seconds.get(report.index),
        )
        for report in main
    )
