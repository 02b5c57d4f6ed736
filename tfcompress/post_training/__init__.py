"""Post-training optimization: better integers from a trained model and unlabelled data."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "adaptive_rounding": ["RoundWeights"],
        "batch_normalization": ["fold_batch_normalization", "reestimate_batch_normalization"],
        "bias_correction": ["CorrectBiases"],
        "cross_layer_equalization": ["Equalize"],
        "optimization": ["correct_biases", "equalize", "repair", "round_weights"],
        "report": ["LayerNoise", "RepairReport", "StepReport"],
    },
)
