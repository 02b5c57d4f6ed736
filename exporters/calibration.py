"""Calibration: the ranges of a float file's tensors, observed on representative data."""

from collections.abc import Callable, Iterable, Iterator, Mapping

import keras
import numpy as np

from tfcompress.data import iterate_inputs
from tfcompress.keras_graph.inputs import checked_inputs, input_specs
from tfcompress.keras_graph.pixel_scaling import largest_magnitude, warn_of_scaled_pixels
from tfcompress.quantization.arithmetic.masks import (
    BELOW_SCORES,
    MASKED,
    NEAR,
    floor_of_scores,
    least_that_counts,
)
from tfcompress.quantization.deployed_graph import DeployedGraph
from tfcompress.quantization.kernels.lstm import cell_states
from tfcompress.quantization.planning import CellState
from tfcompress.tflite.interpreter import open_interpreter

_THREADS = 2


class RepresentativeData:
    """The representative data of one model: iterates over single examples, inputs by name."""

    def __init__(self, model: keras.Model, data):
        self._model, self._data = model, data
        self._specs = input_specs(model)
        # Every example is checked before anything is converted.
        largest = [largest_magnitude(arrays) for arrays in self._batches()]
        if not largest:
            raise ValueError(
                "The representative data is empty: pass some hundred inputs like those in use. "
                "Received: 0 examples"
            )
        warn_of_scaled_pixels(model, max(largest), "representative data")

    def _batches(self) -> Iterator[list[np.ndarray]]:
        for inputs in iterate_inputs(self._data):
            arrays = checked_inputs(self._model, inputs, "representative data")
            if len(arrays[0]):
                yield arrays

    def __iter__(self) -> Iterator[dict[str, np.ndarray]]:
        for arrays in self._batches():
            for row in range(len(arrays[0])):
                yield {
                    spec.name: array[row : row + 1].astype(spec.dtype.as_numpy_dtype)
                    for array, spec in zip(arrays, self._specs, strict=True)
                }


def data_by_signature(
    models: Mapping[str, keras.Model], data, quantization: str
) -> dict[str, RepresentativeData]:
    """Check the representative data of each signature: one for all, or a dict by signature."""
    if data is None:
        raise ValueError(
            f"quantization={quantization!r} needs data to observe the ranges of activations: pass "
            "`representative_data`, some hundred inputs like those in use, or choose 'float32'. "
            "Received: None"
        )
    if len(models) > 1 and isinstance(data, Mapping) and set(data) == set(models):
        return {key: RepresentativeData(model, data[key]) for key, model in models.items()}
    inputs = {
        key: [(spec.name, tuple(spec.shape), spec.dtype.name) for spec in input_specs(model)]
        for key, model in models.items()
    }
    first, *others = inputs
    for key in others:
        if inputs[key] != inputs[first]:
            raise ValueError(
                f"Signatures {first!r} and {key!r} take different inputs, {inputs[first]} and "
                f"{inputs[key]}: pass `representative_data` as a dict with an entry for each of "
                f"{list(models)}. Received: {type(data).__name__}"
            )
    return {key: RepresentativeData(model, data) for key, model in models.items()}


def observe_ranges(
    name: str, graph: DeployedGraph, samples: Iterable[Mapping[str, np.ndarray]]
) -> np.ndarray:
    """Observe each range of a graph's plan on single examples.

    Returns:
        float32 array (rows of the plan, 2) of minima and maxima; every range contains zero.
    """
    file = graph.model.subgraphs[0]
    interpreter = open_interpreter(graph.content, _THREADS)
    ranges = np.zeros((len(graph.plan.rows), 2), np.float32)
    cells, margins = _cell_states(graph), graph.margins
    names = [spec.name for spec in graph.traced.specs]
    for sample in samples:
        for input_name, index in zip(names, file.inputs, strict=True):
            # A file with a fixed batch size gets the one example repeated.
            value = np.broadcast_to(sample[input_name], file.tensors[index].shape)
            interpreter.set_tensor(index, value)
        interpreter.reset_all_variables()
        interpreter.invoke()
        for row, members in enumerate(graph.plan.rows):
            for index in members:
                if index in cells:
                    sequence, states = cells[index]
                    values = states(interpreter.get_tensor(sequence))
                else:
                    values = interpreter.get_tensor(index)
                smallest, largest = _min_max(values, margins.get(index))
                if not np.isfinite(smallest + largest):
                    raise _not_finite(name, graph, file.makers.get(index))
                ranges[row, 0] = min(ranges[row, 0], smallest)
                ranges[row, 1] = max(ranges[row, 1], largest)
    return ranges


def _cell_states(graph) -> dict[int, tuple[int, Callable]]:
    """Return, by a cell state's tensor, the sequence that its LSTM reads and what computes it."""
    return {
        index: (operation.inputs[0], cell_states(graph.model, operation))
        for operation in graph.model.subgraphs[0].operations
        for index in operation.inputs
        if isinstance(graph.plan.tensors.get(index), CellState)
    }


def _min_max(values: np.ndarray, margin: float | None) -> tuple[float, float]:
    """Return the minimum and the maximum, without the large negative values of attention masks."""
    if not values.size:
        return 0.0, 0.0
    smallest, largest = float(values.min()), float(values.max())
    if margin is not None and largest - smallest > NEAR:
        smallest = max(smallest, float(floor_of_scores(values, margin)))
    elif margin is None and smallest < MASKED:
        smallest = float(least_that_counts(values, BELOW_SCORES))
    return smallest, largest


def _not_finite(name, graph, operation) -> ValueError:
    """Return the error that names the layer whose values are not finite."""
    where = "an input" if operation is None else f"layer {graph.layer_of(operation.index)!r}"
    return ValueError(
        f"The values of {where} of model {name!r} are NaN or infinite on the representative data, "
        "so their range cannot be observed. Check the data, and the weights before that layer."
    )
