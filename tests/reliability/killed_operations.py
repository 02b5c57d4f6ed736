"""Kill long operations at random moments: `killed_operations.py FOLDER TIMES SIGNAL NAME...`.

Each runs in a process that is forked after the imports and before TensorFlow computes anything.
Prints a JSON line for each operation.
"""

import json
import os
import pathlib
import re
import shutil
import signal
import sys
import tempfile
import time

import numpy as np
from long_operations import all_operations, look, prepare, problems_of

# What a process that is killed may leave: drafts of files and folders, under names of their own.
DRAFT = re.compile(r"\.[0-9a-f]{16}-.+")


def forked(work, folder, seconds=None, number=None):
    """Run a function in a process of its own, and end it with a signal after some seconds.

    Returns:
        Its exit status, negative for a signal, as ``subprocess`` has it.
    """
    child = os.fork()
    if child == 0:
        code = 1
        try:
            output = os.open(folder / "output", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(output, 1), os.dup2(output, 2)
            code = work() or 0
            sys.stdout.flush()
        finally:
            os._exit(code)
    if seconds is not None:
        time.sleep(seconds)
        os.kill(child, number)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def succeed(work, folder):
    """Run a function in a process of its own, which has to end well."""
    if forked(work, folder):
        sys.exit((folder / "output").read_text()[-3000:])


def killed(operation, number, times, folder):
    """Kill an operation at random moments; return a row of what came of it."""
    place, scratch = folder / "place", folder / "scratch"

    def finish(place):
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        begin = time.monotonic()
        succeed(lambda: operation.run(place), folder)
        return time.monotonic() - begin

    duration = finish(place)
    expected = look(place)
    generator = np.random.default_rng([len(operation.name), number])
    row = {
        "operation": operation.name, "signal": signal.Signals(number).name,
        "seconds": round(duration, 2), "killed": 0, "too late": 0, "drafts": 0, "problems": [],
    }  # fmt: skip
    for trial in range(times):
        shutil.rmtree(place)
        place.mkdir()
        if trial % 2:
            operation.put_last_version(place)
        seconds = float(generator.uniform(0.0, 1.0)) * duration
        code = forked(lambda: operation.run(place), folder, seconds, number)
        row["killed" if code else "too late"] += 1
        found = problems_of(operation, place, expected)
        if code not in (0, -number):
            found.append(f"status {code}: {(folder / 'output').read_text()[-1000:]}")
        drafts = list(place.rglob(".*"))
        found += [f"{draft.name} is left" for draft in drafts if not DRAFT.fullmatch(draft.name)]
        row["drafts"] += len(drafts)
        if operation.resumes and code:
            succeed(lambda: operation.run(place), folder)
            if look(place) != expected:
                found.append("the next call gave something else")
        row["problems"] += [f"after {seconds:.3f} s: {problem}" for problem in found]
        shutil.rmtree(scratch)
        scratch.mkdir()
    return row


def main():
    folder, times, number = pathlib.Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    (folder / "scratch").mkdir()
    tempfile.tempdir = str(folder / "scratch")
    succeed(lambda: prepare(folder), folder)
    operations = all_operations(folder)
    for name in sys.argv[4:]:
        print(json.dumps(killed(operations[name], number, times, folder)), flush=True)


if __name__ == "__main__":
    main()
