"""The oldest release of the runtime that has an operation in a version."""

import functools
import importlib.resources
import json

from tfcompress.tflite.model import Operation, TFLiteModel

_FIRST = "1.5.0"


def version_key(version: str) -> tuple[int, ...]:
    """Turn a version such as "2.14.0" into something that sorts."""
    return tuple(int(part) for part in version.split("."))


@functools.cache
def operation_versions() -> dict[str, dict[int, str]]:
    """Read the table: for each operation, the release that brought each of its versions.

    Returns:
        {operation: {version: release}}; releases are those of TensorFlow, whose numbers
        tflite-runtime shares (ai-edge-litert counts anew: its 1.0 is TensorFlow 2.17).
    """
    file = importlib.resources.files(__package__).joinpath("operation_versions.json")
    table = json.loads(file.read_text("utf-8"))["operations"]
    return {
        operation: {int(version): release for version, release in versions.items()}
        for operation, versions in table.items()
    }


def oldest_runtime(operation: str, version: int) -> str | None:
    """Find the oldest release that runs an operation.

    Args:
        operation: the built-in operation, such as "FULLY_CONNECTED".
        version: its version.

    Returns:
        The release, such as "2.17.0"; None if the table does not have that version.

    Example:
    ```python
    oldest_runtime("FULLY_CONNECTED", 12)  # "2.17.0": tflite-runtime 2.14 refuses it
    ```
    """
    return operation_versions().get(operation, {}).get(version)


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
