"""Damaged files for every reader of files from elsewhere: `python damaged_input.py COUNT`."""

import json
import pathlib
import sys
import tempfile

if __name__ == "__main__":  # in a process of its own: a crash there is a result
    sys.path[:0] = [str(pathlib.Path(__file__).resolve().parents[1])]

from exporters.running.child import peak_memory
from soaking.processes import TRIALS, rows_of, table

HEAD = ["damaged", "inputs", "read", "refused by documented errors", "anything else"]
HEAD += ["slowest", "memory grown"]


def measure(sizes):
    """Return a row for each reader."""
    return rows_of(__file__, sizes.inputs)


def text(rows):
    """Return the figures as Markdown."""
    inputs = sum(row["inputs"] for row in rows)
    lines = table(
        HEAD,
        [
            (
                row["reader"],
                f"{row['inputs']:,}",
                f"{row['read']:,}",
                f"{row['refused']:,}",
                len(row["failures"]),
                f"{1000 * row['longest']:.0f} ms",
                f"{row['grown']:.0f} MiB",
            )
            for row in rows
        ],
    )
    facts = f"{inputs:,} damaged inputs, numbers 0 to {rows[0]['inputs'] - 1:,} of each reader."
    return [facts, "", *lines]


def failed(rows):
    """Return the rows that show a fault."""
    return [row for row in rows if row["failures"]]


def fuzz(count):
    """Feed every reader; return a row for each."""
    sys.path.insert(0, str(TRIALS))
    from hostile_readers import all_readers, feed

    rows = []
    readers = all_readers()
    with tempfile.TemporaryDirectory() as folder:
        for reader in readers:
            before = peak_memory()
            outcome = feed(reader, range(count // len(readers) + 1), pathlib.Path(folder))
            grown = peak_memory() - before
            rows.append(
                {
                    "reader": reader.name,
                    "inputs": sum(outcome.counts.values()) + len(outcome.failures),
                    "read": outcome.counts["read"],
                    "refused": sum(outcome.counts.values()) - outcome.counts["read"],
                    "failures": outcome.failures,
                    "longest": outcome.longest,
                    "grown": grown / 2**20,
                }
            )
    return rows


if __name__ == "__main__":
    for found in fuzz(int(sys.argv[1])):
        print(json.dumps(found))
