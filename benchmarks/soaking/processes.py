"""The scripts that the sections run, each in a process of its own."""

import json
import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
TRIALS = ROOT / "tests" / "reliability"
SEARCHES = ROOT / "tests" / "search"
LIMIT_S = 1500
TRAININGS = ("pruning", "quantization", "clustering", "distillation")


def rows_of(script, *arguments, **environment):
    """Run a script, with more environment variables; return the JSON of the lines that it prints.

    Raises:
        RuntimeError: it ended with an exit status other than 0, or not within ``LIMIT_S``.
    """
    try:
        answer = subprocess.run(
            [sys.executable, str(script), *map(str, arguments)],
            env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
            check=False,
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
        )
    except subprocess.TimeoutExpired as error:
        raise RuntimeError(f"{script} did not end within {LIMIT_S} s") from error
    if answer.returncode:
        raise RuntimeError(f"{script} ended with {answer.returncode}: {answer.stderr[-2000:]}")
    return [json.loads(line) for line in answer.stdout.splitlines() if line.startswith(("{", "["))]


def table(head, rows):
    """Return the lines of a table in Markdown; its head is a list of names."""
    lines = [head, ["---"] * len(head), *rows]
    return ["| " + " | ".join(map(str, line)) + " |" for line in lines]
