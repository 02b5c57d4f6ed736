"""Files that travel behind a .tflite model's last byte, as a zip archive.

Any program that opens zip archives reads them, as an archive is found from its end; a runtime reads
the model alone. Source: https://ai.google.dev/edge/litert/conversion/tensorflow/metadata
"""

import io
import struct
import zipfile
import zlib
from collections.abc import Mapping

_MOST_BYTES = 16 << 20
_NO_TIME = (1980, 1, 1, 0, 0, 0)  # the first that an archive can hold: equal files, equal bytes
_UNIX = 3
_READABLE = 0o644 << 16
# What reading an archive from anywhere raises.
_DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    RuntimeError,
    OSError,
    EOFError,
    ValueError,
    OverflowError,
    MemoryError,
)


def append_files(content: bytes, files: Mapping[str, bytes]) -> bytes:
    """Put files behind a model.

    Args:
        content: a .tflite file without any.
        files: names and bytes.

    Returns:
        The file that carries them; the same for the same content. The given one if there are none.
    """
    if not files:
        return content
    stream = io.BytesIO(content)
    with zipfile.ZipFile(stream, "a") as archive:
        for name, data in files.items():
            # Stored as they are: readers on devices map them instead of unpacking them.
            entry = zipfile.ZipInfo(name, _NO_TIME)
            entry.create_system, entry.external_attr = _UNIX, _READABLE
            archive.writestr(entry, data)
    return stream.getvalue()


def appended_files(content: bytes) -> dict[str, bytes]:
    """Read the files behind a model.

    Args:
        content: a .tflite file from anywhere.

    Returns:
        Names and bytes. Empty if there are none, and if they are damaged, encrypted or unpack to
        more than 16 MiB: the model itself does not depend on them.

    Example:
    ```python
    content = open("model.tflite", "rb").read()
    appended_files(append_files(content, {"labels.txt": b"cat"}))  # {"labels.txt": b"cat"}
    ```
    """
    files: dict[str, bytes] = {}
    left = _MOST_BYTES
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            for entry in archive.infolist():
                with archive.open(entry) as file:
                    data = file.read(left + 1)
                left -= len(data)
                if left < 0:
                    return {}
                files[entry.filename] = data
    except _DAMAGE:
        return {}
    return files
