"""The numerics of a deployed model, in one place: training and export read the same config."""

import dataclasses
from collections.abc import Iterable

SCHEME_VERSION = 3

KERNELS = ("xnnpack", "reference", "micro")

Names = str | tuple[str, ...]

# (weight bits, activation bits) that a LiteRT runtime computes with, and what they are called.
DEPLOYABLE = {
    (8, 8): "int8",
    (4, 8): "int4",
    (2, 8): "int2",
    (8, 16): "int16x8",
    (8, None): "dynamic",
    (16, None): "float16",
}


@dataclasses.dataclass(frozen=True)
class Scheme:
    """How the weights and activations of a deployed model are stored.

    Attributes:
        weight_bits: bits of a kernel weight: 8, 4 or 2 for integers, 16 for half-precision floats.
            Integer kernels leave out the most negative integer, so that they are symmetric around
            zero; 2 bits are -1, 0 and 1, and only fully connected layers have a kernel for them.
            Biases are integers of 32 bits (64 beside 16-bit activations), or floats.
        activation_bits: bits of a stored activation: 8 or 16, or ``None`` for float activations.
        per_channel_weights: one scale per output channel of a convolution, or one for the whole
            kernel.
        dense_per_channel: one scale per output channel of fully connected kernels as well. Off,
            because the Edge TPU refuses it, and runtimes before 2.17 do beside float activations.
        symmetric_activations: whether the zero point of activations is 0. Always so with 16 bits.
        kernels: the kernels that inference of the Keras model equals to the last bit: "xnnpack",
            which phones and a Raspberry Pi run by default; "reference", LiteRT's plain kernels; or
            "micro", those of TFLite Micro. The file is the same.
        overrides: (layers, scheme) pairs for layers with other numerics, the last match first;
            made by ``override``.

    Raises:
        ValueError: a value, or a combination of values, that no runtime computes with.

    Example:
    >>> Scheme.int8().weight_bits
    8
    """

    weight_bits: int = 8
    activation_bits: int | None = 8
    per_channel_weights: bool = True
    dense_per_channel: bool = False
    symmetric_activations: bool = False
    kernels: str = "xnnpack"
    overrides: tuple[tuple[Names, "Scheme | None"], ...] = ()

    def __post_init__(self):
        bits = (self.weight_bits, self.activation_bits)
        if bits not in DEPLOYABLE:
            known = "; ".join(
                f"weight_bits={weights}, activation_bits={activations} ({name})"
                for (weights, activations), name in DEPLOYABLE.items()
            )
            raise ValueError(
                f"No runtime computes with these bits. Those that are supported: {known}. "
                f"Received: weight_bits={bits[0]!r}, activation_bits={bits[1]!r}"
            )
        for name in ("per_channel_weights", "dense_per_channel", "symmetric_activations"):
            if not isinstance(getattr(self, name), bool):
                raise ValueError(
                    f"`{name}` must be True or False. Received: {name}={getattr(self, name)!r}"
                )
        if self.kernels not in KERNELS:
            raise ValueError(
                f"`kernels` must be one of {list(KERNELS)}. Received: kernels={self.kernels!r}"
            )
        if self.kernels == "micro" and self.weight_bits == 2:
            raise ValueError(
                "TFLite Micro has no kernel for 2-bit weights: use 4 or 8. "
                "Received: weight_bits=2, kernels='micro'"
            )
        if self.dense_per_channel and not (self.per_channel_weights and self.weight_bits < 16):
            raise ValueError(
                "`dense_per_channel` goes with integer weights and `per_channel_weights`. "
                "Received: "
                f"weight_bits={self.weight_bits}, per_channel_weights={self.per_channel_weights}"
            )
        if self.activation_bits == 16 and not self.symmetric_activations:
            raise ValueError(
                "The zero point of 16-bit activations is 0: pass `symmetric_activations=True`. "
                "Received: symmetric_activations=False"
            )
        if self.activation_bits is None and self.symmetric_activations:
            raise ValueError(
                "`symmetric_activations` is about stored activations. "
                "Received: activation_bits=None, symmetric_activations=True"
            )
        for layers, other in self.overrides:
            self._require_fitting(layers, other)

    def _require_fitting(self, layers, other):
        names = (layers,) if isinstance(layers, str) else layers
        named = isinstance(names, tuple) and all(isinstance(n, str) and n for n in names)
        if not (named and names):
            raise ValueError(
                "An override is for a regular expression or a list of names or paths of layers. "
                f"Received: layers={layers!r}"
            )
        if other is None:
            return
        if not isinstance(other, Scheme) or other.overrides:
            raise ValueError(
                "Layers are given a scheme without overrides of its own, or None to stay in float. "
                f"Received: layers={layers!r}, scheme={other!r}"
            )
        for name in ("activation_bits", "symmetric_activations", "kernels"):
            if getattr(other, name) != getattr(self, name):
                raise ValueError(
                    f"Layers of one model have the same `{name}`; their weights may differ. "
                    f"Received: {name}={getattr(self, name)!r}, and {getattr(other, name)!r} for "
                    f"layers={layers!r}"
                )

    @property
    def name(self) -> str:
        """What the bits are called: "int8", "int4", "int2", "int16x8", "dynamic" or "float16"."""
        return DEPLOYABLE[self.weight_bits, self.activation_bits]

    @property
    def is_integer(self) -> bool:
        """Whether activations are stored as integers, so that a file computes nothing in float."""
        return self.activation_bits is not None

    @classmethod
    def int8(cls) -> "Scheme":
        """8-bit weights, one scale per channel, and 8-bit activations."""
        return cls()

    @classmethod
    def int8_per_tensor(cls) -> "Scheme":
        """8-bit weights with one scale per kernel, and 8-bit activations."""
        return cls(per_channel_weights=False)

    @classmethod
    def int8_weights_int16_activations(cls) -> "Scheme":
        """8-bit weights, one scale per channel, and 16-bit activations: "int16x8"."""
        return cls(activation_bits=16, symmetric_activations=True)

    @classmethod
    def int4_weights(cls) -> "Scheme":
        """4-bit weights, one scale per channel, and 8-bit activations."""
        return cls(weight_bits=4)

    @classmethod
    def dynamic_range(cls) -> "Scheme":
        """8-bit weights; activations are floats that kernels quantize while the model runs."""
        return cls(activation_bits=None)

    @classmethod
    def float16(cls) -> "Scheme":
        """Half-precision weights, float activations."""
        return cls(weight_bits=16, activation_bits=None)

    def override(self, layers: str | Iterable[str], scheme: "Scheme | None") -> "Scheme":
        """Return this scheme with other numerics for some layers.

        Args:
            layers: a regular expression searched for in the layers' paths, or a list of names or
                paths. A layer's sublayers go with it. Later overrides win over earlier ones.
            scheme: what their weights are stored as; activations as in the rest of the model.
                ``None``: the layers compute in float.

        Returns:
            A new scheme.

        Raises:
            ValueError: the two schemes cannot be in one file; the message says why.

        Example:
        >>> scheme = Scheme.int4_weights().override(["stem", "head"], Scheme.int8())
        """
        names = layers if isinstance(layers, str) else tuple(layers)
        return dataclasses.replace(self, overrides=(*self.overrides, (names, scheme)))

    def get_config(self) -> dict:
        """Return the scheme as plain data, with the version of its format."""
        settings = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        settings["overrides"] = [
            {
                "layers": names if isinstance(names, str) else list(names),
                "scheme": None if other is None else other.get_config(),
            }
            for names, other in self.overrides
        ]
        return {"version": SCHEME_VERSION, **settings}

    @classmethod
    def from_config(cls, config: dict) -> "Scheme":
        """Build a scheme from ``get_config``'s data.

        Args:
            config: the data, of this version or an earlier one.

        Returns:
            An equal scheme.

        Raises:
            ValueError: the version is not supported, a key is unknown, or the data is of another
                form than ``get_config`` gives.
        """
        try:
            return cls._from_settings(dict(config))
        except (AttributeError, KeyError, TypeError) as error:
            raise ValueError(
                f"Not the config of a quantization scheme ({type(error).__name__}: {error}). "
                f"Received: {str(config)[:200]}"
            ) from error

    @classmethod
    def _from_settings(cls, config: dict) -> "Scheme":
        version = config.pop("version", None)
        if version not in range(1, SCHEME_VERSION + 1):  # version 1 has fewer settings
            raise ValueError(
                f"This release reads versions 1 to {SCHEME_VERSION} of the quantization scheme. "
                f"Received: version={version!r}"
            )
        unknown = sorted(set(config) - {field.name for field in dataclasses.fields(cls)})
        if unknown:
            raise ValueError(f"A quantization scheme has no such setting. Received: {unknown}")
        config["overrides"] = tuple(
            (
                entry["layers"] if isinstance(entry["layers"], str) else tuple(entry["layers"]),
                None if entry["scheme"] is None else cls.from_config(entry["scheme"]),
            )
            for entry in config.get("overrides", ())
        )
        return cls(**config)


def require_scheme(scheme: Scheme) -> Scheme:
    """Return a scheme, checked to be one."""
    if not isinstance(scheme, Scheme):
        raise TypeError(
            "`scheme` must be a Scheme, such as Scheme.int8() or Scheme.int4_weights(). "
            f"Received: scheme={scheme!r} of type {type(scheme).__name__}"
        )
    return scheme
