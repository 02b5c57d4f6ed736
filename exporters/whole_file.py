"""Files and folders that are written whole or not at all."""

import contextlib
import os
import pathlib
import secrets
import shutil
import tempfile
from collections.abc import Mapping


def require_writable(path: str | os.PathLike) -> pathlib.Path:
    """Check before long work that a file can be written at its end.

    Args:
        path: where the file will be; its folder must exist.

    Returns:
        The path.

    Raises:
        OSError: the folder is missing or cannot be written to, or the path is a folder.
    """
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


def write_whole(path: str | os.PathLike, content: bytes) -> None:
    """Write a file so that it is complete under its name, or not there at all.

    Args:
        path: where the file goes; an existing file is replaced in one step.
        content: its bytes.

    Raises:
        OSError: it cannot be written. What was at ``path`` is untouched, and nothing else is left.
    """
    path = pathlib.Path(path)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    # The permissions of any new file: to ask for the umask is to change it, for other threads too.
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise


def write_folder_whole(directory: str | os.PathLike, files: Mapping[str, bytes]) -> None:
    """Write a folder of files so that all of them are there, or none.

    Args:
        directory: the folder; it does not exist, or is empty.
        files: names and bytes.

    Raises:
        OSError: it cannot be written. Nothing is left, folders that were made for it included.
    """
    directory = pathlib.Path(directory)
    with _folders_above(directory):
        draft = pathlib.Path(tempfile.mkdtemp(prefix=f".{directory.name}-", dir=directory.parent))
        try:
            for name, content in files.items():
                (draft / name).write_bytes(content)
            draft.chmod(0o755)
            os.replace(draft, directory)
        except BaseException:
            shutil.rmtree(draft, ignore_errors=True)
            raise


@contextlib.contextmanager
def _folders_above(path: pathlib.Path):
    """Make the folders that a path is in, for a block that may fail and then has not."""
    missing = [folder for folder in path.parents if not folder.exists()]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield
    except BaseException:
        for folder in missing:
            with contextlib.suppress(OSError):
                folder.rmdir()
        raise
