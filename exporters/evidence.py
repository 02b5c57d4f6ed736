"""The examples that a file is compared with its model on: the user's, or noise that says so."""

import dataclasses
from collections.abc import Mapping, Sequence

import keras
import numpy as np

from exporters.signatures import DEFAULT
from tfcompress.data import gather
from tfcompress.keras_graph.inputs import input_specs, ordered_inputs
from tfcompress.quantization import QuantizeAware
from tfcompress.tflite.model import TFLiteModel

EXAMPLES = 64
_COARSENESS = (1, 2, 4, 8)  # entries in a row that are alike
_PASSING = frozenset({"CAST", "EXPAND_DIMS", "RESHAPE", "SQUEEZE", "TRANSPOSE"})
_LOOKUPS = {"EMBEDDING_LOOKUP": (0, 1), "GATHER": (1, 0)}  # positions of indices and table


@dataclasses.dataclass(frozen=True)
class Evidence:
    """What a file is compared on."""

    data: object  # as ``validate`` takes it
    noise: str | None = None  # what random numbers are drawn from; None for the user's examples


def choose_evidence(
    model: keras.Model, content: TFLiteModel, key: str, validation_data, representative_data
) -> Evidence:
    """Choose the examples that the signature of a key and its model are compared on.

    The validation data; else the first of the representative data; else random numbers, in the
    ranges that the inputs of a quantization-aware model have learned, and indices that the tables
    of the file have.
    """
    given = {
        "validation": (validation_data, None),
        "representative": (representative_data, EXAMPLES),
    }
    for name, (data, most) in given.items():
        if data is not None:
            own = data[key] if isinstance(data, Mapping) and key in data else data
            inputs, labels = gather(own, most)
            inputs = ordered_inputs(model, inputs, f"{name} data")
            # Labels belong to the model's own outputs.
            return Evidence(inputs if labels is None or key != DEFAULT else (inputs, labels))
    generator = np.random.default_rng(0)
    specs = input_specs(model)
    ranges = model.input_ranges() if isinstance(model, QuantizeAware) else [None] * len(specs)
    inputs = []
    for place, (spec, ends) in enumerate(zip(specs, ranges, strict=True)):
        shape = (EXAMPLES, *spec.shape[1:])
        if not spec.dtype.is_floating:
            values = generator.integers(0, _indices(content, place), shape)
        elif ends is None:
            values = generator.standard_normal(shape)
        else:
            values = within(generator, shape, *ends)
        inputs.append(values.astype(spec.dtype.as_numpy_dtype))
    learned = any(ends is not None for ends in ranges)
    drawn = "the ranges that the inputs have learned" if learned else "a standard normal"
    return Evidence(inputs[0] if len(inputs) == 1 else inputs, drawn)


def within(
    generator: np.random.Generator, shape: Sequence[int], smallest: float, largest: float
) -> np.ndarray:
    """Draw examples that differ in level, contrast and coarseness: white noise is all alike inside.

    The shape is (examples, ...), whose last axis of three or more is channels. Every fourth example
    goes over the whole range.
    """
    drawn = []
    for number in range(shape[0]):
        coarse = _COARSENESS[number % len(_COARSENESS)]
        axes = range(len(shape) - 2) if len(shape) > 2 else range(len(shape) - 1)
        sizes = [-(-size // coarse) if a in axes else size for a, size in enumerate(shape[1:])]
        values = generator.random(sizes)
        for axis in axes:
            values = np.repeat(values, coarse, axis).take(range(shape[1 + axis]), axis)
        low, high = (0.0, 1.0) if number % 4 == 0 else np.sort(generator.random(2))
        drawn.append(low + (high - low) * values)
    return smallest + (largest - smallest) * np.stack(drawn)


def _indices(content: TFLiteModel, place: int) -> int:
    """Return how many indices the tables have that an input of whole numbers is looked up in."""
    graph = content.subgraphs[0]
    same, rows = {graph.inputs[place]}, []
    for operation in graph.operations:
        if operation.name in _PASSING and operation.inputs[0] in same:
            same.update(operation.outputs)
        elif operation.name in _LOOKUPS:
            indices, table = (operation.inputs[i] for i in _LOOKUPS[operation.name])
            if indices in same:
                rows.append(graph.tensors[table].shape[0])
    return min(rows, default=2)
