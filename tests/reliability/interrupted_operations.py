"""Interrupt long operations at random moments: `interrupted_operations.py FOLDER TIMES NAME...`.

All in one process, so that a start is paid once, and what an interruption leaves behind in the
process shows as well. Prints a JSON line for each operation and signal.
"""

import contextlib
import json
import os
import pathlib
import shutil
import signal
import sys
import tempfile
import time

import numpy as np
from long_operations import Operation, all_operations, look, prepare, problems_of


class Alarm:
    """Sends this process a signal after some seconds, as long as something takes it."""

    def __init__(self, number: int):
        self.number = number
        self.sent = False
        signal.signal(signal.SIGALRM, self._ring)

    def _ring(self, number, frame):
        if signal.getsignal(self.number) is not signal.SIG_DFL:
            self.sent = True
            signal.raise_signal(self.number)

    @contextlib.contextmanager
    def after(self, seconds: float):
        signal.setitimer(signal.ITIMER_REAL, seconds)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)


@contextlib.contextmanager
def output_into(path: pathlib.Path):
    """Send what the process writes to both its streams into a file."""
    kept = [os.dup(1), os.dup(2)]
    with path.open("wb") as file:
        try:
            for stream in (1, 2):
                os.dup2(file.fileno(), stream)
            yield
        finally:
            sys.stdout.flush()
            for stream, before in zip((1, 2), kept, strict=True):
                os.dup2(before, stream)
                os.close(before)


def attempt(operation: Operation, place, number, seconds, folder):
    """Interrupt an operation once; return its exit code and whether a signal was sent."""
    alarm, code = Alarm(number), 128 + signal.SIGINT
    with (
        output_into(folder / "output"),
        contextlib.suppress(KeyboardInterrupt),
        alarm.after(seconds),
    ):
        code = operation.run(place)
    return code, alarm.sent


def interrupted(operation, number, times, folder, expected, duration):
    """Interrupt an operation at random moments; return a row of what came of it."""
    generator = np.random.default_rng([len(operation.name), number])
    row = {
        "operation": operation.name, "signal": signal.Signals(number).name,
        "interrupted": 0, "too late": 0, "left elsewhere": 0, "problems": [],
    }  # fmt: skip
    scratch = folder / "scratch"
    for trial in range(times):
        place = folder / "place"
        place.mkdir()
        if trial % 2:
            operation.put_last_version(place)
        seconds = float(generator.uniform(0.0, 1.0)) * duration + 1e-3
        code, sent = attempt(operation, place, number, seconds, folder)
        output = (folder / "output").read_text(errors="replace")
        found = problems_of(operation, place, expected)
        found += [f"{entry.name} is left" for entry in place.rglob(".*")]
        if code not in (0, 128 + number):
            found.append(f"exit code {code}")
        if "Traceback" in output:
            found.append(f"a traceback: {output[-2000:]}")
        if sent and code == 0:
            found.append("the signal was lost")
        if code == 0:
            row["too late"] += 1
        else:
            row["interrupted"] += 1
            if operation.resumes:
                operation.run(place)
                if look(place) != expected:
                    found.append("the next call gave something else")
        # Not the files: TensorFlow keeps generated code there until the process ends.
        for left in [entry for entry in scratch.iterdir() if entry.is_dir()]:
            row["left elsewhere"] += 1
            shutil.rmtree(left)
        row["problems"] += [f"after {seconds:.3f} s: {problem}" for problem in found]
        shutil.rmtree(place)
    return row


def uninterrupted(operation, folder):
    """Run an operation; return what it writes."""
    place = folder / "whole"
    place.mkdir()
    with output_into(folder / "output"):
        code = operation.run(place)
    if code:
        sys.exit(f"{operation.name} ended with {code}: {(folder / 'output').read_text()}")
    found = look(place)
    shutil.rmtree(place)
    return found


def main():
    folder, times, names = pathlib.Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
    signal.signal(signal.SIGINT, signal.default_int_handler)
    (folder / "scratch").mkdir()
    tempfile.tempdir = str(folder / "scratch")
    prepare(folder)
    operations = all_operations(folder)
    for name in names:
        operation = operations[name]
        uninterrupted(operation, folder)
        begin = time.monotonic()
        expected = uninterrupted(operation, folder)
        duration = time.monotonic() - begin
        for number in (signal.SIGINT, signal.SIGTERM)[: 1 + operation.command]:
            row = interrupted(operation, number, times, folder, expected, duration)
            after = uninterrupted(operation, folder)
            if after.keys() != expected.keys() or (operation.exact and after != expected):
                row["problems"].append("a call after all of them gave something else")
            print(json.dumps({**row, "seconds": round(duration, 2)}), flush=True)


if __name__ == "__main__":
    main()
