"""Long operations that a signal ends leave whole files, or what was there before."""

import json
import pathlib
import signal
import subprocess
import sys

import pytest

HERE = pathlib.Path(__file__).parent
COMMANDS = ("export", "validate", "benchmark", "bundle", "report")
CALLS = ("repair", "sensitivity", "prune_iteratively", "cache_teacher")


def rows_of(script, *arguments):
    answer = subprocess.run(
        [sys.executable, HERE / script, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert answer.returncode == 0, answer.stderr[-3000:]
    return [json.loads(line) for line in answer.stdout.splitlines()]


@pytest.mark.process
def test_interrupted_by_either_signal(tmp_path):
    rows = rows_of("interrupted_operations.py", tmp_path, 4, *COMMANDS, *CALLS)
    told = [(row["operation"], row["signal"]) for row in rows]
    assert told == [(name, number) for name in COMMANDS for number in ("SIGINT", "SIGTERM")] + [
        (name, "SIGINT") for name in CALLS
    ]
    assert [problem for row in rows for problem in row["problems"]] == []
    assert all(row["interrupted"] >= 2 for row in rows)


@pytest.mark.process
def test_killed(tmp_path):
    names = ("export", "bundle", "sensitivity", "cache_teacher")
    rows = rows_of("killed_operations.py", tmp_path, 2, int(signal.SIGKILL), *names)
    assert [row["operation"] for row in rows] == list(names)
    assert [problem for row in rows for problem in row["problems"]] == []
    assert sum(row["killed"] for row in rows) >= len(names)
