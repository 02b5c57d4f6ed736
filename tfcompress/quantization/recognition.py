"""Recognising the tensors of a float file among those of the model that it was made of.

The converter names a fused tensor after any of its parts, so names cannot tell a convolution's
output from that of the BatchNormalization behind it. Values can; of equal ones the name decides.
"""

import dataclasses
import functools
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

import numpy as np

from tfcompress.keras_graph.hooks import HookPoint, input_point
from tfcompress.quantization.arithmetic.masks import MASKED, are_masks
from tfcompress.quantization.planning import Fixed, Learned, Plan
from tfcompress.quantization.tracing import TracedModel, readers_of
from tfcompress.tflite.model import Operation, Subgraph
from tfcompress.tflite.operations import COPIES

# What a rectifier that is fused into another operation is called in a TensorFlow graph.
_FUSED = {"RELU": "Relu", "RELU6": "Relu6"}

# Relative to the largest value: what float rounding alone can make of a tensor, and what it cannot.
_SAME = 5e-6
_DIFFERENT = 1e-2
# What counts as the largest value at least, relative to what an operation reads: what is less may
# be all rounding, as the mean of what had its mean subtracted.
_ROUNDED = 1e-4


@dataclasses.dataclass(frozen=True)
class Candidate:
    """A tensor of the float model that could have a range."""

    point: HookPoint  # where the model hands it out
    name: str  # the tensor's name in the traced graph
    kind: str  # the type of the TensorFlow operation that makes it
    value: np.ndarray  # its value in the run
    ends: tuple[float, float]  # its smallest and its largest value

    @property
    def node(self) -> str:
        """The name of the node that makes it."""
        return self.name.partition(":")[0]


