"""Long trials of what must hold, with the figures written into docs/reliability.md.

    python benchmarks/soak.py --page docs/reliability.md     # make soak
    python benchmarks/soak.py --page docs/reliability.md --only signals searches

Each section works in processes of its own; everything is seeded. A section that is left out keeps
its figures on the page, and so does one whose process fails. Exit status 1 if something failed.
"""

import argparse
import json
import os
import pathlib
import platform
import sys
import time

from soaking import (
    damaged_input,
    killed_operations,
    killed_searches,
    killed_trainings,
    killed_workers,
    long_trainings,
    random_files,
    random_model_trials,
    replica_cost,
    reproducible_exports,
    signals,
)

SECTIONS = {
    "operations": random_files,
    "models": random_model_trials,
    "bytes": reproducible_exports,
    "input": damaged_input,
    "trainings": killed_trainings,
    "long": long_trainings,
    "signals": signals,
    "kills": killed_operations,
    "searches": killed_searches,
    "workers": killed_workers,
    "replicas": replica_cost,
}


def run(name, sizes):
    """Measure a section; return its text and what failed."""
    begin = time.monotonic()
    rows = SECTIONS[name].measure(sizes)
    minutes = (time.monotonic() - begin) / 60
    head = (
        f"Run of {time.strftime('%Y-%m-%d')}: Python {platform.python_version()}, "
        f"{platform.machine()}, {os.cpu_count()} cores; {minutes:.0f} minutes."
    )
    return "\n".join([head, "", *SECTIONS[name].text(rows)]), SECTIONS[name].failed(rows)


def replaced(page, name, text):
    """Return a page with other figures of a section.

    Raises:
        ValueError: the page has no place for them.
    """
    begin, end = f"<!-- soak {name}: begin -->\n", f"<!-- soak {name}: end -->\n"
    if page.count(begin) != 1 or page.count(end) != 1:
        raise ValueError(f"The page needs one pair of lines {begin.strip()} and {end.strip()}")
    head, rest = page.split(begin)
    return f"{head}{begin}\n{text}\n\n{end}{rest.split(end)[1]}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--page", type=pathlib.Path, help="the page to write the figures into")
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=list(SECTIONS))
    parser.add_argument("--values", type=int, default=100_000, help="of each operation's form")
    parser.add_argument("--models", type=int, default=5_000, help="random ones")
    parser.add_argument("--processes", type=int, default=20, help="that export the same model")
    parser.add_argument("--inputs", type=int, default=100_000, help="damaged files")
    parser.add_argument("--kills", type=int, default=20, help="of each training and the search")
    parser.add_argument("--steps", type=int, default=5_000, help="of each long training")
    parser.add_argument("--moments", type=int, default=40, help="signals for each operation")
    parser.add_argument("--replica-steps", type=int, default=150, help="timed on two devices")
    sizes = parser.parse_args()
    failures = []
    for name in sizes.only:
        try:
            text, failed = run(name, sizes)
        except RuntimeError as error:  # the other sections still count
            failures.append({"section": name, "error": str(error)})
            continue
        print(f"{name}: {text}\n", flush=True)
        if sizes.page:
            page = sizes.page.read_text(encoding="utf-8")
            sizes.page.write_text(replaced(page, name, text), encoding="utf-8")
        failures += failed
    for row in failures:
        print(json.dumps(row), file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
