"""Models of tf_keras (Keras 2) and of TFMOT as guests: stripped, rebuilt for Keras 3, exported.

tf_keras and TFMOT are not imported for a model: whoever brings one has imported them. They are
imported to load a file.
"""

from tfcompress.guests.files import load_tf_keras
from tfcompress.guests.rebuilding import NoTwinError, from_tf_keras

__all__ = ["NoTwinError", "from_tf_keras", "load_tf_keras"]
