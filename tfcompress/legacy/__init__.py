"""Legacy models: those of tf_keras (Keras 2) and TFMOT, loaded, converted to Keras 3, exported.

Only loading a file imports tf_keras and TFMOT: whoever passes a model has imported them already.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
