"""What a model computes on a batch: its outputs, with names and activations, and its layers'."""

import contextlib
import dataclasses
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import keras

from tfcompress.compat.keras_graphs import produced_by
from tfcompress.compat.keras_layers import automatic_name
from tfcompress.keras_graph.interception import intercepted_calls
from tfcompress.keras_graph.selection import select_layers
from tfcompress.keras_graph.wrapper import unwrap

_PROBABILITIES = ("softmax", "sigmoid")
_BINARY_LOSSES = ("binary_crossentropy", "binary_focal_crossentropy")
_NUMBERED = re.compile(r"(output|outputs)?_?\d*")


@dataclasses.dataclass(frozen=True)
class Signals:
    """The outputs of a model and of chosen layers on a batch.

    Attributes:
        outputs: the model's outputs, in its own structure.
        layers: the outputs of the chosen layers by name.
        names: the user's names of the outputs, flattened; see ``given_names``.
    """

    outputs: Any
    layers: dict[str, Any] = dataclasses.field(default_factory=dict)
    names: Sequence[str | None] | None = None

    def __post_init__(self):
        if self.names is None:
            object.__setattr__(self, "names", given_names(self.outputs))


def symbolic(tensor, examples: int | None = None) -> keras.KerasTensor:
    """Return a symbolic tensor like a tensor, for a number of examples; any by default."""
    dtype = keras.backend.standardize_dtype(tensor.dtype)
    return keras.KerasTensor((examples, *tensor.shape[1:]), dtype)


def find_layer(model: keras.Model, name: str) -> keras.Layer:
    """Return the one layer of a model with this name or path; wrappers are looked through."""
    found = select_layers(model, [name])
    if len(found) > 1:
        paths = ", ".join(path for path, _ in found)
        raise ValueError(
            f"Model {model.name!r} has several layers named {name!r}: pass the path of one of "
            f"them: {paths}. Received: {name!r}"
        )
    return found[0][1]


@contextlib.contextmanager
def captured_outputs(model: keras.Model, names: Sequence[str]) -> Iterator[dict]:
    """Collect the outputs of layers by name or path while the model runs inside a ``with`` block.

    Works for every kind of model, nested and subclassed ones included; the model is not changed.
    """
    outputs: dict = {}
    wanted: dict[int, list[str]] = {}
    layers = {name: find_layer(model, name) for name in names}
    for name, layer in layers.items():
        wanted.setdefault(id(layer), []).append(name)

    def capture(layer, call):
        def capturing(*args, **kwargs):
            result = call(*args, **kwargs)
            for name in wanted[id(layer)]:
                if name in outputs:
                    raise ValueError(
                        f"Layer {name!r} of model {model.name!r} runs more than once in a call, or "
                        "in a loop, so it has no single output to distill. Choose another layer. "
                        f"Received: {name!r}"
                    )
                outputs[name] = result
            return result

        return capturing

    unique = {id(layer): layer for layer in layers.values()}
    with intercepted_calls(unique.values(), capture):
        yield outputs


def detect_heads(model: keras.Model) -> list[str | None]:
    """Return the final activation of each output of a model, flattened.

    One of "softmax", "sigmoid" and "linear"; None if unknown (a custom activation, a final
    reshape). An empty list for a subclassed model.
    """
    return [_head(tensor) for tensor in getattr(unwrap(model), "outputs", None) or []]


def _head(tensor):
    """Return the activation that produced a symbolic tensor."""
    operation, _, index = produced_by(tensor)
    if isinstance(operation, keras.Model) and getattr(operation, "outputs", None):
        return _head(operation.outputs[index])
    name = type(operation).__name__.lower()
    if name not in _PROBABILITIES:
        name = getattr(getattr(operation, "activation", None), "__name__", None)
    return name if name in (*_PROBABILITIES, "linear") else None


def resolve_from_logits(
    from_logits: bool | None, student: str | None, teacher: str | None, output: str
) -> bool:
    """Return whether an output is logits, from the user's argument and the final activations.

    If these are unknown, logits are assumed. Raises ValueError if they contradict each other.
    """
    ends = {
        who: activation not in _PROBABILITIES
        for who, activation in (("student", student), ("teacher", teacher))
        if activation is not None
    }
    claims = set(ends.values()) | ({from_logits} - {None})
    if len(claims) > 1:
        raise ValueError(
            f"Student and teacher must both return logits or both probabilities. Output {output!r} "
            f"of the student ends in activation {student or 'unknown'}, the teacher's in "
            f"{teacher or 'unknown'}. Give both the same activation (with a matching "
            "`from_logits`), or pass the teacher as a callable that converts: "
            f"`lambda x: {_converted(student, teacher)}`. Received: from_logits={from_logits}"
        )
    return claims.pop() if claims else True


