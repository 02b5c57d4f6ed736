"""Searches for the smallest, fastest file within a budget, and measures what layers tolerate."""

import lazy_loader

from tfcompress.on_tensorflow import with_calls_on_tensorflow

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
__getattr__ = with_calls_on_tensorflow(
    __getattr__,
    {
        "choose_precisions": "tfcompress.search.precision",
        "compress": "tfcompress.search.compress",
        "sensitivity": "tfcompress.search.sensitivity",
    },
)
