"""Whether two computations in float are the same but for the order of their operations."""

from collections.abc import Callable, Iterable, Mapping, Sequence

import keras
import numpy as np

from tfcompress.keras_graph.hooks import HookedCalls
from tfcompress.keras_graph.inputs import arrange_inputs
from tfcompress.keras_graph.interception import float32_computation
from tfcompress.keras_graph.wrapper import unwrap
from tfcompress.quantization.float_file import ConversionError
from tfcompress.quantization.tracing import TracedModel, probe_inputs
from tfcompress.tflite.interpreter import tensor_values
from tfcompress.tflite.model import Subgraph

# Relative to the largest value: what the order of float operations makes of most outputs (less than
# a tenth of it in most random models), and what a tensor inside may differ by to count as right.
_SAME = 5e-4
_RIGHT = 2e-3
# A few roundings of a number, and how much more those of all operations do.
_MOVED = 1e-6
_MAGNIFIED = 10.0
_SEEDS = (1, 2)  # a rounding may decide on a class of one example, not of both


def are_alike(found: Sequence, expected: Sequence, nudged: Callable[[], Sequence]) -> bool:
    """Tell whether outputs are the expected ones but for float rounding.

    Models can magnify that: by as much as they do roundings of their inputs and of what they
    compute on the way, with which ``nudged`` computes the outputs again.
    """
    differences = [_difference(*pair) for pair in zip(found, expected, strict=True)]
    if max(differences, default=0.0) <= _SAME:
        return True
    tolerances = [
        max(_SAME, _MAGNIFIED * _difference(*pair)) for pair in zip(nudged(), expected, strict=True)
    ]
    return all(map(np.less_equal, differences, tolerances))


def nudge(values, generator: np.random.Generator) -> np.ndarray:
    """Change real numbers by a few roundings, each by its own."""
    values = np.asarray(values)
    if values.dtype.kind != "f":
        return values
    noise = generator.uniform(-_MOVED, _MOVED, values.shape)
    return values * (1 + noise).astype(values.dtype)


def _difference(one, other) -> float:
    """Return the largest difference relative to the largest value, where the second is finite."""
    one, other = (np.asarray(x, np.float64) for x in (one, other))
    if one.shape != other.shape:
        return np.inf
    finite = np.isfinite(other)
    one, other = one[finite], other[finite]
    size = max(np.abs(other).max(initial=0.0), 1e-6)
    found = np.abs(one - other).max(initial=0.0) / size
    return np.inf if np.isnan(found) else float(found)


def require_right_file(
    model: keras.Model,
    traced: TracedModel,
    content: bytes,
    file: Subgraph,
    layers: Sequence[tuple[str, ...]],
) -> None:
    """Raise a ConversionError unless a float file with a model's weights computes what it does.

    ``file`` is its graph, ``layers`` the paths of the layers that each operation computes: the
    error names the first that goes wrong.
    """
    # Of a batch of one, Keras takes tensors for biases that are none.
    is_free = all(tensor.shape[0] is None for tensor in unwrap(model).inputs)

    def compute(inputs, look=lambda _, tensor: tensor):
        fed = [np.concatenate([x, x]) for x in inputs] if is_free else inputs
        with float32_computation(model), HookedCalls(model).active(look):
            outputs = keras.tree.flatten(model(arrange_inputs(model, fed), training=False))
        return [np.asarray(x)[: len(x) // 2] if is_free else x for x in outputs]

    def compute_layers(inputs):
        made = []

        def keep(_, tensor):
            value = np.asarray(tensor)
            made.append(value[: len(value) // 2] if is_free and value.ndim else value)
            return tensor

        compute(inputs, keep)
        return made

    def compute_nudged():
        generator = np.random.default_rng(0)
        moved = [nudge(x, generator) for x in inputs]
        return compute(moved, lambda _, x: keras.ops.convert_to_tensor(nudge(x, generator)))

    for seed in _SEEDS:
        inputs = probe_inputs(traced.specs, [file.tensors[i].shape[0] for i in file.inputs], seed)
        try:
            values = tensor_values(content, inputs)
        except RuntimeError:  # an operation that no interpreter has: the export says so
            return
        found = [values[i] for i in file.outputs]
        if are_alike(found, compute(inputs), compute_nudged):
            return
    raise wrong_file(model, layers, first_wrong(file, values, compute_layers(inputs)))


def wrong_file(model, layers: Sequence[tuple[str, ...]], operation: int | None) -> ConversionError:
    """Return the error for a float file that is wrong from an operation on."""
    named = () if operation is None else layers[operation]
    where = f" Layer {named[0]!r} is the first that goes wrong." if named else ""
    return ConversionError(
        f"The float file of model {model.name!r} does not compute what the model does, so no file "
        f"is made of it.{where}"
    )


def first_wrong(
    file: Subgraph, values: Mapping[int, np.ndarray], right: Iterable[np.ndarray]
) -> int | None:
    """Find the first operation from which on nothing is computed as it should be.

    Args:
        file: the main graph.
        values: what it computes, by tensor.
        right: what the model computes between its layers. A file has tensors that no layer makes;
            they count as right where a tensor behind them is.

    Returns:
        The index of the operation, None if there is none.
    """
    by_size: dict[int, list[np.ndarray]] = {}
    for array in right:
        by_size.setdefault(np.size(array), []).append(_sorted(array))

    def is_right(index):
        # The converter moves transpositions: the order does not count.
        value = _sorted(values[index])
        return any(_difference(value, one) <= _RIGHT for one in by_size.get(value.size, ()))

    leading = set(file.outputs)  # the tensors behind which nothing is right
    first = None
    for operation in reversed(file.operations):
        made = [index for index in operation.outputs if index in leading and index in values]
        if made and not any(map(is_right, made)):
            leading.update(operation.inputs)
            first = operation.index
    return first


def _sorted(value) -> np.ndarray:
    """Return the numbers of an array in ascending order."""
    return np.sort(np.asarray(value, np.float64), axis=None)
