"""Validating a file against a model: on data, under every installed runtime and kernel set."""

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from exporters.layer_parity import compare_layers
from exporters.parity import ParityReport, RunParity, compare, misfit
from exporters.running.runtime import (
    KERNELS,
    Children,
    Limits,
    LoadedModel,
    RunError,
    Runtime,
    find_runtime,
    find_runtimes,
    load_isolated,
)
from exporters.running.tensor_details import input_output_details, random_inputs
from exporters.task_metric import TaskMetric, count_classes, find_task_metric
from tfcompress.data import (
    Inputs,
    as_called,
    as_labels,
    first_examples,
    flattened,
    gather,
    iterate_inputs,
)
from tfcompress.tflite.flatbuffer import read_model
from tfcompress.tflite.model import float_operations

_BATCH = 64
_LAYER_EXAMPLES = 8
_INNER_KERNELS = "builtin"  # a delegate does not expose intermediate tensors

File = bytes | str | os.PathLike
Metric = Callable[[list[np.ndarray], np.ndarray], float]


def validate(
    file: File,
    against: Any,
    data: Any = None,
    labels: np.ndarray | None = None,
    *,
    runtimes: Sequence[Runtime | str] | str | None = None,
    kernels: Sequence[str] = tuple(KERNELS),
    signature: str | None = None,
    metric: Metric | None = None,
    tolerance: float = 1e-4,
    float_file: File | None = None,
    lowest_sqnr: float = 10.0,
    limits: Limits | None = None,
) -> ParityReport:
    """Compare the outputs of a file with those of a model.

    Every file runs in a child process: kernels may abort even on files made here, such as the
    reference kernels on a softmax whose input has the tiny scale of an untrained model.

    Args:
        file: the file's path, or its bytes.
        against: the reference: a Keras model or another callable on batches of real numbers; the
            path of another .tflite file; or the expected real numbers, as an array, or a list or
            dict of arrays for several outputs.
        data: validation data: whatever ``fit`` takes. Arrays of an input's own integer type count
            as quantized, others as real numbers. Random noise when not given, which the report
            says.
        labels: labels for ``metric``; by default those in ``data``, if any.
        runtimes: runtimes, or their names; "all" for all that are installed; by default the
            preferred one.
        kernels: kernel sets: "xnnpack", "builtin", "reference"; and "micro", in the interpreter of
            TensorFlow Lite for Microcontrollers (extra ``micro``).
        signature: the signature to compare; by default the main graph.
        metric: a function from the outputs (real numbers) and the labels to a number; by default
            the accuracy of the first output, if it has classes or yes-or-no answers and the labels
            fit them.
        tolerance: the step in which differences of float outputs are counted.
        float_file: the same model as a float .tflite file, to report which operations of the main
            graph differ from it; ``against`` by default, if that is such a file.
        lowest_sqnr: the ratio in dB below which an operation's output counts as wrong.
        limits: what child processes may use.

    Returns:
        The numerical parity, for each runtime and kernel set.

    Raises:
        FlatbufferError: a file is damaged.
        RunError: the file runs under no kernel set, or the reference file does not run.
        RuntimeError: a runtime is missing.
        TypeError: ``against`` or ``data`` is none of the above.
        ValueError: shapes, numbers of outputs, or labels do not fit; a value is not finite; or
            there is no such signature.

    Example:
    ```python
    agreement = validate("model_int8.tflite", against=model, data=x_test, labels=y_test)
    print(agreement.to_text())
    ```
    """
    noise = data is None
    inputs, own_labels = (_noise(file, signature), None) if noise else gather(data)
    labels = own_labels if labels is None else as_labels(labels)
    runs, reference, task_metric, misfits = [], None, "", ()
    with Children(limits) as children:
        for runtime in _runtimes(runtimes):
            for kernel_set in kernels:
                try:
                    chosen = find_runtime(runtime, kernel_set)
                    child = children.of(chosen)
                    loaded = load_isolated(
                        file, chosen, kernel_set, signature=signature, child=child
                    )
                    if reference is None:
                        reference = _reference(against, loaded, inputs, limits)
                        task_metric = _task_metric(metric, reference, labels)
                        misfits = () if noise else _misfits(against, loaded, inputs)
                    outputs = loaded.predict(_by_name(against, loaded, inputs), real=False)
                except RunError as error:
                    runs.append(RunParity(str(chosen), kernel_set, error=str(error)))
                    continue
                columns = list(zip(loaded.outputs, outputs, reference, strict=True))
                compared = tuple(compare(*column, tolerance) for column in columns)
                real = [details.to_real(output) for details, output, _ in columns]
                score = _score(task_metric, real, labels)
                runs.append(RunParity(str(chosen), kernel_set, compared, score))
        if all(run.error is not None for run in runs):
            raise RunError("the file does not run: " + "; ".join(str(run.error) for run in runs))
        if float_file is None and isinstance(against, bytes | str | os.PathLike):
            float_file = against if float_operations(read_model(against)) else None
        layers = ()
        if float_file is not None and signature is None:
            layers = _layers(file, float_file, inputs, limits)
    wrong = (layer for layer in layers if layer.sqnr < lowest_sqnr <= layer.inherited)
    return ParityReport(
        examples=len(reference[0]),
        runs=tuple(runs),
        reference_metric=_score(task_metric, reference, labels),
        layers=layers,
        first_wrong=next(wrong, None),
        classes=count_classes(reference[0], labels),
        noise=noise,
        metric_name=None if isinstance(task_metric, str) else task_metric.name,
        no_metric=task_metric if isinstance(task_metric, str) else None,
        misfits=misfits,
    )