def _converted(student, teacher):
    """Return code that gives a teacher's output the form of the student's."""
    outputs = "teacher(x, training=False)"
    if student in _PROBABILITIES:
        return f"keras.ops.{student}({outputs})"
    return (
        f"-keras.ops.log(1 / {outputs} - 1)"
        if teacher == "sigmoid"
        else f"keras.ops.log({outputs})"
    )


def given_names(outputs, model: keras.Model | None = None) -> list[str | None]:
    """Return the names that the user gave to outputs, flattened: keys or names of last layers.

    None for a name that Keras or a file format made up, or that several outputs share.
    """
    tensors = getattr(unwrap(model), "outputs", None) if model is not None else None
    flat = keras.tree.flatten_with_path(outputs)
    if not isinstance(outputs, dict) and tensors and len(tensors) == len(flat):
        names = [_given(produced_by(tensor).operation) for tensor in tensors]
    else:
        names = ["/".join(map(str, path)) for path, _ in flat]
        names = [None if _NUMBERED.fullmatch(name) else name for name in names]
    return [None if names.count(name) > 1 else name for name in names]


def _given(operation):
    """Return an operation's name; None if Keras made it up."""
    automatic = automatic_name(type(operation).__name__)
    return None if re.fullmatch(rf"{automatic}(_\d+)?", operation.name) else operation.name


def output_names(model: keras.Model, outputs) -> list[str]:
    """Return a name for each output: its key, its layer's name, or its position."""
    tensors = getattr(unwrap(model), "outputs", None)
    if tensors and not isinstance(outputs, dict):
        return [produced_by(tensor).operation.name for tensor in tensors]
    paths = [path for path, _ in keras.tree.flatten_with_path(outputs)]
    return ["/".join(map(str, path)) or "0" for path in paths]


def match_outputs(
    ours: Sequence[str | None],
    theirs: Sequence[str | None],
    shapes: tuple[Sequence[tuple], Sequence[tuple]],
) -> list[int]:
    """Return the position of the teacher's output for each of the student's, of equal number.

    Outputs with the same name belong together; the others are matched in order. Raises ValueError
    if two outputs to be matched in order have different names, and the shapes leave a choice.

    Example:
    >>> match_outputs(["kind", "colour"], ["colour", "kind"], ([(None, 3)] * 2, [(None, 3)] * 2))
    [1, 0]
    """
    places = {name: index for index, name in enumerate(theirs) if name is not None}
    matched = {index: places[name] for index, name in enumerate(ours) if name in places}
    some_agree = bool(matched)
    left = [index for index in range(len(theirs)) if index not in matched.values()]
    rest = [index for index in range(len(ours)) if index not in matched]
    for index, place in zip(rest, left, strict=True):
        could_be = [other for other in left if may_be_equal(shapes[0][index], shapes[1][other])]
        named = ours[index] is not None and theirs[place] is not None
        if named and len(ours) > 1 and (len(could_be) > 1 or some_agree):
            raise ValueError(
                f"Student and teacher name their outputs differently: the teacher has no output "
                f"{ours[index]!r}, and {theirs[place]!r} is in its place. Give both the same "
                "names, or pass the teacher as a callable that returns a dict with the student's "
                f"names. Received: student {list(ours)}, teacher {list(theirs)}"
            )
        matched[index] = place
    return [matched[index] for index in range(len(ours))]


def may_be_equal(ours: Sequence[int | None], theirs: Sequence[int | None]) -> bool:
    """Return whether two static shapes can be equal."""
    pairs = zip(ours, theirs, strict=False)
    return len(ours) == len(theirs) and all(a == b or None in (a, b) for a, b in pairs)


def loss_of_output(losses, index: int, names: Sequence[str]):
    """Return the loss that ``compile`` was given for an output; None if there is none."""
    if isinstance(losses, Mapping):
        return losses.get(names[index])
    if isinstance(losses, (list, tuple)):
        return losses[index] if index < len(losses) else None
    return losses


def loss_name(loss) -> str:
    """Return the name of a loss as Keras's functions have it: "sparse_categorical_crossentropy"."""
    name = loss if isinstance(loss, str) else getattr(loss, "__name__", type(loss).__name__)
    return automatic_name(name)


def is_binary(loss) -> bool:
    """Tell whether a loss treats each unit of an output as a binary decision of its own."""
    return loss_name(loss) in (*_BINARY_LOSSES, "bce")
