"""Callbacks that compress a model while ``fit`` trains it, and that report on it.

Importing this package loads neither TensorFlow nor Keras: each name is imported on first use.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
