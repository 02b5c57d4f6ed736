"""Runs the core suite on each backend of Keras that is installed; writes the table of the page.

    python tests/backend_matrix.py tests/backends tests/compat/test_keras_steps.py

What a backend gave is kept in the table while the backend is missing; `--only` runs some of them.
"""

import argparse
import functools
import importlib.metadata
import importlib.util
import os
import pathlib
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET

ROOT = pathlib.Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs/backends.md"
BEGIN, END = "<!-- backends -->\n", "<!-- end of backends -->\n"
ROWS = "tests.backends"  # of the table; other tests of the suite only have to pass
BACKENDS = {"tensorflow": "TensorFlow", "jax": "JAX", "torch": "PyTorch"}


def run(backend, suite):
    """Run the suite on a backend; return what came of each line of the table, and if all passed."""
    with tempfile.TemporaryDirectory() as scratch:
        report = pathlib.Path(scratch) / "report.xml"
        command = [sys.executable, "-m", "pytest", "-q", f"--junit-xml={report}", *suite]
        environment = {**os.environ, "KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"}
        ended = subprocess.run(command, cwd=ROOT, env=environment, check=False)
        cases = list(ET.parse(report).getroot().iter("testcase"))
    cases = [case for case in cases if case.get("classname").startswith(ROWS)]
    found = {}
    for case in cases:
        name = case.get("name").partition("[")[0].removeprefix("test_").replace("_", " ")
        found.setdefault(name, []).append(outcome(case))
    worst = functools.partial(max, key=lambda cell: (cell == "fails", cell != "yes"))
    return {name: worst(outcomes) for name, outcomes in found.items()}, ended.returncode == 0


def outcome(case):
    """Return what the table says of a test."""
    if case.find("failure") is not None or case.find("error") is not None:
        return "fails"
    skipped = case.find("skipped")
    return "yes" if skipped is None else f"no: {skipped.get('message')}"


def known():
    """Return what the table says by now, by backend and test."""
    _, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    lines = rest.partition(END)[0].splitlines()
    titles, _, *rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
    backends = {title: backend for backend, title in BACKENDS.items()}
    return {
        backends[title]: {row[0]: row[place] for row in rows}
        for place, title in enumerate(titles)
        if title in backends
    }


def table(results):
    """Return the table of the page; a column for each backend that has been run."""
    ran = [backend for backend in BACKENDS if backend in results]
    lines = ["| | " + " | ".join(BACKENDS[backend] for backend in ran) + " |"]
    lines.append("|---" * (len(ran) + 1) + "|")
    for name in dict.fromkeys(name for backend in ran for name in results[backend]):
        cells = [results[backend].get(name, "not run") for backend in ran]
        lines.append("| " + " | ".join([name, *cells]) + " |")
    return "\n".join(lines) + "\n"


def main():
    """Run the backends that are asked for and installed, and write what is known of all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("suite", nargs="+", help="files and folders of tests; options of pytest")
    parser.add_argument("--only", nargs="+", choices=BACKENDS, default=list(BACKENDS))
    given, options = parser.parse_known_args()
    results, passed = known(), []
    for backend in given.only:
        if importlib.util.find_spec(backend) is None:
            print(f"{BACKENDS[backend]} is skipped: {backend} is not installed", flush=True)
            continue
        print(BACKENDS[backend], importlib.metadata.version(backend), flush=True)
        results[backend], all_passed = run(backend, [*given.suite, *options])
        passed.append(all_passed)
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    after = rest.partition(END)[2]
    PAGE.write_text(before + BEGIN + table(results) + END + after, encoding="utf-8")
    sys.exit(not all(passed))


if __name__ == "__main__":
    main()
