"""Pruning: schedules, criteria, patterns, masks, and the removal of channels and blocks."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "criteria": ["L1", "L2", "Movement", "Random", "Taylor"],
        "masks": ["MaskConstraint"],
        "patterns": ["Block", "Channel", "Element", "NofM"],
        "pruner": ["remove_masks"],
        "xnnpack": ["xnnpack_policy"],
        "schedules": [
            "ConstantSparsity",
            "CosineDecay",
            "ExponentialDecay",
            "OneCycle",
            "PolynomialDecay",
        ],
    },
)
