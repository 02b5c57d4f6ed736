"""Files and folders that are written whole or not at all.

They are written under a name of their own beside the place where they go, ``.<hex digits>-<name>``,
and moved there at the end. A process that is killed meanwhile leaves such a name behind, which
nothing reads.
"""

import contextlib
import os
import pathlib
import secrets
import shutil
import tempfile
from collections.abc import Iterator, Mapping


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


@contextlib.contextmanager
def replaced_whole(path: str | os.PathLike) -> Iterator[pathlib.Path]:
    """Put a file in its place at the end of a block that writes it, or leave what was there.

    Args:
        path: where the file goes; an existing one is replaced in one step.

    Yields:
        The path to write to, in the same folder and with the same suffix.

    Raises:
        OSError: it cannot be written. What was at ``path`` is untouched, and nothing else is left.
    """
    path = pathlib.Path(path)
    draft = _draft(path)
    try:
        yield draft
        with draft.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(draft, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(draft)
        raise


def write_whole(path: str | os.PathLike, content: bytes) -> None:
    """Write a file so that it is complete under its name, or not there at all.

    Args:
        path: where the file goes; an existing file is replaced in one step.
        content: its bytes.

    Raises:
        OSError: it cannot be written. What was at ``path`` is untouched, and nothing else is left.
    """
    with replaced_whole(path) as draft:
        draft.write_bytes(content)


def write_folder_whole(directory: str | os.PathLike, files: Mapping[str, bytes]) -> None:
    """Write a folder of files so that all of them are there, or none.

    Args:
        directory: the folder; it does not exist, or is empty.
        files: names, with "/" between folders, and bytes.

    Raises:
        OSError: it cannot be written. Nothing is left, folders that were made for it included.
    """
    directory = pathlib.Path(directory)
    with _folders_above(directory):
        draft = _draft(directory)
        try:
            draft.mkdir()
            for name, content in files.items():
                (draft / name).parent.mkdir(parents=True, exist_ok=True)
                (draft / name).write_bytes(content)
            os.replace(draft, directory)
        except BaseException:
            shutil.rmtree(draft, ignore_errors=True)
            raise


def _draft(path: pathlib.Path) -> pathlib.Path:
    return path.with_name(f".{secrets.token_hex(8)}-{path.name}")


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
