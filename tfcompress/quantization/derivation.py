"""How the constants of a float file follow from the weights of the model.

The converter folds what surrounds a kernel into it: biases, the scale and the shift of a
BatchNormalization, a rescaling of the input. So each constant is explained: as a tensor of the
traced graph that does not depend on the inputs (an *operand*), or as a kernel among the operands
with the affine operations before and behind it. An explanation is accepted if it gives the
constant's values; made-up weights let no two explanations agree by chance.
"""

import dataclasses
import functools
import itertools
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import tensorflow as tf

from tfcompress.quantization.float_file import ConversionError
from tfcompress.quantization.tracing import TracedModel, dependent_nodes, part_behind, readers_of
from tfcompress.tflite.constants import constant_value
from tfcompress.tflite.model import Operation, TFLiteModel
from tfcompress.tflite.operations import support

# Relative to the largest value: what the order of float operations can make of a constant.
_SAME = 1e-5

# Keras computes convolutions of groups in a compiled function.
_CALLS = frozenset({"PartitionedCall", "StatefulPartitionedCall"})
_LINEAR = {
    "CONV_2D": _CALLS | {"Conv2D"},
    "DEPTHWISE_CONV_2D": _CALLS | {"DepthwiseConv2dNative", "Conv2D"},
    "TRANSPOSE_CONV": frozenset({"Conv2DBackpropInput"}),
    "FULLY_CONNECTED": frozenset({"MatMul", "BatchMatMulV2", "BatchMatMul", "Einsum"}),
    "BATCH_MATMUL": frozenset({"MatMul", "BatchMatMulV2", "BatchMatMul", "Einsum"}),
}
_KERNEL_INPUT = 1
_VIEWS = frozenset({"ExpandDims", "Identity", "Reshape", "Squeeze", "StopGradient"})
_COPIES = _VIEWS | {"Transpose", "StridedSlice", "Slice", "ConcatV2", "Split", "Unpack"}
# A dilated convolution is a plain one between two moves of places, which the file undoes. Zeros
# around the places may be its padding.
_BEFORE_LINEAR = _VIEWS | {"Transpose", "SpaceToBatchND", "Pad"}
_BEHIND_LINEAR = _VIEWS | {"Transpose", "BatchToSpaceND"}
_ADDITIONS = frozenset({"Add", "AddV2", "BiasAdd"})
_PRODUCTS = frozenset({"Mul", "RealDiv"})

Values = Mapping[str, object]  # of operands, by the name of the tensor


@dataclasses.dataclass(frozen=True)
class FoldedKernel:
    """A kernel of the file: an operand in another order, times a factor for each output channel."""

    operand: str  # the name of the operand that holds the kernel
    # The placeholders of the weights that it is copied from, if it is nothing else.
    weights: tuple[str, ...]
    order: tuple[int, ...]  # the transposition that brings the operand to the file's order
    shape: tuple[int, ...]  # the shape in the file
    axis: int  # the axis of the output channels in the file
    # Takes the values of operands; returns the factors, of shape (channels,) or ().
    factor: Callable[[Values], object] | None = None
    needs: tuple[str, ...] = ()  # the names of the operands that ``factor`` reads
    # For each output channel in the file, the one of the variable that it is copied from, among all
    # of its output channels in their order; None if not known.
    channels: np.ndarray | None = None

    def arranged(self, operand):
        """Return the operand, or something of its shape, in the order of the file."""
        return tf.reshape(tf.transpose(operand, self.order), self.shape)

    def compute(self, values: Values):
        """Return the constant."""
        kernel = self.arranged(values[self.operand])
        if self.factor is None:
            return kernel
        factor = tf.reshape(self.factor(values), [-1])
        shape = [1] * len(self.shape)
        shape[self.axis] = -1
        return kernel * tf.reshape(factor, shape)

    @property
    def operands(self) -> tuple[str, ...]:
        """The names of the operands that it is made of."""
        return (self.operand, *self.needs)


