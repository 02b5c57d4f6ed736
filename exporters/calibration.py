"""Observing the ranges of a float file's tensors on data, for quantization after training."""

from collections.abc import Iterable, Mapping

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from tfcompress.quantization.arithmetic.masks import (
    BELOW_SCORES,
    MASKED,
    floor_of_scores,
    least_that_counts,
)
from tfcompress.quantization.deployed_graph import DeployedGraph
from tfcompress.quantization.lstm_numbers import CellStates
from tfcompress.quantization.plan import CellState

_THREADS = 2


def observe_ranges(
    name: str, graph: DeployedGraph, samples: Iterable[Mapping[str, np.ndarray]]
) -> np.ndarray:
    """Observe the smallest and the largest value of each range of a plan.

    Args:
        name: the model's name.
        graph: the graph, whose file holds its weights.
        samples: one example each, by input name.

    Returns:
        float32 array (rows of the plan, 2); every range contains zero.

    Raises:
        ValueError: a layer makes NaN or infinite values of an example; names it.
    """
    file = graph.model.subgraphs[0]
    interpreter = Interpreter(
        model_content=graph.content,
        # A delegate would keep its inner tensors to itself.
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        experimental_preserve_all_tensors=True,
        num_threads=_THREADS,
    )
    interpreter.allocate_tensors()
    ranges = np.zeros((len(graph.plan.rows), 2), np.float32)
    makers = {index: op.index for op in file.operations for index in op.outputs}
    cells, margins = _cell_states(graph), graph.margins
    ports = [spec.name for spec in graph.traced.specs]
    for sample in samples:
        for port, index in zip(ports, file.inputs, strict=True):
            # One example, as often as a file of a fixed batch takes one.
            fed = np.broadcast_to(sample[port], file.tensors[index].shape)
            interpreter.set_tensor(index, fed)
        interpreter.reset_all_variables()
        interpreter.invoke()
        for row, members in enumerate(graph.plan.rows):
            for index in members:
                if index in cells:
                    sequence, states = cells[index]
                    values = states(interpreter.get_tensor(sequence))
                else:
                    values = interpreter.get_tensor(index)
                smallest, largest = _ends(values, margins.get(index))
                if not np.isfinite(smallest + largest):
                    _refuse(name, graph, makers.get(index))
                ranges[row, 0] = min(ranges[row, 0], smallest)
                ranges[row, 1] = max(ranges[row, 1], largest)
    return ranges


def _cell_states(graph) -> dict[int, tuple[int, CellStates]]:
    """Return, by a cell state's tensor, the sequence that its LSTM reads and what computes it."""
    file = graph.model.subgraphs[0]
    return {
        index: (operation.inputs[0], CellStates(graph.model, operation))
        for operation in file.operations
        for index in operation.inputs
        if isinstance(graph.plan.tensors.get(index), CellState)
    }


def _ends(values: np.ndarray, margin: float | None) -> tuple[float, float]:
    """Return the smallest and the largest value, those that mask attention left out."""
    if not values.size:
        return 0.0, 0.0
    smallest, largest = float(values.min()), float(values.max())
    if margin is not None:
        smallest = max(smallest, float(floor_of_scores(values, margin)))
    elif smallest < MASKED:
        smallest = float(least_that_counts(values, BELOW_SCORES))
    return smallest, largest


def _refuse(name, graph, operation):
    """Raise the error that names where values stop being numbers."""
    where = "an input" if operation is None else f"layer {graph.layer_of(operation)!r}"
    raise ValueError(
        f"The values of {where} of model {name!r} are NaN or infinite on the representative data, "
        "so no range can be observed on it. Look at the data, and at the weights before that layer."
    )
