"""Searches for the smallest, fastest file within a budget, and measures what layers tolerate."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "compress": ["compress"],
        "precision": ["PrecisionChoice", "choose_precisions"],
        "results": ["SearchResult", "read_result"],
        "sensitivity": ["Sensitivity", "sensitivity"],
    },
)
