"""Tables of pages that runs of tests write: what a run gave, and where its table stands."""

import pathlib
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET

ROOT = pathlib.Path(__file__).resolve().parents[1]


def run_tests(arguments, environment=None):
    """Run pytest in this environment; return the records of its tests, and if it passed."""
    with tempfile.TemporaryDirectory() as scratch:
        report = pathlib.Path(scratch) / "report.xml"
        command = [sys.executable, "-m", "pytest", "-q", f"--junit-xml={report}", *arguments]
        ended = subprocess.run(command, cwd=ROOT, env=environment, check=False)
        return list(ET.parse(report).getroot().iter("testcase")), ended.returncode == 0


def has_failed(case):
    """Return whether a test failed."""
    return case.find("failure") is not None or case.find("error") is not None


def rows_between(page, begin, end):
    """Return the cells of the table between two marks of a page, its titles first."""
    _, _, rest = page.read_text(encoding="utf-8").partition(begin)
    lines = rest.partition(end)[0].splitlines()
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
    return rows[:1] + rows[2:]


def write_between(page, begin, end, table):
    """Put a table between two marks of a page."""
    before, _, rest = page.read_text(encoding="utf-8").partition(begin)
    after = rest.partition(end)[2]
    page.write_text(before + begin + table + end + after, encoding="utf-8")
