"""Whether a file does what a model does: on data, under every runtime and kernel set present."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from exporters.layer_parity import compare_layers, first_wrong
from exporters.parity import (
    Agreement,
    OutputAgreement,
    RunAgreement,
    compare,
)
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
from exporters.running.tensor_details import ports, random_inputs
from exporters.task_metric import TaskMetric, count_classes, find_task_metric
from tfcompress.data import Inputs, first_examples, flattened, gather
from tfcompress.tflite.flatbuffer import read_model

__all__ = ["Agreement", "OutputAgreement", "RunAgreement", "validate"]

_BATCH = 64
_LAYER_EXAMPLES = 8
_INNER_KERNELS = "builtin"  # a delegate keeps its inner values to itself

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
) -> Agreement:
    """Compare what a file computes with what it should.

    Files are run in child processes, those that this process has made too: the reference kernels,
    for one, abort on a softmax whose input has a tiny scale, as an untrained model gives it.

    Args:
        file: the file's path, or its bytes.
        against: what it should compute: a Keras model or another callable on batches of real
            numbers; the path of another .tflite file; or an array, or a list or dict of arrays
            for several outputs, of the expected real numbers.
        data: examples: whatever ``fit`` takes. Arrays of an input's own integer type are taken as
            quantized already, others as real numbers. Random noise when not given, which the
            agreement says.
        labels: labels for ``metric``; by default those in ``data``, if it has any.
        runtimes: runtimes, or their names; "all" for every one that is present; by default the
            preferred one.
        kernels: kernel sets: "xnnpack", "builtin", "reference".
        signature: the signature to compare; by default the main graph.
        metric: from the outputs (real numbers) and the labels to a number; by default the accuracy
            of the first output, where it gives classes, or yes-or-no answers, and the labels fit:
            see ``find_task_metric``.
        tolerance: the step in which differences of float outputs are judged.
        float_file: the same model as a float .tflite file: with it the result says where the
            quantized one departs. ``against``, if that is a file, serves for it. For the main graph
            alone.
        lowest_sqnr: the ratio in dB below which an operation's output has gone wrong.
        limits: what child processes may use.

    Returns:
        The agreement, for each runtime and kernel set.

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
    inputs, found = (_noise(file, signature), None) if noise else gather(data)
    labels = found if labels is None else np.asarray(labels)
    runs, reference, chosen = [], None, ""
    with Children(limits) as children:
        for runtime in _found(runtimes):
            for kernel_set in kernels:
                try:
                    child = children.of(runtime)
                    loaded = load_isolated(
                        file, runtime, kernel_set, signature=signature, child=child
                    )
                    fed = _by_name(against, loaded, inputs)
                    if reference is None:
                        reference = _reference(against, loaded, inputs, limits)
                        chosen = _chosen(metric, reference, labels)
                    outputs = loaded.predict(fed, real=False)
                except RunError as error:
                    runs.append(RunAgreement(str(runtime), kernel_set, error=str(error)))
                    continue
                agreements = _compared(loaded.outputs, outputs, reference, tolerance)
                score = _score(chosen, _real(loaded.outputs, outputs), labels)
                runs.append(RunAgreement(str(runtime), kernel_set, agreements, score))
        if all(run.error is not None for run in runs):
            raise RunError("the file does not run: " + "; ".join(str(run.error) for run in runs))
        if float_file is None and isinstance(against, bytes | str | os.PathLike):
            float_file = against
        inner = float_file is not None and signature is None
        layers = _layers(file, float_file, inputs, limits) if inner else ()
    return Agreement(
        examples=len(reference[0]),
        runs=tuple(runs),
        reference_metric=_score(chosen, reference, labels),
        layers=layers,
        first_wrong=first_wrong(layers, lowest_sqnr),
        classes=count_classes(labels),
        noise=noise,
        metric_name=None if isinstance(chosen, str) else chosen.name,
        no_metric=chosen if isinstance(chosen, str) else None,
    )


def file_metric(
    file: File,
    data: Any,
    kernels: str,
    *,
    metric: Metric | None = None,
    limits: Limits | None = None,
) -> float | None:
    """Compute the task metric of a file alone.

    Args:
        file: the file's path, or its bytes.
        data: examples and labels, as ``validate`` takes them.
        kernels: the kernel set.
        metric: see ``validate``.
        limits: likewise.

    Returns:
        The metric; None where neither ``metric`` nor the labels give one.

    Raises:
        RunError: the file does not run.
        ValueError: shapes or labels do not fit; or a value is not finite.
    """
    inputs, labels = gather(data)
    with load_isolated(file, kernels=kernels, limits=limits) as loaded:
        outputs = loaded.predict(inputs)
        return _score(_chosen(metric, outputs, labels), outputs, labels)


def _noise(file: File, signature: str | None) -> Inputs:
    """Make random inputs of a file: over the whole range of quantized ones."""
    takes, _ = ports(read_model(file), signature)
    batches = [random_inputs(takes, seed) for seed in range(_BATCH)]
    arrays = [np.concatenate(column)[:_BATCH] for column in zip(*batches, strict=True)]
    if len(arrays) == 1:
        return arrays
    return {port.name: array for port, array in zip(takes, arrays, strict=True)}


def _found(runtimes) -> list[Runtime]:
    if runtimes == "all":
        return list(find_runtimes()) or [find_runtime()]
    if isinstance(runtimes, str):
        raise ValueError(f'`runtimes` is a list of runtimes, or "all". Received: {runtimes!r}')
    return [find_runtime(runtime) for runtime in runtimes or (None,)]


