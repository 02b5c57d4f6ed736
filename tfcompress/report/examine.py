"""Measures everything about a file that a report says."""

import contextlib
import datetime
import importlib.metadata
import os
import pathlib
import platform
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from exporters.benchmarking import OperationTime, benchmark
from exporters.compatibility import check_target
from exporters.inspection import Inspection, inspect
from exporters.layer_parity import LayerParity
from exporters.report import gzip_size
from exporters.running.runtime import Limits, find_runtime
from exporters.validation import Metric, file_metric, paired_outputs, validate
from tfcompress.data import gather
from tfcompress.hashing import hash_file
from tfcompress.machine import usable_cores
from tfcompress.on_tensorflow import call_on_tensorflow
from tfcompress.report.answers import find_answers
from tfcompress.report.findings import FileFindings, Findings, LayerFindings
from tfcompress.report.histories import read_trainings
from tfcompress.report.weights import file_sparsity, operation_weights
from tfcompress.search.results import read_result
from tfcompress.targets.target import Target, list_targets, load_target
from tfcompress.targets.vela import has_compiler
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
    class_names: Sequence[str] | None = None,
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
        class_names: the classes in the order of the outputs; by default the labels in the file.

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
    if targets is None:
        devices = [target for target in map(load_target, list_targets()) if has_compiler(target)]
    else:
        devices = [load_target(it) if isinstance(it, str) else it for it in targets]
    if data is not None:
        inputs, found = gather(data)
        labels = found if labels is None else np.asarray(labels)
        data = inputs if labels is None else (inputs, labels)

    files = [os.fspath(path) for path in (baseline, file) if path is not None]
    hashes = {path: hash_file(path) for path in (*files, *map(os.fspath, sources))}
    metrics, reference, agreement, noise_reference = {}, None, None, None
    class_names = () if class_names is None else tuple(class_names)
    if data is not None:
        settings = {"metric": metric, "limits": limits}
        if baseline is not None:
            metrics[files[0]] = file_metric(baseline, data, kernels[0], **settings)
        against, float_file = baseline, baseline
        reference = noise_reference = None if baseline is None else files[0]
        if model is not None:
            against = model
            float_file = call_on_tensorflow(
                __name__, "float_equivalent", model, file, shown_as="examine"
            )
            reference = f"the Keras model {model.name}"
            noise_reference = f"{model.name} with its weights in float"
        if against is None:
            metrics[files[-1]] = file_metric(file, data, kernels[0], **settings)
        else:
            settings |= {"kernels": kernels, "float_file": float_file}
            agreement = validate(file, against, data, **settings)
            metrics[files[-1]] = agreement.metric
    own = inspect(file, () if model is None else _layer_paths(model))
    answers = None
    if data is not None:
        float_model, name = float_file or model, noise_reference
        if baseline is not None:
            float_model, name = baseline, os.path.basename(files[0])
        ran = kernels[0] if agreement is None else agreement.ran[0].kernels
        found, wanted = paired_outputs(file, float_model, inputs, ran, limits, named_by=model)
        answers = find_answers(
            found[0],
            None if float_model is None else wanted[0],
            labels,
            inputs,
            name,
            class_names or own.labels,
        )
    timed = {"kernels": (kernels[0],), "limits": limits}
    times = {m.file: m for m in benchmark(files, runs, **timed).measurements} if runs else {}
    profiled = benchmark(file, 1, profile=True, **timed).measurements if profile else ()
    if baseline is not None:
        baseline = _file_findings(inspect(baseline), hashes, metrics, times)
    return Findings(
        file=_file_findings(own, hashes, metrics, times),
        layers=_layer_findings(
            read_model(file),
            own,
            () if agreement is None else agreement.layers,
            profiled[0].operations if profile else (),
        ),
        baseline=baseline,
        metric_name=getattr(metric, "__name__", "metric") if metric else "accuracy",
        reference=reference,
        agreement=agreement,
        noise_reference=noise_reference if agreement is not None and agreement.layers else None,
        answers=answers,
        verdicts=tuple(check_target(file, device) for device in devices),
        baseline_verdicts=()
        if baseline is None
        else tuple(check_target(files[0], device) for device in devices if device.compiler),
        trainings=trainings,
        search=found_by,
        runtime=str(find_runtime()) if runs or profile or data is not None else None,
        environment=_environment(),
        sources=hashes,
        command=command,
    )


def _layer_paths(model) -> list[str]:
    from tfcompress.keras_graph.selection import walk_layers

    return [path for path, _ in walk_layers(model)]


def _file_findings(
    inspection: Inspection, hashes: dict[str, str], metrics: dict[str, float], times
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
        metric=metrics.get(inspection.path),
        timing=times.get(inspection.path),
    )


def float_equivalent(model: Any, file: Path) -> bytes | None:
    """Convert a model's weights in float, for the batch size and the tensor names of its file.

    None for a model that TFMOT has trained with quantization: its ranges are in its graph.
    """
    # A file without a model is examined without TensorFlow.
    from exporters.converting import convert_model
    from tfcompress.compat.tf_keras_models import is_tf_keras_model
    from tfcompress.keras_graph.wrapper import unwrap
    from tfcompress.legacy.wrappers import has_learned_ranges
    from tfcompress.tflite.editing import compact

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
        "processor cores": str(usable_cores()),
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
    agreements: Sequence[LayerParity],
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
