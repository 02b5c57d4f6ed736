"""Run all benchmarks, each as its own process in turn, and write the pages of their figures.

A part that has a record is not run again, and one that was interrupted goes on where it keeps
finished work. The records, with the machine, versions, date and commit, lie in benchmarks/results.

    python benchmarks/run_all.py                        # all of it, many hours: make bench
    python benchmarks/run_all.py --fast                 # what is quick: make bench-fast
    python benchmarks/run_all.py --fast --again growth  # this part, anew
    python benchmarks/run_all.py --list

Figures that a benchmark wrote when it was run by hand become the record of a part with

    python benchmarks/run_all.py --take figures.json repair
"""

import argparse
import datetime
import os
import pathlib
import shlex
import subprocess
import sys
import time

from machine import ROOT, current_commit, describe_machine
from parts import PARTS
from results import RESULTS, read_figures, record_path, write_record
from write_pages import write_pages


def run_part(name, fast, results=RESULTS):
    """Run a part and write its record.

    Args:
        name: a key of ``PARTS``.
        fast: whether to measure quickly.
        results: the folder of the records.

    Returns:
        The last line of the error output where the part failed, None where it is done.
    """
    part = PARTS[name]
    folder = results / "unfinished" / ("fast" if fast else "whole")
    folder.mkdir(parents=True, exist_ok=True)
    command = part.command(fast, folder, name)
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    }
    start = time.perf_counter()
    run = subprocess.run(
        [sys.executable, *command],
        cwd=ROOT,
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    written = folder / f"{name}{part.figures}"
    # The table of coverage ends with 1 where a model fails; the figures say so.
    if not written.exists() or (run.returncode and name != "quantization_coverage"):
        return (run.stderr.strip() or f"exit status {run.returncode}").splitlines()[-1]
    measured = {
        "commit": current_commit(),
        "seconds": round(time.perf_counter() - start),
        "figures": read_figures(written),
    }
    write_record(record_path(name, fast, results), record(name, fast, time.time()) | measured)
    for unfinished in folder.glob(f"{name}.*"):
        unfinished.unlink()
    return None


def take(name, path, note, results=RESULTS):
    """Make the figures of a benchmark that was run by hand the record of a part.

    Args:
        name: a key of ``PARTS``.
        path: the file of the figures, made on this machine.
        note: what a reader has to know, or None.
        results: the folder of the records.
    """
    unknown = {"commit": None, "seconds": None, "note": note, "figures": read_figures(path)}
    measured = record(name, False, path.stat().st_mtime) | unknown
    write_record(record_path(name, False, results), measured)


def record(name, fast, timestamp):
    """Return the part of a record that does not depend on the measurement."""
    return {
        "part": name,
        "settings": "quick" if fast else "whole",
        "command": shown(PARTS[name], fast, name),
        "date": datetime.datetime.fromtimestamp(timestamp, datetime.UTC).date().isoformat(),
        "machine": describe_machine(),
    }


def shown(part, fast, name):
    """Return the command as a reader would give it."""
    command = part.command(fast, pathlib.Path(), name)
    return shlex.join(["python", *command])


def choose(names, fast):
    """Return the parts to run: those named, or all that have such a measurement."""
    return names or [name for name, part in PARTS.items() if not fast or part.fast is not None]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", metavar="PART", help="these alone; see --list")
    parser.add_argument("--fast", action="store_true", help="quick measurements, of what has them")
    parser.add_argument("--again", action="store_true", help="measure anew what has a record")
    parser.add_argument("--list", action="store_true", help="show the parts and their commands")
    parser.add_argument("--take", type=pathlib.Path, help="figures to make the record of the PART")
    parser.add_argument("--note", help="with --take: what a reader has to know")
    options = parser.parse_args()
    if unknown := [name for name in options.parts if name not in PARTS]:
        parser.error(f"no part is called {unknown}; there are {list(PARTS)}")
    names = choose(options.parts, options.fast)
    if slow := [name for name in names if options.fast and PARTS[name].fast is None]:
        parser.error(f"no quick measurement of {slow}; leave out --fast")
    if options.take:
        if len(options.parts) != 1:
            parser.error(f"--take wants one PART. Received: {options.parts}")
        take(options.parts[0], options.take, options.note)
        write_pages()
        return
    failures = {}
    for name in names:
        done = record_path(name, options.fast)
        if options.list:
            print(f"{name:32}{shown(PARTS[name], options.fast, name)}")
        elif done.exists() and not options.again:
            print(f"{name}: done, in {done.relative_to(ROOT)}")
        else:
            print(f"{name}: {shown(PARTS[name], options.fast, name)}", flush=True)
            start = time.perf_counter()
            if failure := run_part(name, options.fast):
                failures[name] = failure
            print(f"{name}: {failure or f'{time.perf_counter() - start:.0f} s'}", flush=True)
    if not options.list:
        write_pages()
    sys.exit("".join(f"{name} failed: {why}\n" for name, why in failures.items()) or 0)


if __name__ == "__main__":
    main()
