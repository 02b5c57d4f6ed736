"""Everything that can be measured of a file, in one call."""

import os
import pathlib
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from exporters.benchmarking import Measurement, OperationTime, benchmark
from exporters.compatibility import check_target
from exporters.inspection import Inspection, inspect
from exporters.report import gzip_size
from exporters.running.runtime import Limits, find_runtime
from exporters.validation import Metric
from tfcompress.data import gather
from tfcompress.report.comparison import Comparison, compare
from tfcompress.report.environment import describe_environment, hash_file
from tfcompress.report.findings import FileFindings, Findings
from tfcompress.report.layers import layer_findings
from tfcompress.report.search_result import read_search_result
from tfcompress.report.trainings import read_trainings
from tfcompress.report.weights import file_sparsity
from tfcompress.targets.target import Target, list_targets, load_target
from tfcompress.targets.vela import has_compiler
from tfcompress.tflite.flatbuffer import read_model

Path = str | os.PathLike


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
    """Find out everything that a report says about a file.

    Args:
        file: the .tflite file.
        model: the Keras model that it was made of. With it and ``data`` the outputs are compared
            with the model's, and every layer with the same weights in float.
        baseline: the float .tflite file that it is to be better than. Without ``model`` the
            outputs and the layers are compared with it: it should have the same weights then.
        data: examples, with labels for the metric: whatever ``fit`` takes. Without it nothing is
            compared.
        labels: labels, where ``data`` has none.
        metric: from the outputs (real numbers) and the labels to a number; by default accuracy,
            where the first output is a row of classes and the labels name classes.
        targets: devices to judge the file for; all that are known by default.
        history: how the metrics went in training; see ``read_trainings``.
        search: ``result.json`` of the search that found the file, or its folder.
        kernels: kernel sets to compare under; the first one gives the metric and is timed.
        runs: runs of each file for its latency, measured in turns; 0 leaves it out.
        profile: whether to time every operation by itself, too.
        limits: what child processes may use.
        sources: further files that the findings rest on, whose hashes are noted.
        command: the command that makes the findings again, to be noted.

    Returns:
        The findings: ``write_report`` makes a page of them, ``to_json`` plain data.

    Raises:
        FlatbufferError: a file is damaged.
        OSError: a file cannot be read.
        RunError: a file does not run.
        TypeError: ``data`` is of no kind that ``fit`` takes.
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
        raise ValueError(f"`runs` is a number of runs, 0 for none. Received: runs={runs}")
    trainings = () if history is None else read_trainings(history)
    found_by = None if search is None else read_search_result(search)
    if targets is None:
        devices = [target for target in map(load_target, list_targets()) if has_compiler(target)]
    else:
        devices = [load_target(it) if isinstance(it, str) else it for it in targets]
    examples = None if data is None else _labelled(data, labels)

    files = [os.fspath(path) for path in (baseline, file) if path is not None]
    hashes = {path: hash_file(path) for path in (*files, *map(os.fspath, sources))}
    comparison = Comparison()
    if data is not None:
        comparison = compare(file, model, baseline, examples, kernels, metric=metric, limits=limits)
    times = _times(files, runs, kernels[0], limits)
    own = inspect(file, () if model is None else _layer_paths(model))
    return Findings(
        file=_file_findings(own, hashes, comparison.metric, times),
        layers=layer_findings(
            read_model(file),
            own,
            comparison.layers,
            _profile(file, kernels[0], limits) if profile else (),
        ),
        baseline=None
        if baseline is None
        else _file_findings(inspect(baseline), hashes, comparison.baseline_metric, times),
        metric_name=getattr(metric, "__name__", "metric") if metric else "accuracy",
        reference=comparison.reference,
        agreement=comparison.agreement,
        noise_reference=comparison.noise_reference,
        verdicts=tuple(check_target(file, device) for device in devices),
        trainings=trainings,
        search=found_by,
        runtime=str(find_runtime()) if runs or profile or data is not None else None,
        environment=describe_environment(),
        sources=hashes,
        command=command,
    )


def _labelled(data: Any, labels: np.ndarray | None) -> Any:
    inputs, found = gather(data)
    labels = found if labels is None else np.asarray(labels)
    return inputs if labels is None else (inputs, labels)


def _times(files: list[str], runs: int, kernel_set: str, limits) -> dict[str, Measurement]:
    if not runs:
        return {}
    result = benchmark(files, runs, kernels=(kernel_set,), limits=limits)
    return {measurement.file: measurement for measurement in result.measurements}


def _profile(file: Path, kernel_set: str, limits) -> tuple[OperationTime, ...]:
    result = benchmark(file, 1, kernels=(kernel_set,), profile=True, limits=limits)
    return result.measurements[0].operations


def _layer_paths(model) -> list[str]:
    from tfcompress.keras_graph.selection import walk_layers

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
