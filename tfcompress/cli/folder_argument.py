"""``--out DIR``: a folder for results, made and tried before long work."""

import pathlib
import tempfile

from tfcompress.cli.errors import CommandError


def prepare_folder(name: str) -> pathlib.Path:
    """Make the folder that ``--out`` names, and check that it can be written to.

    Raises:
        CommandError: it cannot.
    """
    out = pathlib.Path(name)
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=out):
            pass
    except OSError as error:
        raise CommandError(
            f"--out {name} cannot be written to ({error.strerror}): choose another folder"
        ) from error
    return out
