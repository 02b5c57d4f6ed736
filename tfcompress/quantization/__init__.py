"""Quantization: the numerics of the deployed model, and training with them."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "placement": ["PlacementError"],
        "quantize_aware": ["QuantizeAware", "quantize_aware"],
        "scheme": ["Scheme"],
    },
)
