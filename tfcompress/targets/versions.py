"""The oldest release of the runtime that has an operation in a version."""

import functools
import importlib.resources
import json


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
