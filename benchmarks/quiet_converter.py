"""The plain TFLite converter, which tells of its temporary folder, in silence."""

import contextlib
import io


def convert(converter):
    """Return the file that a converter makes."""
    with contextlib.redirect_stdout(io.StringIO()):
        return converter.convert()
