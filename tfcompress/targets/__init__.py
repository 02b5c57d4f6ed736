"""Devices as data: a JSON file for each, the rules that check a file, and operation versions."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
