"""Searching: what a model tolerates, and what fits a budget."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "compress": ["compress"],
        "precision": ["choose_precisions"],
        "result": ["SearchResult"],
        "sensitivity": ["Sensitivity", "sensitivity"],
    },
)
