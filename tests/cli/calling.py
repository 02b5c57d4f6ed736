"""The command in the process of the tests."""

import pytest

from tfcompress.cli.main import run


def call(line):
    """Run the command in this process; return its exit code."""
    with pytest.raises(SystemExit) as ended:
        run(line.split())
    return ended.value.code
