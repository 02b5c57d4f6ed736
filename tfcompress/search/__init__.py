"""Searches for the smallest, fastest file within a budget, and measures what layers tolerate."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