@dataclasses.dataclass(frozen=True)
class Derived:
    """Any other constant that follows from weights."""

    operands: tuple[str, ...]  # the names of the operands that it is made of
    compute: Callable[[Values], object]  # takes their values; returns the constant


Derivations = Mapping[int, FoldedKernel | Derived]


def derive(
    traced: TracedModel,
    weights: Mapping[str, np.ndarray],
    model: TFLiteModel,
    output_axes: Mapping[str, tuple[int, ...]],
) -> dict[int, FoldedKernel | Derived]:
    """Explain the float constants of a file.

    Raises:
        ConversionError: the outputs depend on weights that no constant follows from. What the file
            has of them would stay as it is, whatever they are.
    """
    explanations = _Explanations(traced, weights, model)
    if nodes := explanations.unexplained():
        layers = dict.fromkeys(traced.paths.get(node, node) for node in nodes)
        raise ConversionError(
            "The float file has the weights of these layers in a form that tfcompress does not "
            f"know, so quantization-aware training could not change them: {', '.join(layers)}. "
            "export_tflite(model, path, 'int8') quantizes the model after training instead."
        )
    found = explanations.found
    return found | _with_channels(traced, found, output_axes)


def _with_channels(traced, found, output_axes):
    """Follow the output channels of kernels through the copies to their place in the file."""
    kernels = {
        index: kernel
        for index, kernel in found.items()
        if isinstance(kernel, FoldedKernel) and len(kernel.weights) == 1
    }
    numbered = {}
    for name, variable in traced.weights.items():
        axes = output_axes.get(name, ())
        shape = [size if axis in axes else 1 for axis, size in enumerate(variable.shape)]
        places = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
        numbered[name] = np.broadcast_to(places, tuple(variable.shape))
    names = list(dict.fromkeys(kernel.operand for kernel in kernels.values()))
    values = dict(zip(names, traced.run(names, (), numbered), strict=True)) if names else {}
    followed = {}
    for index, kernel in kernels.items():
        arranged = np.transpose(values[kernel.operand], kernel.order).reshape(kernel.shape)
        rows = np.moveaxis(arranged, kernel.axis, 0).reshape(kernel.shape[kernel.axis], -1)
        if (rows == rows[:, :1]).all():
            channels = rows[:, 0].astype(np.int32)
            followed[index] = dataclasses.replace(kernel, channels=channels)
    return followed


