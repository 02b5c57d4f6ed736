"""Long operations that a signal ends leave whole files, or what was there before.

`make soak` does so with all of them, at many moments.
"""

import json
import pathlib
import signal

import pytest
from started_script import run_script

HERE = pathlib.Path(__file__).parent
COMMANDS = ("export", "bundle")
CALLS = ("sensitivity", "cache_teacher")


def rows_of(script, *arguments):
    answer = run_script(HERE / script, *arguments)
    assert answer.returncode == 0, answer.stderr[-3000:]
    return [json.loads(line) for line in answer.stdout.splitlines()]


@pytest.mark.process
def test_interrupted_by_either_signal(tmp_path):
    rows = rows_of("interrupted_operations.py", tmp_path, 2, *COMMANDS, *CALLS)
    told = [(row["operation"], row["signal"]) for row in rows]
    assert told == [(name, number) for name in COMMANDS for number in ("SIGINT", "SIGTERM")] + [
        (name, "SIGINT") for name in CALLS
    ]
    assert [problem for row in rows for problem in row["problems"]] == []
    assert sum(row["interrupted"] for row in rows) >= len(rows) // 2  # the others came too late


@pytest.mark.process
def test_killed(tmp_path):
    names = ("bundle", "sensitivity")
    rows = rows_of("killed_operations.py", tmp_path, 2, int(signal.SIGKILL), *names)
    assert [row["operation"] for row in rows] == list(names)
    assert [problem for row in rows for problem in row["problems"]] == []
    assert sum(row["killed"] for row in rows) >= 1