def file_metric(
    file: File,
    data: Any,
    kernels: str,
    *,
    metric: Metric | None = None,
    limits: Limits | None = None,
) -> float | None:
    """Return the task metric of a file by itself; None if there is none."""
    inputs, labels = gather(data)
    with load_isolated(file, kernels=kernels, limits=limits) as loaded:
        outputs = loaded.predict(inputs)
        return _score(_task_metric(metric, outputs, labels), outputs, labels)


def paired_outputs(
    file: File,
    against: Any,
    data: Any,
    kernels: str = "xnnpack",
    limits: Limits | None = None,
    named_by: Any = None,
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Return the outputs of a file and what they should be, as real numbers, in the file's order.

    Without ``against`` they should be what they are. ``named_by`` is the Keras model whose inputs a
    list of arrays is for; ``against`` by default.
    """
    inputs, _ = gather(data)
    with load_isolated(file, kernels=kernels, limits=limits) as loaded:
        named = _by_name(against if named_by is None else named_by, loaded, inputs)
        found = loaded.predict(named)
        if against is None:
            return found, found
        # A file takes a list in an order of its own; a model in that of the data.
        by_name = isinstance(against, bytes | str | os.PathLike)
        return found, _reference(against, loaded, named if by_name else inputs, limits)


def squared_errors(file: File, against: Any, data: Any) -> np.ndarray:
    """Compute the squared error of a file's outputs, as a float64 array (examples,).

    It is relative to the mean energy of each output, and averaged over the outputs.
    """
    found, wanted = paired_outputs(file, against, data)

    def energies(output):
        return np.square(output.astype(np.float64)).reshape(len(output), -1).sum(1)

    errors = [
        energies(one - other) / max(energies(one).mean(), 1e-300)
        for one, other in zip(wanted, found, strict=True)
    ]
    return np.mean(errors, axis=0)


def _noise(file: File, signature: str | None) -> Inputs:
    """Return random examples for a file."""
    details, _ = input_output_details(read_model(file), signature)
    batches = [random_inputs(details, seed) for seed in range(_BATCH)]
    arrays = [np.concatenate(column)[:_BATCH] for column in zip(*batches, strict=True)]
    if len(arrays) == 1:
        return arrays
    return {each.name: array for each, array in zip(details, arrays, strict=True)}


def _runtimes(runtimes) -> list[Runtime]:
    """Return the requested runtimes."""
    if runtimes == "all":
        return list(find_runtimes()) or [find_runtime()]
    if isinstance(runtimes, str):
        raise ValueError(f'`runtimes` must be a list, or "all". Received: {runtimes!r}')
    return [find_runtime(runtime) for runtime in runtimes or (None,)]


def _reference(
    against, loaded: LoadedModel, inputs: Inputs, limits: Limits | None
) -> list[np.ndarray]:
    """Return the expected outputs, in the order of the file's."""
    named = _by_name(against, loaded, inputs)
    real = _dequantized(loaded, named)
    if isinstance(inputs, list) and isinstance(real, dict):
        real = [real[name] for name in named]
    if isinstance(against, bytes | str | os.PathLike):
        with load_isolated(
            against, kernels=_INNER_KERNELS, signature=loaded.signature, limits=limits
        ) as other:
            expected = other.predict(real)
    elif isinstance(against, np.ndarray | list | tuple | Mapping):
        expected = _ordered(against, loaded)
    elif _is_exact_elsewhere(against):
        expected = _ordered(against.predict_exactly(as_called(real)), loaded)
    elif callable(against):
        _require_same_inputs(against, loaded)
        mode = {"training": False} if _is_model(against) else {}
        batches = [
            _ordered(against(as_called(batch), **mode), loaded)
            for batch in iterate_inputs(real, _BATCH)
        ]
        expected = [np.concatenate(column) for column in zip(*batches, strict=True)]
    else:
        raise TypeError(
            "`against` must be a Keras model or another callable, another file, or arrays. "
            f"Received: {type(against).__name__}"
        )
    if len(expected) != len(loaded.outputs):
        raise ValueError(
            f"The file has {len(loaded.outputs)} outputs: {[o.name for o in loaded.outputs]}. "
            f"Received: a reference with {len(expected)} outputs"
        )
    return expected


def _is_exact_elsewhere(against) -> bool:
    """Tell whether a model computes as a device does in another process alone."""
    if not hasattr(against, "predict_exactly"):
        return False
    from tfcompress.backends import runs_on  # loads Keras, which the model has loaded

    return not runs_on("tensorflow")


def _require_same_inputs(against, loaded: LoadedModel) -> None:
    """Check that a Keras model takes what the file takes, as far as its shapes are known."""
    ours = [tuple(tensor.shape[1:]) for tensor in getattr(against, "inputs", None) or ()]
    theirs = [tuple(details.shape[1:]) for details in loaded.inputs]
    known = _is_model(against) and ours and not any(None in shape for shape in ours)
    if known and sorted(ours) != sorted(theirs):
        raise ValueError(
            f"Model {against.name!r} takes inputs of other shapes than the file: is it the model "
            f"that the file was made of? Received: {_shown(ours)} for the model, {_shown(theirs)} "
            "for the file"
        )


def _shown(shapes) -> str:
    """Write the shapes of examples."""
    return ", ".join("x".join(map(str, shape)) or "one number" for shape in shapes)


def _by_name(against, loaded: LoadedModel, inputs: Inputs) -> Inputs:
    """Name a list of inputs in a Keras model's order, if the file has the same names."""
    if _is_model(against):
        from tfcompress.keras_graph.wrapper import unwrap  # loads Keras, which the model has loaded

        against = unwrap(against)
    names = [getattr(tensor, "name", "") for tensor in getattr(against, "inputs", None) or ()]
    same = sorted(names) == sorted(details.name for details in loaded.inputs)
    if isinstance(inputs, list) and len(inputs) == len(names) and same:
        return dict(zip(names, inputs, strict=True))
    return inputs


def _misfits(against, loaded: LoadedModel, inputs: Inputs) -> tuple[str, ...]:
    """Say which inputs lie far from what the file holds."""
    named = _by_name(against, loaded, inputs)
    if isinstance(named, list):
        named = {d.name: array for d, array in zip(loaded.inputs, named, strict=False)}
    said = (misfit(d, named[d.name]) for d in loaded.inputs if d.name in named)
    return tuple(text for text in said if text is not None)


def _dequantized(loaded: LoadedModel, inputs: Inputs) -> Inputs:
    """Return quantized examples as real numbers."""

    def real(details, array):
        return details.to_real(array) if array.dtype == details.dtype else array

    if isinstance(inputs, list):
        return [real(details, array) for details, array in zip(loaded.inputs, inputs, strict=False)]
    named = {details.name: details for details in loaded.inputs}
    return {
        name: real(named[name], array) if name in named else array for name, array in inputs.items()
    }


def _is_model(against: Any) -> bool:
    return hasattr(against, "trainable_variables")


def _ordered(outputs: Any, loaded: LoadedModel) -> list[np.ndarray]:
    """List outputs in the file's order; a dict by the file's names."""
    names = [details.name for details in loaded.outputs]
    if isinstance(outputs, Mapping) and set(outputs) == set(names):
        outputs = [outputs[name] for name in names]
    # A tensor of PyTorch that can be trained through becomes no array.
    plain = (x.detach() if hasattr(x, "detach") else x for x in flattened(outputs))
    return [np.asarray(output) for output in plain]


def _task_metric(metric: Metric | None, outputs: list[np.ndarray], labels) -> TaskMetric | str:
    """Return the user's metric, the one that fits outputs and labels, or why there is none."""
    if metric is None or labels is None:
        return find_task_metric(outputs[0], labels)
    return TaskMetric(getattr(metric, "__name__", "metric"), metric)


def _score(metric: TaskMetric | str, outputs: list[np.ndarray], labels) -> float | None:
    return None if isinstance(metric, str) else float(metric.compute(outputs, labels))


def _layers(file: File, float_file: File, inputs: Inputs, limits):
    """Compare all tensors of both files on a few examples."""
    few = first_examples(inputs, _LAYER_EXAMPLES)
    settings = {"kernels": _INNER_KERNELS, "keep_all": True, "limits": limits}
    with (
        load_isolated(file, **settings) as quantized,
        load_isolated(float_file, **settings) as reference,
    ):
        return compare_layers(quantized, reference, few, _dequantized(quantized, few))
