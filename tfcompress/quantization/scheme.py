"""The numerics of a deployed model, in one place: training and export read the same config."""

import dataclasses

SCHEME_VERSION = 1


@dataclasses.dataclass(frozen=True)
class Scheme:
    """How the weights and activations of a deployed model are stored.

    Attributes:
        weight_bits: bits of a kernel weight: 8 or 4. Biases are 32-bit integers.
        activation_bits: bits of an activation: 8.
        per_channel_weights: one scale per output channel of a convolution, or one for the whole
            kernel. Fully connected kernels have one scale each: runtimes before 2.17 and the Edge
            TPU want it so.

    Raises:
        ValueError: a value that no runtime supports.

    Example:
    >>> Scheme.int8()
    Scheme(weight_bits=8, activation_bits=8, per_channel_weights=True)
    """

    weight_bits: int = 8
    activation_bits: int = 8
    per_channel_weights: bool = True

    def __post_init__(self):
        if self.weight_bits not in (4, 8):
            raise ValueError(
                f"`weight_bits` must be 4 or 8. Received: weight_bits={self.weight_bits!r}"
            )
        if self.activation_bits != 8:
            raise ValueError(
                f"`activation_bits` must be 8. Received: activation_bits={self.activation_bits!r}"
            )

    @classmethod
    def int8(cls) -> "Scheme":
        """8-bit weights, one scale per channel, and 8-bit activations."""
        return cls()

    @classmethod
    def int8_per_tensor(cls) -> "Scheme":
        """8-bit weights with one scale per kernel, and 8-bit activations."""
        return cls(per_channel_weights=False)

    @classmethod
    def int4_weights(cls) -> "Scheme":
        """4-bit weights, one scale per channel, and 8-bit activations."""
        return cls(weight_bits=4)

    def get_config(self) -> dict:
        """Return the scheme as plain data, with the version of its format."""
        return {"version": SCHEME_VERSION, **dataclasses.asdict(self)}

    @classmethod
    def from_config(cls, config: dict) -> "Scheme":
        """Build a scheme from ``get_config``'s data.

        Args:
            config: the data.

        Returns:
            An equal scheme.

        Raises:
            ValueError: the version is not supported, or a key is unknown.
        """
        config = dict(config)
        version = config.pop("version", None)
        if version != SCHEME_VERSION:
            raise ValueError(
                f"This release reads version {SCHEME_VERSION} of the quantization scheme. "
                f"Received: version={version!r}"
            )
        unknown = sorted(set(config) - {field.name for field in dataclasses.fields(cls)})
        if unknown:
            raise ValueError(f"A quantization scheme has no such setting. Received: {unknown}")
        return cls(**config)
