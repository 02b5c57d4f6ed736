"""What may have step sizes that are trained."""

from tfcompress.quantization.scheme import Scheme

_LEARNABLE = ("weights", "activations")


def require_learnable(scheme: Scheme, learn_steps: tuple[str, ...]) -> None:
    """Check that a file takes step sizes from training.

    Args:
        scheme: the numerics.
        learn_steps: what is to have trained steps.

    Raises:
        ValueError: ``learn_steps`` names something other than "weights" and "activations", or steps
            that the converter chooses itself with this scheme.
    """
    if any(name not in _LEARNABLE for name in learn_steps):
        raise ValueError(
            f"`learn_steps` lists any of {list(_LEARNABLE)}. Received: learn_steps={learn_steps!r}"
        )
    if learn_steps and (scheme.activation_bits is None or scheme.dense_per_channel):
        raise ValueError(
            "Step sizes are trained where the file takes them from training: with integer "
            "activations and without `dense_per_channel`, where the converter chooses scales "
            f"itself. Received: learn_steps={learn_steps!r}, scheme={scheme}"
        )
    if "weights" in learn_steps and scheme.activation_bits == 16:
        raise ValueError(
            "The converter chooses the step sizes of weights itself beside 16-bit activations, "
            f"whose own can be trained. Received: learn_steps={learn_steps!r}"
        )
