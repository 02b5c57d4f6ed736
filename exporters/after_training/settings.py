"""What ai-edge-quantizer is asked to make of a float file."""

import dataclasses

BLOCK_SIZES = (32, 64, 128, 256)
_ACTIVATIONS = (8, 16, None)


@dataclasses.dataclass(frozen=True)
class AfterTraining:
    """How ai-edge-quantizer stores the numbers of a trained model.

    Every kernel has a scale per output channel, fully connected ones too; runtimes before 2.17 do
    not know those. Beside int8 files of that kind it makes 4-bit weights, blocks of weights with a
    scale each, and weights that GPTQ has chosen. It is an extra: ``pip install 'tfcompress[ptq]'``.

    Attributes:
        weight_bits: 8, or 4 for fully connected layers, convolutions and embeddings. Depthwise and
            transposed convolutions keep 8: there is no 4-bit kernel for them.
        activation_bits: 8 or 16 for stored activations, whose ranges are observed; ``None`` for
            float activations, which kernels quantize while the model runs.
        block_size: how many weights of an output channel share a scale: 32, 64, 128 or 256, in
            fully connected layers whose inputs are a multiple of it; ``None`` for whole channels.
            Needs 4-bit weights and float activations. Only XNNPACK, the default, computes with
            blocks; under other kernels the file gives wrong numbers.
        gptq: whether GPTQ chooses the weights of fully connected layers, so that the errors of
            some make up for those of others on the representative data, instead of rounding each
            to the nearest. Needs float activations.

    Raises:
        ValueError: a value that is not supported, or a combination of values.

    Example:
    >>> export_tflite(model, "m.tflite", AfterTraining(weight_bits=4), representative_data=x)

    Method: Frantar et al., "GPTQ", 2022, https://arxiv.org/abs/2210.17323; the rest as in
    https://ai.google.dev/edge/litert/conversion/tensorflow/quantization/quantization_spec.
    """

    weight_bits: int = 8
    activation_bits: int | None = 8
    block_size: int | None = None
    gptq: bool = False

    def __post_init__(self):
        if self.weight_bits not in (4, 8):
            raise ValueError(
                f"`weight_bits` must be 4 or 8. Received: weight_bits={self.weight_bits!r}"
            )
        if self.activation_bits not in _ACTIVATIONS:
            raise ValueError(
                f"`activation_bits` must be one of {list(_ACTIVATIONS)}. "
                f"Received: activation_bits={self.activation_bits!r}"
            )
        if self.gptq and self.activation_bits is not None:
            raise ValueError(
                "GPTQ needs `activation_bits=None`: ai-edge-quantizer 0.10 writes wrong weights "
                f"beside integer activations. Received: activation_bits={self.activation_bits!r}"
            )
        if self.block_size is None:
            return
        if self.block_size not in BLOCK_SIZES:
            raise ValueError(
                f"`block_size` must be one of {list(BLOCK_SIZES)} or None. "
                f"Received: block_size={self.block_size!r}"
            )
        if (self.weight_bits, self.activation_bits) != (4, None):
            raise ValueError(
                "Blocks need `weight_bits=4` and `activation_bits=None`: no other kernel knows "
                f"them. Received: weight_bits={self.weight_bits!r}, "
                f"activation_bits={self.activation_bits!r}"
            )

    @property
    def integer(self) -> bool:
        """Whether the file may compute nothing in float."""
        return self.activation_bits is not None

    @property
    def needs_data(self) -> bool:
        """Whether representative data has to be seen."""
        return self.integer or self.gptq

    def __str__(self) -> str:
        activations = "float" if self.activation_bits is None else f"int{self.activation_bits}"
        weights = f"int{self.weight_bits}"
        if self.block_size:
            weights += f" in blocks of {self.block_size}"
        gptq = ", GPTQ" if self.gptq else ""
        return f"weights {weights}, activations {activations}{gptq}, ai-edge-quantizer"
