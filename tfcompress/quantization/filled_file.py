"""From a deployed graph and its numbers to what the writer fills its file with."""

import collections
from collections.abc import Mapping

import numpy as np

from tfcompress.quantization.deployed_graph import DeployedGraph
from tfcompress.quantization.integers import GraphIntegers
from tfcompress.quantization.kernels.grids import Grid, Integers
from tfcompress.quantization.plan import Float, Place
from tfcompress.tflite.filling import FUSED_LSTM, Filling, Storage, inner_storages
from tfcompress.tflite.operations import accepts_scales

_FLOAT = Storage("FLOAT32")
_BITS = {"INT8": np.int8, "INT16": np.int16, "INT4": np.int8, "INT2": np.int8}


def filling_of(graph: DeployedGraph, numbers: GraphIntegers) -> Filling:
    """Describe how the main graph of a file is filled.

    Args:
        graph: the graph and its plan.
        numbers: what its tensors are filled with.

    Returns:
        The filling.

    Raises:
        ValueError: see ``require_computable_scales``.
    """
    plan = graph.plan
    require_computable_scales(graph, numbers)
    grids = {form: _of_grid(grid) for form, grid in numbers.grids.items()}
    storages = {(0, index): grids[form] for index, form in plan.tensors.items() if form in grids}
    reads = {
        (0, *place): _FLOAT if isinstance(form, Float) else grids[form]
        for place, form in plan.reads.items()
    }
    for index, value in numbers.reals.items():
        storages[0, index] = Storage("FLOAT32", values=value.numpy())
    for place, half in numbers.halves.items():
        storages[0, _index(graph, place)] = Storage("FLOAT16", values=half.numpy())
        reads[0, *place] = _FLOAT
    for index, places in _by_tensor(graph, numbers.constants).items():
        forms = {place: _of_integers(numbers.constants[place]) for place in places}
        if len(places) == len(_readers(graph, index)) and _all_equal(list(forms.values())):
            storages[0, index] = forms[places[0]]
        else:
            reads |= {(0, *place): form for place, form in forms.items()}
    intermediates = {
        (0, operation.index): inner_storages(storages[0, operation.outputs[0]])
        for operation in graph.model.subgraphs[0].operations
        if operation.name == FUSED_LSTM and (0, operation.outputs[0]) in storages
    }
    return Filling(storages, reads, intermediates=intermediates)


def require_computable_scales(graph: DeployedGraph, numbers: GraphIntegers) -> None:
    """Check that kernels can compute between the scales of their inputs and their output.

    Args:
        graph: the graph and its plan.
        numbers: what its tensors are filled with.

    Raises:
        ValueError: a kernel would end the process that runs the file; names the layer.
    """
    plan = graph.plan
    for operation in graph.model.subgraphs[0].operations:
        output = (
            numbers.grids.get(plan.tensors.get(operation.outputs[0])) if operation.outputs else None
        )
        if output is None:
            continue
        read = []
        for position, index in enumerate(operation.inputs):
            constant = numbers.constants.get((operation.index, position))
            grid = constant.grid if constant else numbers.grids.get(plan.form(operation, position))
            if index >= 0 and grid is not None and not np.ndim(grid.scale):
                read.append(float(grid.scale))
        if read and not accepts_scales(operation.name, plan.dtype, read, float(output.scale)):
            raise ValueError(
                f"Layer {graph.layer_of(operation.index)!r} computes {operation.name} from numbers "
                f"with steps of {max(read):.3g} to one of {float(output.scale):.3g}, which its "
                "kernel cannot: it would end the program that runs the file. Keep its inputs in "
                "the range of its output, with a clip for instance."
            )


def _index(graph: DeployedGraph, place: Place) -> int:
    """Return the tensor at a place."""
    operation, position = place
    return graph.model.subgraphs[0].operations[operation].inputs[position]


def _by_tensor(graph, places) -> Mapping[int, list[Place]]:
    """Group places by the tensor that is read there."""
    found = collections.defaultdict(list)
    for place in sorted(places):
        found[_index(graph, place)].append(place)
    return found


def _readers(graph, index) -> list[Place]:
    """List the places where a tensor is read; an output of the graph counts as one."""
    file = graph.model.subgraphs[0]
    places = [
        (operation.index, position)
        for operation in file.operations
        for position, read in enumerate(operation.inputs)
        if read == index
    ]
    return places + [(-1, place) for place, output in enumerate(file.outputs) if output == index]


def _all_equal(forms: list[Storage]) -> bool:
    """Tell whether constants are the same in all their forms."""
    first = forms[0]
    return all(
        form.key == first.key and np.array_equal(form.values, first.values) for form in forms[1:]
    )


def _of_grid(grid: Grid) -> Storage:
    """Return the form of activations on a grid."""
    return Storage(grid.dtype, (float(grid.scale),), (int(grid.zero_point),))


def _of_integers(integers: Integers) -> Storage:
    """Return the form of a constant."""
    values, grid = np.asarray(integers.values), integers.grid
    scales = np.ravel(np.asarray(grid.scale, np.float32))
    zero_points = np.full(scales.size, int(grid.zero_point), np.int64)
    dtype = _BITS.get(grid.dtype, values.dtype)
    return Storage(grid.dtype, scales, zero_points, grid.axis, values.astype(dtype))
