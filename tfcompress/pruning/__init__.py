"""Pruning: schedules, criteria, patterns and the masks that they lead to."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "masks": ["MaskConstraint"],
        "patterns": ["Element"],
        "pruner": ["remove_masks"],
        "schedules": [
            "ConstantSparsity",
            "CosineDecay",
            "ExponentialDecay",
            "OneCycle",
            "PolynomialDecay",
        ],
    },
)
