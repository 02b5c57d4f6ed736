"""Files that a command writes, judged before long work."""

import os

from tfcompress.cli.errors import CommandError


def require_other_file(flag: str, out: str | None, read: str) -> None:
    """Check that what a command writes is not the file that it reads.

    Args:
        flag: the option that names what is written.
        out: its value; None where nothing is written.
        read: the file that is read.

    Raises:
        CommandError: both are one file.
    """
    if out is None or not (os.path.exists(out) and os.path.exists(read)):
        return
    if os.path.samefile(out, read):
        raise CommandError(
            f"{flag} would overwrite the file that is read: choose another name. Received: {out}"
        )
