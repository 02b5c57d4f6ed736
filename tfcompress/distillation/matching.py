"""Which output of the teacher belongs to which of the student."""

import re
from collections.abc import Sequence

import keras

from tfcompress.compat.keras_graphs import produced_by
from tfcompress.compat.keras_layers import automatic_name
from tfcompress.keras_graph.wrapper import unwrap

_NUMBERED = re.compile(r"(output|outputs)?_?\d*")


def given_names(outputs, model: keras.Model | None = None) -> list[str | None]:
    """Return the names that someone gave to outputs.

    Args:
        outputs: what a model returned: a tensor, or lists and dicts of such.
        model: the model, whose last layers name outputs that have no keys.

    Returns:
        For each output, flattened: its key or its layer's name; None where Keras or a file format
        numbered it, and where two have the same.
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
    automatic = automatic_name(type(operation).__name__)
    return None if re.fullmatch(rf"{automatic}(_\d+)?", operation.name) else operation.name


def match_outputs(
    ours: Sequence[str | None],
    theirs: Sequence[str | None],
    shapes: tuple[Sequence[tuple], Sequence[tuple]],
) -> list[int]:
    """Match outputs by name where names agree, and the others in their order.

    Args:
        ours: the names of the student's outputs; see ``given_names``.
        theirs: as many of the teacher's.
        shapes: the static shapes of the student's outputs and of the teacher's.

    Returns:
        For each output of the student the position of the teacher's.

    Raises:
        ValueError: two outputs that would be matched by their order have different names, and by
            its shape the student's could be another one of the teacher's as well.

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
        could_be = [other for other in left if _alike(shapes[0][index], shapes[1][other])]
        named = ours[index] is not None and theirs[place] is not None
        if named and len(ours) > 1 and (len(could_be) > 1 or some_agree):
            raise ValueError(
                f"Student and teacher name their outputs differently, so output {ours[index]!r} of "
                f"the student cannot be found: {theirs[place]!r} stands in its place. Give both "
                "equal names, or give the teacher as a callable that returns a dict with the "
                f"student's names. Received: student {list(ours)}, teacher {list(theirs)}"
            )
        matched[index] = place
    return [matched[index] for index in range(len(ours))]


def _alike(ours, theirs):
    pairs = zip(ours, theirs, strict=False)
    return len(ours) == len(theirs) and all(a == b or None in (a, b) for a, b in pairs)
