"""The records of benchmarks: one JSON file a part, with where and how it was measured.

A quick measurement lies apart in fast/ and never takes the place of a whole one.
"""

import json
import pathlib

RESULTS = pathlib.Path(__file__).resolve().parent / "results"


def record_path(part, fast, results=RESULTS):
    """Return where the record of a part lies."""
    return (results / "fast" if fast else results) / f"{part}.json"


def write_record(path, record):
    """Write a record whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".unfinished")
    unfinished.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    unfinished.replace(path)


def read_records(results=RESULTS):
    """Return {part: its record}, the whole measurement where there is one, else the quick one."""
    paths = [*(results / "fast").glob("*.json"), *results.glob("*.json")]
    paths.sort(key=lambda path: (path.parent == results, path.stem))
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in paths}


def read_figures(path):
    """Return the figures that a benchmark wrote, as JSON or as JSON lines."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in text.splitlines()]
    return json.loads(text)
