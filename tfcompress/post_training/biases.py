"""Bias correction: the mean of what each layer computes, put back where rounding has moved it."""

import dataclasses

import numpy as np

from tfcompress.post_training.report import StepReport
from tfcompress.post_training.workbench import Workbench


@dataclasses.dataclass(frozen=True)
class CorrectBiases:
    """The step "correct_biases": layer after layer, from the input on.

    The mean of each output channel of each layer is compared between the model as it is and the
    model as it is rounded, those before it corrected already, and the difference is added to the
    bias. Other biases make other ranges of activations, so this is done again once those were
    observed anew.

    Attributes:
        passes: how often.

    Raises:
        ValueError: ``passes`` is not positive.

    Method: Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction",
    2019, https://arxiv.org/abs/1906.04721, appendix D (empirical bias correction).
    """

    passes: int = 2

    def __post_init__(self):
        if self.passes < 1:
            raise ValueError(f"`passes` is at least 1. Received: passes={self.passes!r}")

    def cost(self, bench: Workbench) -> float:
        """Estimate the passes over the data that the step makes."""
        with_bias = sum(linear.bias is not None for linear in bench.linears)
        return 1 + self.passes * (1 + with_bias / 2)

    def apply(self, bench: Workbench) -> StepReport:
        """Change the biases of the model on a workbench, and say which."""
        outputs = bench.reference_outputs()
        wanted = {path: made.mean(0, dtype=np.float64) for path, made in outputs.items()}
        with_bias = [linear for linear in bench.linears if linear.bias is not None]
        for _ in range(self.passes):
            bench.calibrate()
            for linear in with_bias:
                mean = bench.rounded_rows(linear).mean(0, dtype=np.float64)
                matrices = linear.to_matrices(bench.grids.rounded(linear).astype(np.float64))
                made = np.einsum("gn,gnm->gm", mean, matrices).ravel()
                linear.bias.assign(wanted[linear.path] - made)
        left = {x.path: "it has no bias" for x in bench.linears if x.bias is None}
        changed = tuple(linear.path for linear in with_bias)
        return StepReport("correct_biases", changed, {**bench.others, **left})
