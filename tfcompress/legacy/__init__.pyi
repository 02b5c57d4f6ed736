from .conversion import NoEquivalentError as NoEquivalentError
from .conversion import from_tf_keras as from_tf_keras
from .files import load_tf_keras as load_tf_keras
