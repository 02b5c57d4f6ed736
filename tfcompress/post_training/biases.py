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
    bias.

    Method: Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction",
    2019, https://arxiv.org/abs/1906.04721, appendix D (empirical bias correction).
    """

    def apply(self, bench: Workbench) -> StepReport:
        """Change the biases of the model on a workbench, and say which."""
        bench.calibrate()
        wanted = bench.reference_outputs()
        changed, left = [], dict(bench.others)
        for linear in bench.linears:
            if linear.bias is None:
                left[linear.path] = "it has no bias"
                continue
            mean = bench.rounded_rows(linear).astype(np.float64).mean(0)
            matrices = linear.to_matrices(bench.grids.rounded(linear).astype(np.float64))
            made = np.einsum("gn,gnm->gm", mean, matrices).ravel()
            linear.bias.assign(wanted.pop(linear.path).astype(np.float64).mean(0) - made)
            changed.append(linear.path)
        return StepReport("correct_biases", tuple(changed), left)