class _Explanations:
    """One search for explanations."""

    def __init__(self, traced, weights, model):
        self._definition = part_behind(traced.definition, traced.outputs)
        self._nodes = {node.name: node for node in self._definition.node}
        self._readers = readers_of(self._definition)
        self._live = dependent_nodes(self._definition, traced.inputs)
        self._weighted = dependent_nodes(self._definition, traced.weights)
        self._weights = set(traced.weights)
        names = self._operand_names()
        values = traced.run(names, (), weights) if names else []
        self._values = {
            name: value
            for name, value in zip(names, values, strict=True)
            if value.dtype == np.float32
        }
        self._by_size: dict[int, list[str]] = {}
        self._literals: dict[int, list[str]] = {}  # likewise
        for name, value in self._values.items():
            kind = self._by_size if self._is_weighted(name) else self._literals
            kind.setdefault(value.size, []).append(name)
        self._chains = list(self._affine_chains())
        self._model = model
        self.found: dict[int, FoldedKernel | Derived] = {}
        graph = model.subgraphs[0]
        for operation in graph.operations:
            if operation.name in _LINEAR and self._constant(operation, _KERNEL_INPUT) is not None:
                self._explain_linear(operation)
        for tensor in graph.tensors:
            if tensor.constant and tensor.dtype == "FLOAT32" and tensor.index not in self.found:
                self._explain(tensor)

    def unexplained(self):
        """List the nodes that read what no explanation does.

        What they read may be what one does, in another order.
        """
        read = {name for explanation in self.found.values() for name in explanation.operands}

        def is_explained(name):
            if name in read or name not in self._values or not self._is_weighted(name):
                return True
            value = self._values[name]
            others = (
                self._values[other] for other in read if self._values[other].size == value.size
            )
            return any(np.array_equal(*map(_in_order, (value, other))) for other in others)

        return [
            node.name
            for node in self._definition.node
            if node.name in self._live and not all(map(is_explained, map(_tensor_name, node.input)))
        ]

    def _is_weighted(self, name):
        """Tell whether an operand follows from weights."""
        return name.split(":")[0] in self._weighted

    def _operand_names(self):
        """List the tensors that do not depend on inputs and are read by what does."""
        names = {}
        for node in self._definition.node:
            if node.name in self._live:
                for source in node.input:
                    name = source.split(":")[0]
                    if not source.startswith("^") and name not in self._live:
                        names[_tensor_name(source)] = None
        return list(names)

    def _constant(self, operation: Operation, place: int | None):
        """Return the value of a float constant that an operation reads, None if it reads none."""
        is_there = place is not None and place < len(operation.inputs)
        index = operation.inputs[place] if is_there else -1
        tensor = self._model.subgraphs[0].tensors[index] if index >= 0 else None
        if tensor is None or not tensor.constant or tensor.dtype != "FLOAT32":
            return None
        return constant_value(self._model, tensor)

    def _explain_linear(self, operation):
        """Explain the kernel of an operation together with its bias."""
        kernel, bias = (self._constant(operation, place) for place in _places(operation))
        axes = _channel_axes(operation, kernel.ndim)
        literals = self._literals.get(kernel.size, ())
        for name in (*self._by_size.get(kernel.size, ()), *literals):
            value = self._values[name]
            nodes = self._nodes_with_kernel(name, _LINEAR[operation.name])
            for node, before in [(each, before) for each in nodes for before in self._before(each)]:
                for order in _orders(value.shape, kernel.shape):
                    arranged = np.transpose(value, order).reshape(kernel.shape)
                    factor = _factor_between(
                        arranged, kernel, before.numbers(self._values)[0], axes
                    )
                    if factor is None:
                        continue
                    for after in self._behind(node):
                        folded = (*before.operands, *after.operands)
                        if name in literals and not any(map(self._is_weighted, folded)):
                            continue  # it explains nothing that the file does not say
                        affine = before.numbers(self._values), after.numbers(self._values)
                        if _gives_bias(arranged, bias, factor, *affine, axes):
                            self._accept(operation, name, order, kernel.shape, axes, before, after)
                            return

    def _nodes_with_kernel(self, name, kinds):
        """List the nodes of some kinds that read an operand, through views that the file undoes."""
        left, found = [name.split(":")[0]], []
        while left:
            for reader in self._readers[left.pop()]:
                if reader.op in kinds:
                    found.append(reader)
                elif reader.op in _COPIES and reader.name not in self._live:
                    left.append(reader.name)
        return found

    def _before(self, node):
        """Yield the affine operations before a linear one: those that the file may have folded."""
        yield _Affine(())
        live = [source.split(":")[0] for source in node.input if source.split(":")[0] in self._live]
        steps = []
        while len(live) == 1:
            source = self._nodes[live[0]]
            if source.op in _BEFORE_LINEAR:  # values tell whether channels stay last
                live = [source.input[0].split(":")[0]]
                continue
            step = self._affine_step(source)
            if step is None:
                return
            steps.insert(0, step[0])
            yield _Affine(tuple(steps))
            live = [step[1]]

    def _behind(self, node):
        """Yield the affine operations behind a linear one, the longest first.

        What a model computes several times from one tensor is one operation in the file.
        """
        nodes, steps, chains = [node], [], [_Affine(())]
        while True:
            readers = [reader for each in nodes for reader in self._readers[each.name]]
            nodes = [reader for reader in readers if reader.name in self._live]
            if nodes and all(each.op in _BEHIND_LINEAR for each in nodes):
                continue
            found = [self._affine_step(each) for each in nodes]
            if not found or None in found:
                break
            (kind, operand), _ = found[0]
            value = self._values[operand]
            if not all(
                other == kind and np.array_equal(self._values[name], value)
                for (other, name), _ in found
            ):
                break
            steps.append((kind, operand))
            chains.append(_Affine(tuple(steps)))
        return reversed(chains)

    def _affine_step(self, node):
        """Return what a node does to its one live input, and the name of the node that makes it."""
        if node.op not in (*_ADDITIONS, "Sub", *_PRODUCTS) or len(node.input) < 2:
            return None
        first, second = node.input[:2]
        live = [s.split(":")[0] in self._live for s in (first, second)]
        if live == [True, False]:
            operand, source = _tensor_name(second), first
        elif live == [False, True] and node.op not in ("Sub", "RealDiv"):
            operand, source = _tensor_name(first), second
        else:
            return None
        if operand not in self._values:
            return None
        return (node.op, operand), source.split(":")[0]

    def _accept(self, operation, name, order, shape, axes, before, after):
        """Note the explanation of a kernel and of its bias."""
        (axis, inputs), rank = axes, len(shape)
        needs = tuple(dict.fromkeys((*before.operands, *after.operands)))
        scaled = any(kind in _PRODUCTS for kind, _ in (*before.steps, *after.steps))

        def folded_factor(operands):
            return after.computed(operands)[0] * before.computed(operands)[0]

        def along_outputs(vector):
            return tf.broadcast_to(vector, [shape[axis]])

        copied = self._copied_from(name)
        factor = (folded_factor, needs) if scaled else ()
        kernel = FoldedKernel(name, copied, tuple(order), shape, axis, *factor)

        def rescaled_kernel(operands):
            by_input = tf.reshape(before.computed(operands)[0], _along(inputs, rank))
            by_output = along_outputs(after.computed(operands)[0])
            by_output = tf.reshape(by_output, _along(axis, rank))
            return kernel.arranged(operands[name]) * by_input * by_output

        def folded_bias(operands):
            scale, shift = after.computed(operands)
            if before.steps:
                offset = tf.reshape(before.computed(operands)[1], _along(inputs, rank))
                others = [other for other in range(rank) if other != axis]
                shift += tf.reduce_sum(kernel.arranged(operands[name]) * offset, others) * scale
            return tf.reshape(along_outputs(shift), bias.shape)

        if np.size(before.numbers(self._values)[0]) == 1:
            self.found[operation.inputs[_KERNEL_INPUT]] = kernel
        else:  # the weights of a channel are scaled apart: they have other integers then
            self.found[operation.inputs[_KERNEL_INPUT]] = Derived((name, *needs), rescaled_kernel)
        bias_place = _places(operation)[1]
        bias = self._constant(operation, bias_place)
        if bias is not None:
            self.found[operation.inputs[bias_place]] = Derived((name, *needs), folded_bias)

    def _copied_from(self, name):
        """Name the weights that an operand is copied from; none if it computes anything."""
        left, weights = [name.split(":")[0]], []
        while left:
            node = self._nodes[left.pop()]
            if node.name in self._weights:
                weights.append(node.name)
            elif node.name not in self._weighted:
                continue
            elif node.op in _COPIES or (node.op == "Cast"):
                left += [source.split(":")[0] for source in node.input]
            else:
                return ()
        return tuple(weights)

    def _explain(self, tensor):
        """Explain a constant as one operand, in another order, negated or inverted."""
        value = constant_value(self._model, tensor)
        largest = np.abs(value).max(initial=0.0)
        for name in self._by_size.get(value.size, ()):
            operand = self._values[name]
            for form, change in _FORMS.items():
                with np.errstate(divide="ignore"):
                    changed = change(operand)
                if not np.isclose(np.abs(changed).max(initial=0.0), largest, rtol=_SAME):
                    continue
                for order in _orders(operand.shape, value.shape):
                    arranged = np.transpose(changed, order).reshape(value.shape)
                    if np.abs(arranged - value).max(initial=0.0) <= _SAME * largest:
                        self.found[tensor.index] = self._plain(name, order, value.shape, form)
                        return
        self._explain_joined(tensor, value, largest)

    def _affine_chains(self):
        """Yield additions in a row, and products in a row: the converter makes one of them."""
        for node in self._definition.node:
            steps, place = [], node
            while place.name in self._live and (step := self._affine_step(place)) is not None:
                if steps and (step[0][0] in _PRODUCTS) != (steps[0][0] in _PRODUCTS):
                    break
                steps.insert(0, step[0])
                if len(steps) > 1 and any(self._is_weighted(name) for _, name in steps):
                    yield _Affine(tuple(steps))
                place = self._nodes[step[1]]

    def _explain_joined(self, tensor, value, largest):
        """Explain a constant as the sum or the product of operands, negated or inverted."""
        for chain in self._chains:
            joined = chain.joined(self._values)
            if joined.size != value.size:
                continue
            for change in _FORMS.values():
                with np.errstate(divide="ignore"):
                    far = np.abs(change(joined).ravel() - value.ravel()).max(initial=0.0)
                if far <= _SAME * largest:
                    operands = tuple(dict.fromkeys(chain.operands))
                    compute = functools.partial(_joined, chain, value.shape, change)
                    self.found[tensor.index] = Derived(operands, compute)
                    return

    def _plain(self, name, order, shape, form):
        """Return the explanation of a constant by one operand."""
        kernel = FoldedKernel(name, self._copied_from(name), tuple(order), shape, len(shape) - 1)
        if form == "equal" and len(shape) > 1:
            return kernel
        change = _FORMS[form]
        return Derived((name,), lambda operands: kernel.arranged(change(operands[name])))


