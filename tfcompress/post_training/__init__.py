"""Repairing a model for integers without training: what data, and no labels, can do."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "biases": ["CorrectBiases"],
        "equalizing": ["Equalize"],
        "folding": ["fold_batch_normalization"],
        "normalization": ["reestimate_batch_normalization"],
        "repairing": ["correct_biases", "equalize", "repair", "round_weights"],
        "report": ["LayerNoise", "RepairReport", "StepReport"],
        "rounding": ["RoundWeights"],
    },
)
