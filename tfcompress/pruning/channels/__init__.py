"""Channels really removed: which matter least, and the smaller model without them."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={"iterative": ["prune_iteratively"], "removal": ["remove_channels"]},
)