class Candidates:
    """The tensors of a float model, to be recognised by their values in its file.

    ``again`` takes the values of tensors in the file, by their name in the traced graph, and
    returns what the model makes of those: deep networks can magnify what the order of float
    operations makes of a number until nothing is recognised. ``placed`` are the points that a
    saved model has: of points that are alike on the inputs, these are meant.
    """

    def __init__(
        self,
        candidates: Iterable[Candidate],
        again: Callable,
        placed: Collection[HookPoint] = frozenset(),
    ):
        self._again, self._placed = again, placed
        self._taken: set[HookPoint] = set()
        self._in_file: dict[str, np.ndarray] = {}
        self._known = 0  # of these, how many the present candidates follow from
        self._sort(candidates)

    def _sort(self, candidates):
        """Keep candidates by their size."""
        self._by_size: dict[int, list[Candidate]] = {}
        for candidate in candidates:
            self._by_size.setdefault(candidate.value.size, []).append(candidate)

    def recognise(
        self, value: np.ndarray | None, operation: Operation, name: str = "", read: float = 0.0
    ) -> HookPoint | None:
        """Find the point that hands out what an operation of the file makes, None if there is none.

        Of several with equal values it is the one that the file names the tensor after, or the
        first one that no other tensor of the file has been: later ones only pass it on.

        Args:
            value: what the operation makes.
            operation: the operation.
            name: what the file calls the tensor.
            read: the largest absolute value that the operation reads.
        """
        if value is None:
            return None
        seen = unmasked(value)
        least, near = self._nearest(seen, read)
        if not near and len(self._in_file) > self._known:
            self._known = len(self._in_file)
            self._sort(self._again(self._in_file))
            least, near = self._nearest(seen, read)
        if not near:
            return self._take_moved(seen)
        fused = operation.options.get("fused_activation_function")
        if fused in _FUSED:
            # A rectifier that changes nothing on this input is still the last to touch the tensor.
            near = [candidate for candidate in near if candidate.kind == _FUSED[fused]] or near
        # Of the parts that were fused into an operation, the last one makes the tensor.
        parts = name.split(";")
        near = [candidate for candidate in near if candidate.node in parts][-1:] or near
        chosen = near[0]  # the file may have no such tensor: a bias is added elsewhere in it
        if least <= _SAME:
            chosen = next((c for c in near if c.point not in self._taken), chosen)
            self._taken.add(chosen.point)
        self._in_file[chosen.name] = value.reshape(chosen.value.shape)
        return chosen.point

    def _take_moved(self, value):
        """Take the first tensor with the same values in another order, None if there is none.

        The converter moves what it computes across transpositions and behind copies, which leave
        ranges alone.
        """
        flat = np.sort(value, axis=None)
        for count in sorted(self._by_size, reverse=True):
            if not count or flat.size % count:
                continue
            once = flat[:: flat.size // count]
            for candidate, size in self._with_ends(once, 0.0):
                copies = np.repeat(np.sort(candidate.value, axis=None), flat.size // count)
                is_free = candidate.point not in self._taken
                if is_free and np.max(np.abs(copies - flat)) <= _SAME * size:
                    self._taken.add(candidate.point)
                    return candidate.point
        return None

    def _with_ends(self, flat, read):
        """Yield the candidates of an array's size and ends, each with the largest value."""
        ends = flat.min(), flat.max()
        size = max(abs(ends[0]), abs(ends[1]), 1e-6, _ROUNDED * read)
        for candidate in self._by_size.get(flat.size, ()):
            apart = max(abs(a - b) for a, b in zip(candidate.ends, ends, strict=True))
            if apart <= _DIFFERENT * size:
                yield candidate, size

    def _nearest(self, value, read):
        """Return the least difference from a candidate, and all that are as near.

        Where a saved model rounds, they are as near as its tensors are told apart.
        """
        flat = value.ravel()
        found = []
        for candidate, size in self._with_ends(flat, read):
            difference = np.max(np.abs(candidate.value.ravel() - flat)) / size
            found.append((difference, candidate))
        least = min((difference for difference, _ in found), default=np.inf)
        if not least <= _DIFFERENT:
            return least, []
        near = [candidate for difference, candidate in found if difference <= least + _SAME]
        placed = [candidate for candidate in near if candidate.point in self._placed]
        if self._placed and not placed:
            found = sorted(found, key=lambda pair: pair[0])
            placed = [c for d, c in found if d <= _DIFFERENT and c.point in self._placed][:1]
        return least, placed or near


PROBABILITIES = frozenset({"LOGISTIC", "SOFTMAX"})


def find_points(
    file: Subgraph, plan: Plan, candidates: Candidates, values: Mapping[int, np.ndarray]
) -> tuple[dict[int, HookPoint], list[int]]:
    """Find the point of each tensor at which a kernel rounds, by values on the same inputs.

    Returns the points by the index of a tensor, and the operations whose tensors are at none.
    """
    # A tensor has a grid of its own where it is stored, or where it is read.
    rounded = {i for i, numbers in plan.tensors.items() if isinstance(numbers, Learned | Fixed)}
    rounded |= {
        file.operations[operation].inputs[position]
        for (operation, position), form in plan.reads.items()
        if isinstance(form, Learned)
    }
    inputs = enumerate(file.inputs)
    points = {tensor: input_point(place) for place, tensor in inputs if tensor in rounded}
    unseen = {}
    for operation in file.operations:
        for index in operation.outputs:
            if index not in rounded or _only_copies(operation, plan):
                continue
            read = max((_largest(values.get(i)) for i in operation.inputs), default=0.0)
            name = file.tensors[index].name
            point = candidates.recognise(values.get(index), operation, name, read)
            if point is not None:
                points[index] = point
            elif operation.index in plan.in_float or (
                isinstance(plan.tensors[index], Learned) and not _joins_copies(operation, plan)
            ):
                unseen[operation.index] = None
    return points, list(unseen)


def leaving_probabilities(file: Subgraph, points: Mapping[int, HookPoint]) -> tuple[HookPoint, ...]:
    """List the points of softmaxes and sigmoids that nothing but the model's outputs reads.

    Between them and the outputs values may be copied.
    """

    def only_leaves(index):
        return (bool(file.readers[index]) or index in file.outputs) and all(
            operation.name in COPIES and all(map(only_leaves, operation.outputs))
            for operation, _ in file.readers[index]
        )

    return tuple(
        points[index]
        for operation in file.operations
        if operation.name in PROBABILITIES
        for index in operation.outputs
        if index in points and only_leaves(index)
    )


def _largest(value) -> float:
    """Return the largest absolute value of real numbers, 0 of nothing, without masks."""
    if value is None or not value.size or value.dtype.kind != "f":
        return 0.0
    return float(np.abs(unmasked(value)).max())


def _only_copies(operation: Operation, plan: Plan) -> bool:
    """Tell whether what an operation makes is rounded already, as it was read."""
    if operation.name not in COPIES or operation.index in plan.in_float:
        return False
    return _keeps_grid(operation, plan)


def _joins_copies(operation: Operation, plan: Plan) -> bool:
    """Tell whether an operation joins what is rounded already, to the grid that it makes."""
    return operation.name in ("CONCATENATION", "PACK") and _keeps_grid(operation, plan)


def _keeps_grid(operation: Operation, plan: Plan) -> bool:
    """Tell whether an operation has one grid for all that it reads and makes."""
    read = {
        plan.form(operation, position)
        for position, index in enumerate(operation.inputs)
        if index in plan.tensors
    }
    made = {plan.tensors[index] for index in operation.outputs if index in plan.tensors}
    return bool(read) and read == made


# These add up in 32 bits, and a bias with it: what they hand to its addition is never stored.
_ACCUMULATE = frozenset({"Conv2D", "Conv2DBackpropInput", "DepthwiseConv2dNative", "MatMul"})
_ADDITIONS = frozenset({"Add", "AddV2", "BiasAdd"})
_VIEWS = frozenset({"ExpandDims", "Identity", "Reshape", "Squeeze"})

# Larger constants are weights, which are equal where they are the same.
_COMPARED_BYTES = 1024
_NEVER_ALIKE = frozenset({"Placeholder", "PartitionedCall", "StatefulPartitionedCall"})


def candidates_of(
    traced: TracedModel,
    inputs: Sequence[np.ndarray],
    weights: Mapping[str, np.ndarray],
    placed: Collection[HookPoint] = frozenset(),
) -> tuple[Callable[[], Candidates], dict[HookPoint, HookPoint]]:
    """Run a traced model, and look at what it hands out; see ``Candidates``."""
    kinds = {node.name: node.op for node in traced.definition.node}
    repeats = repeated(traced.definition)
    passed_over = {*_before_bias(traced), *repeats}
    names = [
        name
        for name in traced.points
        # A view of another tensor has that one's range.
        if kinds[name.split(":")[0]] not in _VIEWS and name.split(":")[0] not in passed_over
    ]

    def run(in_file):
        fed = {name.split(":")[0]: value for name, value in in_file.items()}
        values = traced.run(names, inputs, {**weights, **fed})
        return [
            Candidate(
                traced.points[name],
                name,
                kinds[name.split(":")[0]],
                value,
                (value.min(), value.max()),
            )
            for name, value in zip(names, map(unmasked, values), strict=True)
            if value.size
        ]

    points = traced.points
    once = {
        points[f"{name}:0"]: points[f"{first}:0"]
        for name, first in repeats.items()
        if f"{name}:0" in points and f"{first}:0" in points
    }
    return functools.partial(Candidates, run({}), run, placed), once


def unmasked(value):
    """Bring masks near the other values, which are all alike beside them."""
    if not (value < MASKED).any():
        return value
    masked = np.asarray(are_masks(value))
    largest = np.abs(value[~masked]).max(initial=0.0)
    return np.where(masked, -2.0 * largest if largest else -1.0, value).astype(value.dtype)


def repeated(definition) -> dict[str, str]:
    """Find the nodes of a graph that repeat an earlier one: the file computes them once."""
    first, repeats = {}, {}
    for node in definition.node:
        if node.op in _NEVER_ALIKE or node.ByteSize() > _COMPARED_BYTES:
            continue
        attributes = tuple(
            (name, node.attr[name].SerializeToString(deterministic=True))
            for name in sorted(node.attr)
        )
        inputs = tuple(_renamed(source, repeats) for source in node.input)
        original = first.setdefault((node.op, attributes, inputs), node.name)
        if original != node.name:
            repeats[node.name] = original
    return repeats


def _renamed(source, repeats):
    """Return the name of the first tensor that equals one."""
    name, colon, output = source.partition(":")
    return repeats.get(name, name) + (colon + output if output not in ("", "0") else "")


def _before_bias(traced):
    """Name the nodes whose sums a bias is added to before anything is stored."""
    nodes = {node.name: node for node in traced.definition.node}
    readers = readers_of(traced.definition)

    def channels_of_constant(name):
        node = nodes.get(name.split(":")[0])
        while node is not None and node.op in _VIEWS:
            node = nodes.get(node.input[0].split(":")[0])
        if node is not None and node.name in traced.weights:
            shape = traced.weights[node.name].shape
        elif node is not None and node.op == "Const":
            shape = [d.size for d in node.attr["value"].tensor.tensor_shape.dim]
        else:
            return 0
        size = int(np.prod(shape))
        return size if size == ([*shape] or [1])[-1] else 0  # others differ by place

    found = set()
    for node in nodes.values():
        if node.op not in _ACCUMULATE:
            continue
        chain = [node]
        while len(next_ones := readers[chain[-1].name]) == 1 and next_ones[0].op in _VIEWS:
            chain.append(next_ones[0])
        added = len(next_ones) == 1 and next_ones[0].op in _ADDITIONS
        bias = max(map(channels_of_constant, next_ones[0].input)) if added else 0
        # Behind a view the converter leaves the bias of a single channel where it is.
        if bias > 1 or (bias and len(chain) == 1):
            found.update(member.name for member in chain)
    return found