def _reference(
    against, loaded: LoadedModel, inputs: Inputs, limits: Limits | None
) -> list[np.ndarray]:
    """Compute what the file should give, in the order of its outputs."""
    named = _by_name(against, loaded, inputs)
    real = _real_inputs(loaded, named)
    if isinstance(inputs, list) and isinstance(real, dict):
        real = [real[name] for name in named]
    if isinstance(against, bytes | str | os.PathLike):
        with load_isolated(
            against, kernels=_INNER_KERNELS, signature=loaded.signature, limits=limits
        ) as other:
            expected = other.predict(real)
    elif isinstance(against, np.ndarray | list | tuple | Mapping):
        expected = _ordered(against, loaded)
    elif callable(against):
        expected = _called(against, real, loaded)
    else:
        raise TypeError(
            "A file is compared with a Keras model or another callable, another file, or arrays. "
            f"Received: {type(against).__name__}"
        )
    if len(expected) != len(loaded.outputs):
        raise ValueError(
            f"The file has {len(loaded.outputs)} outputs: {[p.name for p in loaded.outputs]}. "
            f"Received a reference with {len(expected)}"
        )
    return expected


def _by_name(against, loaded: LoadedModel, inputs: Inputs) -> Inputs:
    """Give a list of inputs, in the order of a Keras model, the names that a file has for them."""
    names = [getattr(tensor, "name", "") for tensor in _declared_inputs(against)]
    same = sorted(names) == sorted(port.name for port in loaded.inputs)
    if isinstance(inputs, list) and len(inputs) == len(names) and same:
        return dict(zip(names, inputs, strict=True))
    return inputs


def _declared_inputs(against) -> Sequence:
    if _is_model(against):
        from tfcompress.keras_graph.wrapper import unwrap  # loads Keras, as the model has done

        against = unwrap(against)
    return getattr(against, "inputs", None) or ()


def _real_inputs(loaded: LoadedModel, inputs: Inputs) -> Inputs:
    """Turn examples that are quantized already back into real numbers."""
    named = {port.name: port for port in loaded.inputs}

    def real(port, array):
        return port.to_real(array) if array.dtype == port.dtype else array

    if isinstance(inputs, dict):
        return {
            name: real(named[name], array) if name in named else array
            for name, array in inputs.items()
        }
    return [real(port, array) for port, array in zip(loaded.inputs, inputs, strict=False)]


def _called(against: Callable, real: Inputs, loaded: LoadedModel) -> list[np.ndarray]:
    """Call a model on batches and join what it returns."""
    columns = [_ordered(_call(against, batch), loaded) for batch in _batches(real)]
    return [np.concatenate(column) for column in zip(*columns, strict=True)]


def _call(against: Callable, batch: Inputs) -> Any:
    single = isinstance(batch, list) and len(batch) == 1
    argument = batch[0] if single else batch
    # A Keras model must not train on what it is judged on: dropout off, moving averages kept.
    return against(argument, training=False) if _is_model(against) else against(argument)


def _is_model(against: Any) -> bool:
    return hasattr(against, "trainable_variables")


def _batches(inputs: Inputs) -> Iterator[Inputs]:
    arrays = list(inputs.values()) if isinstance(inputs, dict) else inputs
    for start in range(0, len(arrays[0]), _BATCH):
        rows = slice(start, start + _BATCH)
        if isinstance(inputs, dict):
            yield {name: array[rows] for name, array in inputs.items()}
        else:
            yield [array[rows] for array in inputs]


def _ordered(outputs: Any, loaded: LoadedModel) -> list[np.ndarray]:
    """List outputs in the file's order: by name where the names are the file's."""
    names = [port.name for port in loaded.outputs]
    if isinstance(outputs, Mapping) and set(outputs) == set(names):
        outputs = [outputs[name] for name in names]
    return [np.asarray(output) for output in flattened(outputs)]


def _real(given, outputs: list[np.ndarray]) -> list[np.ndarray]:
    return [port.to_real(output) for port, output in zip(given, outputs, strict=True)]


def _compared(given, outputs, reference, tolerance: float) -> tuple[OutputAgreement, ...]:
    return tuple(
        compare(port, output, expected, tolerance)
        for port, output, expected in zip(given, outputs, reference, strict=True)
    )


def _chosen(metric: Metric | None, outputs: list[np.ndarray], labels) -> TaskMetric | str:
    """Return the user's metric, or what the outputs and labels allow, or why there is none."""
    if metric is None or labels is None:
        return find_task_metric(outputs[0], labels)
    return TaskMetric(getattr(metric, "__name__", "metric"), metric)


def _score(chosen: TaskMetric | str, outputs: list[np.ndarray], labels) -> float | None:
    return None if isinstance(chosen, str) else float(chosen.compute(outputs, labels))


def _layers(file: File, float_file: File, inputs: Inputs, limits):
    """Run both files with every inner value kept, on a few examples."""
    few = first_examples(inputs, _LAYER_EXAMPLES)
    settings = {"kernels": _INNER_KERNELS, "keep_all": True, "limits": limits}
    with (
        load_isolated(file, **settings) as quantized,
        load_isolated(float_file, **settings) as reference,
    ):
        return compare_layers(quantized, reference, few, _real_inputs(quantized, few))
