"""Legacy models: those of tf_keras (Keras 2) and TFMOT, loaded, converted to Keras 3, exported.

Only loading a file imports tf_keras and TFMOT: whoever passes a model has imported them already.
"""

import lazy_loader

from tfcompress.on_tensorflow import refused

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
__getattr__ = refused(
    __getattr__,
    {
        "NoEquivalentError": "it is raised by `from_tf_keras`",
        "from_tf_keras": "convert there, save the result, and `keras.saving.load_model` here",
    },
)
