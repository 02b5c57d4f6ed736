"""Which release of TensorFlow was the first whose runtime runs a file."""

from tfcompress.targets.versions import oldest_runtime, version_key
from tfcompress.tflite.model import Operation, TFLiteModel

_FIRST = "1.5.0"


def minimum_runtime(model: TFLiteModel) -> str | None:
    """Find the oldest release that has every operation of a file in its version.

    Args:
        model: the file.

    Returns:
        The TensorFlow release; None if an operation, or its version, is in no release known.
    """
    releases = [
        oldest_release(operation) for graph in model.subgraphs for operation in graph.operations
    ]
    if None in releases:
        return None
    return max(releases, key=version_key, default=_FIRST)


def oldest_release(operation: Operation) -> str | None:
    """Find the oldest release that has an operation in its version.

    Args:
        operation: an operation of a file.

    Returns:
        The TensorFlow release, None if there is none known. A custom operation is registered by the
        program: no release of the runtime decides on it.
    """
    return _FIRST if operation.custom else oldest_runtime(operation.name, operation.version)
