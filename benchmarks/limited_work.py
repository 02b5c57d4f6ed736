"""Pieces of work in processes of their own, with limits on time and memory.

The process adds a row for each piece that it has done. A piece that takes too long ends the
process, as nothing else stops a converter, and so does one that crashes; its row then tells why,
and the next piece gets a new process. What has a row is not done again.
"""

import json
import re
import resource
import signal
import subprocess
import sys
import time

from finished_rows import FinishedRows

MOST_WORDS = 400


class LeftOutError(Exception):
    """A piece of work cannot be asked for, which is no failure of what is measured."""


def do_pieces(pieces, work, path, seconds, gibibytes):
    """Do pieces of work in this process, and add their rows.

    Args:
        pieces: dicts that tell them apart.
        work: takes a piece as keywords and returns its figures, or raises.
        path: the file of rows.
        seconds: what a piece may take; an integer.
        gibibytes: what this process may hold.
    """
    limit = gibibytes << 30
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    rows = FinishedRows(path, tuple(pieces[0]))
    for piece in pieces:
        signal.alarm(seconds)
        start = time.perf_counter()
        try:
            outcome = {"figures": work(**piece)}
        except LeftOutError as error:
            outcome = {"left_out": str(error)[:MOST_WORDS]}
        except Exception as error:
            outcome = {"error": described(error)}
        signal.alarm(0)
        rows.add(**piece, seconds=round(time.perf_counter() - start, 2), **outcome)


def described(error):
    """Return what an error says, on one line, without addresses and folders of this machine."""
    words = f"{type(error).__name__}: {' '.join(str(error).split())}"
    words = re.sub(r" at 0x[0-9a-f]+", "", words)
    return re.sub(r"(?<![\w.])/[\w.-]+(?:/[\w.-]+)*/([\w.-]+)", r"\1", words)[:MOST_WORDS]


def finish(pieces, command, path, seconds):
    """Have processes do the pieces that have no row yet.

    Args:
        pieces: dicts that tell them apart.
        command: the arguments of a script that hands the JSON after them to ``do_pieces``.
        path: the file of rows.
        seconds: what a piece may take.

    Returns:
        The rows of all pieces.
    """
    while True:
        rows, missing = _missing(pieces, path)
        if not missing:
            return [rows.find(**piece) for piece in pieces]
        run = subprocess.run(
            [sys.executable, *command, json.dumps(missing)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
        if run.returncode:
            rows, left = _missing(pieces, path)
            if left:
                rows.add(**left[0], seconds=None, error=_how_it_ended(run, seconds))


def _missing(pieces, path):
    rows = FinishedRows(path, tuple(pieces[0]))
    return rows, [piece for piece in pieces if rows.find(**piece) is None]


def _how_it_ended(run, seconds):
    if run.returncode == -signal.SIGALRM:
        return f"not done in {seconds} s"
    if run.returncode < 0:
        return f"ended its process by {signal.Signals(-run.returncode).name}"
    return (run.stderr.strip() or "ended its process").splitlines()[-1][:MOST_WORDS]
