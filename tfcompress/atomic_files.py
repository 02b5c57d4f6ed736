"""Files and folders that are written completely or not at all.

They are written beside their destination, as ``.<hex digits>-<name>``, and moved there at the end.
A process that is killed meanwhile leaves such a file behind, which nothing reads.
"""

import contextlib
import os
import pathlib
import secrets
import shutil
import tempfile
from collections.abc import Iterator, Mapping


def require_writable(path: str | os.PathLike) -> pathlib.Path:
    """Check before long work that a file can be written at its end, and return its path.

    Raises:
        OSError: the folder is missing or cannot be written to, or the path is a folder.
        TypeError: it is no path.
    """
    if not isinstance(path, str | os.PathLike):
        raise TypeError(
            "The path of the file to write is needed, such as 'model.tflite'. Received: an object "
            f"of type {type(path).__name__}"
        )
    path = pathlib.Path(path)
    if path.is_dir():
        raise IsADirectoryError(f"A file cannot take the place of a folder. Received: {path}")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"Folder {path.parent} does not exist: create it first.")
    try:
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise type(error)(f"Folder {path.parent} cannot be written to: {error.strerror}") from error
    return path


@contextlib.contextmanager
def replace_atomically(path: str | os.PathLike) -> Iterator[pathlib.Path]:
    """Yield a temporary path to write to, which replaces ``path`` at the end of the block.

    After an error ``path`` is as it was, and the temporary file is gone.
    """
    path = pathlib.Path(path)
    temporary = _temporary(path)
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise


def write_atomically(path: str | os.PathLike, content: bytes) -> None:
    """Write a file in one step; after an error ``path`` is as it was."""
    with replace_atomically(path) as temporary:
        temporary.write_bytes(content)


def write_folder_atomically(directory: str | os.PathLike, files: Mapping[str, bytes]) -> None:
    """Write files, by their paths, into a folder that is new or empty: all of them, or none.

    After an error nothing is left, neither the folder nor those that were made for it.
    """
    directory = pathlib.Path(directory)
    missing = [folder for folder in directory.parents if not folder.exists()]
    temporary = _temporary(directory)
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        temporary.mkdir()
        for name, content in files.items():
            (temporary / name).parent.mkdir(parents=True, exist_ok=True)
            (temporary / name).write_bytes(content)
        os.replace(temporary, directory)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        for folder in missing:
            with contextlib.suppress(OSError):
                folder.rmdir()
        raise


def _temporary(path: pathlib.Path) -> pathlib.Path:
    return path.with_name(f".{secrets.token_hex(8)}-{path.name}")