_FORMS = {"equal": lambda x: x, "negated": lambda x: -x, "inverted": lambda x: 1.0 / x}


def _in_order(value) -> np.ndarray:
    """Return the numbers of an array in ascending order."""
    return np.sort(value, axis=None)


def _factor_between(arranged, kernel, scale, axes) -> np.ndarray | None:
    """Return the factor per output channel between two kernels; None if there is none.

    The first is scaled before, by one number or one per input channel.
    """
    axis, inputs = axes
    if np.size(scale) not in (1, arranged.shape[inputs]):
        return None
    found = arranged * np.reshape(scale, _along(inputs, kernel.ndim))
    found, wanted = (
        np.moveaxis(x, axis, 0).reshape(kernel.shape[axis], -1) for x in (found, kernel)
    )
    largest = np.abs(wanted).max()
    for rows in (slice(0, 1), slice(None)):  # most are told from their first channel
        some = wanted[rows]
        places = np.arange(len(some)), np.argmax(np.abs(some), axis=1)
        with np.errstate(divide="ignore", invalid="ignore"):
            factor = some[places] / found[rows][places]
        if not np.isfinite(factor).all():
            return None
        if np.abs(found[rows] * factor[:, None] - some).max() > _SAME * largest:
            return None
    return factor


def _gives_bias(arranged, bias, factor, before, after, axes) -> bool:
    """Tell whether affine operations before and behind a kernel give its factor and the bias."""
    (_, offset), (scale, shift), (axis, inputs) = before, after, axes
    channels = len(factor)
    if np.size(scale) not in (1, channels) or np.size(shift) not in (1, channels):
        return False
    if np.abs(np.ravel(scale) - factor).max() > _SAME * np.abs(factor).max():
        return False
    if np.size(offset) not in (1, arranged.shape[inputs]):
        return False
    moved = arranged * np.reshape(offset, _along(inputs, arranged.ndim))
    others = tuple(other for other in range(moved.ndim) if other != axis)
    found = moved.sum(others) * np.ravel(scale) + np.ravel(shift)
    wanted = np.zeros(channels) if bias is None else bias.ravel()
    if wanted.size != channels:
        return False
    size = max(np.abs(wanted).max(), _SAME * np.abs(arranged).max())
    return bool(np.abs(found - wanted).max() <= 10 * _SAME * size)


