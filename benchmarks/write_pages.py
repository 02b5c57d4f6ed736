"""Write docs/benchmarks.md with its plots, and what else shows records, from the records alone.

python benchmarks/write_pages.py
"""

import pathlib
import re

from coverage_page import coverage_page
from fidelity_page import with_tables
from results import read_records
from sections import SECTIONS, each_backend, pruning_accuracy, quantization_accuracy
from sections.goals import table, verdict

ROOT = pathlib.Path(__file__).resolve().parents[1]
REGION = re.compile(r"(<!-- benchmarks -->\n).*?(<!-- end of benchmarks -->)", re.DOTALL)
HEAD = """# Benchmarks

Written by `benchmarks/write_pages.py` from the records in `benchmarks/results`, which `make bench`
and `make bench-fast` make. The peers ran in the same run as what stands beside them. What falls
short of its goal says so in red.
"""


def page(records):
    """Return the text of docs/benchmarks.md."""
    sections = [(section, *measured(section, records)) for section in SECTIONS]
    rows = [[section.TITLE, *cells(goal)] for section, _, goals in sections for goal in goals]
    lines = [
        HEAD,
        *summary([goal for _, _, goals in sections for goal in goals]),
        "## Goals",
        *table(_COLUMNS, rows),
    ]
    for section, found, goals in sections:
        lines += [f"## {section.TITLE}", "", section.ABOUT, ""]
        if goals:
            lines += table(_COLUMNS[1:], [cells(goal) for goal in goals])
        if found:
            lines += section.lines(found)
        lines += provenance(section, records)
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).rstrip() + "\n"


_COLUMNS = ["of", "figure", "must reach", "measured", "spread", ""]


def measured(section, records):
    """Return {part: figures} of the section's parts that were measured, and their goals."""
    found = {part: records[part]["figures"] for part in section.PARTS if part in records}
    return found, section.goals(found)


def cells(goal):
    return [goal.what, goal.wanted, goal.measured, goal.spread, verdict(goal)]


def summary(goals):
    """Return a line that counts the goals."""
    reached = sum(goal.reached for goal in goals)
    return [f"**{reached} of {len(goals)} goals are reached.**", ""]


def provenance(section, records):
    """Return how, when and where each part of a section was measured, or that it was not."""
    lines = []
    for part in section.PARTS:
        if record := records.get(part):
            machine = record["machine"]
            packages = machine["packages"]
            commit = f"commit {record['commit']}" if record["commit"] else "commit not recorded"
            facts = [
                record["date"],
                commit,
                f"{machine['processor']}, {machine['cores']} cores",
                f"Python {machine['python']}",
                f"TensorFlow {packages['tensorflow']}",
                f"Keras {packages['keras']}",
            ]
            if record["seconds"] is not None:
                facts.append(f"{record['seconds']} s")
            if record["settings"] == "quick":
                facts.append("**quick settings**")
            lines.append(f"- `{record['command']}`: {', '.join(facts)}. {record.get('note') or ''}")
        else:
            lines.append(f"- not measured: `python benchmarks/run_all.py {part}`")
    return ["", *(line.rstrip() for line in lines), ""]


def readme_region(records):
    """Return the README's table: the goals of each section, counted, and what falls short."""
    rows = []
    for section in SECTIONS:
        _, goals = measured(section, records)
        if goals:
            short = [f"{g.what}: {g.measured}" for g in goals if not g.reached]
            reached = f"{len(goals) - len(short)} of {len(goals)}"
            rows.append([section.TITLE, reached, "; ".join(short) or "-"])
    return "\n".join(table(["goals of", "reached", "falls short"], rows)[1:-1]) + "\n"


def with_section(section):
    """Return the writer of a page that shows a section's table."""

    def write(text, records):
        found, _ = measured(section, records)
        shown = section.lines(found) if found else []
        return with_region(text, "\n".join([*shown, *provenance(section, records)]))

    return write


def with_region(text, region):
    """Return a page with its region of benchmarks written anew."""
    written, count = REGION.subn(lambda m: m[1] + region + m[2], text)
    if count != 1:
        raise ValueError(f"the page needs one region of benchmarks. Received: {count}")
    return written


# What each file becomes, of its text and the records.
WRITERS = {
    "docs/benchmarks.md": lambda text, records: page(records),
    "docs/backends.md": with_section(each_backend),
    "docs/coverage.md": lambda text, records: coverage_page(records),
    "docs/fidelity.md": with_tables,
    "docs/pruning.md": with_section(pruning_accuracy),
    "docs/quantization.md": with_section(quantization_accuracy),
    "README.md": lambda text, records: with_region(text, readme_region(records)),
}


def write_pages(root=ROOT):
    """Write the pages, the plots and the README's region."""
    from plots import write_plots

    records = read_records()
    for name, write in WRITERS.items():
        path = root / name
        path.write_text(write(path.read_text(encoding="utf-8"), records), encoding="utf-8")
    write_plots(records, root / "docs" / "images")


if __name__ == "__main__":
    write_pages()
