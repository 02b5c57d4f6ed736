"""Models of tf_keras (Keras 2) and of TFMOT as guests: stripped, rebuilt for Keras 3, exported.

tf_keras and TFMOT are not imported for a model: whoever brings one has imported them. They are
imported to load a file.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={"files": ["load_tf_keras"], "rebuilding": ["NoTwinError", "from_tf_keras"]},
)
