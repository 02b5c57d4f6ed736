"""Runs the core suite on each backend of Keras that is installed; writes the table of the page.

    python tests/backend_matrix.py tests/backends tests/compat/test_keras_steps.py

What a backend gave is kept in the table while the backend is missing; `--only` runs some of them.
"""

import argparse
import functools
import importlib.metadata
import importlib.util
import os
import sys

from written_tables import ROOT, has_failed, rows_between, run_tests, write_between

PAGE = ROOT / "docs/backends.md"
BEGIN, END = "<!-- backends -->\n", "<!-- end of backends -->\n"
ROWS = "tests.backends"  # of the table; other tests of the suite only have to pass
BACKENDS = {"tensorflow": "TensorFlow", "jax": "JAX", "torch": "PyTorch"}


def run(backend, suite):
    """Run the suite on a backend; return what came of each line of the table, and if all passed."""
    environment = {**os.environ, "KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"}
    cases, passed = run_tests(suite, environment)
    cases = [case for case in cases if case.get("classname").startswith(ROWS)]
    found = {}
    for case in cases:
        name = case.get("name").partition("[")[0].removeprefix("test_").replace("_", " ")
        found.setdefault(name, []).append(outcome(case))
    worst = functools.partial(max, key=lambda cell: (cell == "fails", cell != "yes"))
    return {name: worst(outcomes) for name, outcomes in found.items()}, passed


def outcome(case):
    """Return what the table says of a test."""
    if has_failed(case):
        return "fails"
    skipped = case.find("skipped")
    return "yes" if skipped is None else f"no: {skipped.get('message')}"


def known():
    """Return what the table says by now, by backend and test."""
    titles, *rows = rows_between(PAGE, BEGIN, END)
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
    write_between(PAGE, BEGIN, END, table(results))
    sys.exit(not all(passed))


if __name__ == "__main__":
    main()