def _places(operation: Operation) -> tuple[int, int | None]:
    """Return where a linear operation reads its kernel and its bias; None if it has no bias."""
    return _KERNEL_INPUT, support(operation.name).bias


def _channel_axes(operation: Operation, rank: int) -> tuple[int, int]:
    """Return the axes of the output and of the input channels of a kernel in the file."""
    if operation.name == "DEPTHWISE_CONV_2D":
        return 3, 3
    if operation.name == "BATCH_MATMUL" and not operation.options.get("adj_y"):
        return rank - 1, rank - 2
    if operation.name == "BATCH_MATMUL":
        return rank - 2, rank - 1
    return 0, rank - 1


def _along(axis: int, rank: int) -> list[int]:
    """Return the shape in which a vector, or one number, broadcasts along an axis."""
    return [-1 if other == axis else 1 for other in range(rank)]


@dataclasses.dataclass(frozen=True)
class _Affine:
    """Affine operations in a row, each a type and the name of its operand."""

    steps: tuple[tuple[str, str], ...]

    @property
    def operands(self):
        """The names of the operands."""
        return tuple(operand for _, operand in self.steps)

    def numbers(self, values):
        """Return (scale, shift), float arrays of one number or one per channel; else no numbers."""
        try:
            return self._followed(
                *np.float64((1.0, 0.0)), lambda name: np.ravel(values[name]).astype(np.float64)
            )
        except ValueError:  # channels of two kinds
            return np.full(0, np.nan), np.full(0, np.nan)

    def joined(self, values):
        """Return what the operands of additions alone, or of products alone, broadcast to."""
        scale, shift = self._followed(1.0, 0.0, values.__getitem__)
        return scale if self.steps[0][0] in _PRODUCTS else shift

    def computed(self, operands):
        """Return (scale, shift) as float32 tensors of the same shapes."""
        one, zero = tf.constant(1.0), tf.constant(0.0)
        return self._followed(one, zero, lambda name: tf.reshape(operands[name], [-1]))

    def _followed(self, scale, shift, value_of):
        """Follow x * scale + shift through the operations."""
        for kind, operand in self.steps:
            c = value_of(operand)
            if kind in _ADDITIONS:
                shift = shift + c
            elif kind == "Sub":
                shift = shift - c
            elif kind == "Mul":
                scale, shift = scale * c, shift * c
            else:
                scale, shift = scale / c, shift / c
        return scale, shift


def _joined(chain, shape, change, operands):
    """Compute what additions or products in a row come to, changed, in a shape."""
    return tf.reshape(change(chain.joined(operands)), shape)


def _orders(shape: Sequence[int], wanted: Sequence[int]):
    """Yield the transpositions of an array that give another shape, axes joined or cut apart."""
    real = [axis for axis, size in enumerate(shape) if size != 1]
    units = [axis for axis, size in enumerate(shape) if size == 1]
    target = set(np.cumprod([size for size in wanted if size != 1]))
    yield tuple(range(len(shape)))
    if len(real) > 4:
        return
    for order in itertools.permutations(real):
        found = set(np.cumprod([shape[axis] for axis in order]))
        if (found >= target or found <= target) and order != tuple(real):
            yield (*order, *units)


def _tensor_name(source: str) -> str:
    """Return the full name of a tensor that a node reads."""
    return source if ":" in source else f"{source}:0"
