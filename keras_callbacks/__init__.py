"""Callbacks that compress a model while ``fit`` trains it, and that report on it.

Importing this package loads neither TensorFlow nor Keras: each name is imported on first use.
"""

import lazy_loader

from tfcompress.on_tensorflow import refused

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
__getattr__ = refused(
    __getattr__,
    {"QuantizationSchedule": "it belongs to the training of a quantization-aware model"},
)
