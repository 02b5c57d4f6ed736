"""Export Keras models to .tflite files, and check that the files compute what the models do.

Importing this package loads neither TensorFlow nor Keras, nor a runtime: each name is imported when
it is first used.
"""

import lazy_loader

from tfcompress.deprecation import with_old_names
from tfcompress.on_tensorflow import with_calls_on_tensorflow

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
__getattr__ = with_calls_on_tensorflow(__getattr__, {"export_tflite": "exporters.export"})
__getattr__ = with_old_names(
    __name__, __getattr__, {"Agreement": "ParityReport", "Verdict": "CompatibilityReport"}
)
