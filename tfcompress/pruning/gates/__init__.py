"""Gates that learn which channels or weights a model can do without (L0 regularization)."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__, submod_attrs={"gated_model": ["Gated", "gated"]}
)
