from .target import Target as Target
from .target import list_targets as list_targets
from .target import load_target as load_target
from .target import oldest_runtime as oldest_runtime
from .target import version_key as version_key
