"""Bias correction: the bias of each layer compensates the shift of its mean output by rounding."""

import dataclasses

import numpy as np

from tfcompress.post_training.report import StepReport
from tfcompress.post_training.session import Session


@dataclasses.dataclass(frozen=True)
class CorrectBiases:
    """The step "correct_biases".

    Layer by layer, the mean of each output channel of the quantized model is compared with the
    float model's, and the difference is added to the bias. New biases change the ranges of
    activations, so the ranges are observed again and the correction is repeated.

    Attributes:
        passes: number of repetitions.

    Raises:
        ValueError: ``passes`` is not positive.

    Method: Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction",
    2019, https://arxiv.org/abs/1906.04721, appendix D (empirical bias correction).
    """

    passes: int = 2

    def __post_init__(self) -> None:
        if self.passes < 1:
            raise ValueError(f"`passes` must be at least 1. Received: passes={self.passes!r}")

    def cost(self, session: Session) -> float:
        """Estimate the passes over the data that the step makes."""
        with_bias = sum(linear.bias is not None for linear in session.linears)
        return 1 + self.passes * (1 + with_bias / 2)

    def apply(self, session: Session) -> StepReport:
        """Change the biases of the session's model."""
        outputs = session.reference_outputs()
        wanted = {path: values.mean(0, dtype=np.float64) for path, values in outputs.items()}
        with_bias = [(linear, linear.bias) for linear in session.linears if linear.bias is not None]
        for _ in range(self.passes):
            session.calibrate()
            for linear, bias in with_bias:
                mean = session.quantized_rows(linear).mean(0, dtype=np.float64)
                kernel = session.grids.quantized(linear).astype(np.float64)
                products = np.einsum("gn,gnm->gm", mean, linear.to_matrices(kernel)).ravel()
                bias.assign(wanted[linear.path] - products)
        unchanged = {x.path: "it has no bias" for x in session.linears if x.bias is None}
        changed = tuple(linear.path for linear, _ in with_bias)
        return StepReport("correct_biases", changed, {**session.skipped, **unchanged})
