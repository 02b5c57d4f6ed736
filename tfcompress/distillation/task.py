"""What the loss given to ``compile`` says of an output."""

from collections.abc import Mapping, Sequence

from tfcompress.compat.keras_layers import automatic_name

_BINARY = ("binary_crossentropy", "binary_focal_crossentropy")


def loss_of_output(losses, index: int, names: Sequence[str]):
    """Return the loss of one output.

    Args:
        losses: what `compile` got as its `loss`: one, a list or a dict, by output.
        index: the output's position among the flattened ones.
        names: the outputs' names.

    Returns:
        The loss as given; None where there is none.
    """
    if isinstance(losses, Mapping):
        return losses.get(names[index])
    if isinstance(losses, (list, tuple)):
        return losses[index] if index < len(losses) else None
    return losses


def is_binary(loss) -> bool:
    """Tell whether a loss takes each unit of an output for a yes or no of its own."""
    name = loss if isinstance(loss, str) else getattr(loss, "__name__", type(loss).__name__)
    return automatic_name(name) in _BINARY or name == "bce"
