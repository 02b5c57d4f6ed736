"""What may have step sizes that are trained."""

from tfcompress.quantization.scheme import Scheme

_LEARNABLE = ("weights", "activations")


def require_learnable(scheme: Scheme, learn_steps: tuple[str, ...]) -> None:
    """Check that there are step sizes to train.

    Args:
        scheme: the numerics.
        learn_steps: what is to have trained steps.

    Raises:
        ValueError: ``learn_steps`` names something other than "weights" and "activations", or
            activations stay floats.
    """
    if any(name not in _LEARNABLE for name in learn_steps):
        raise ValueError(
            f"`learn_steps` lists any of {list(_LEARNABLE)}. Received: learn_steps={learn_steps!r}"
        )
    if learn_steps and scheme.activation_bits is None:
        raise ValueError(
            "Step sizes are trained with integer activations. "
            f"Received: learn_steps={learn_steps!r}, scheme={scheme}"
        )
