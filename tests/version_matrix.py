"""Runs a fast suite on combinations of Python, TensorFlow, Keras and NumPy; writes the table.

    python tests/version_matrix.py tests/compat tests/keras_graph

Each combination has a virtual environment of its own, made by uv, which also finds or gets the
Python. What a combination gave is kept beside its environment; `--only` runs some of them anew.
"""

import argparse
import dataclasses
import json
import os
import pathlib
import subprocess
import sys
import xml.etree.ElementTree as ET

from written_tables import ROOT, has_failed, write_between

PAGE = ROOT / "docs/versions.md"
BEGIN, END = "<!-- matrix -->\n", "<!-- end of matrix -->\n"
EXTRAS = "report,search,structure,tfmot,zstd"


@dataclasses.dataclass(frozen=True)
class Combination:
    """Minor releases that are installed together."""

    python: str
    tensorflow: str
    keras: str
    numpy: str

    @property
    def name(self) -> str:
        return f"python{self.python}-tensorflow{self.tensorflow}-keras{self.keras}"


COMBINATIONS = (
    Combination("3.11", "2.19", "3.10", "1.26"),
    Combination("3.12", "2.19", "3.11", "2"),
    Combination("3.12", "2.20", "3.12", "2"),
    Combination("3.13", "2.20", "3.13", "2"),
    Combination("3.11", "2.21", "3.14", "1.26"),
    Combination("3.12", "2.21", "3.15", "2"),
    Combination("3.13", "2.21", "3.15", "2"),
)


def uv(*arguments):
    subprocess.run([sys.executable, "-m", "uv", *arguments], check=True)


def install(combination, folder):
    """Make the environment of a combination, and return its Python."""
    uv("venv", "--quiet", "--clear", "--python", combination.python, str(folder / "venv"))
    scripts = "Scripts" if os.name == "nt" else "bin"
    python = folder / "venv" / scripts / "python"
    pins = [f"{name}=={getattr(combination, name)}.*" for name in ("tensorflow", "keras", "numpy")]
    installing = ("pip", "install", "--quiet", "--python", str(python))
    uv(*installing, *pins, "pytest", "--editable", f"{ROOT}[{EXTRAS}]")
    return python


def run(python, suite, folder):
    """Run the suite; return the counts of its tests, its seconds and the names of what failed."""
    report = folder / "report.xml"
    command = [os.fspath(python), "-m", "pytest", "-q", f"--junit-xml={report}", *suite]
    subprocess.run(command, cwd=ROOT, env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}, check=False)
    (found,) = ET.parse(report).getroot()
    failed = [
        f"{case.get('classname')}.{case.get('name')}"
        for case in found.iter("testcase")
        if has_failed(case)
    ]
    skipped = int(found.get("skipped"))
    passed = int(found.get("tests")) - len(failed) - skipped
    seconds = round(float(found.get("time")))
    return {"passed": passed, "skipped": skipped, "failed": failed, "seconds": seconds}


def installed(python):
    """Return the versions in an environment by the names of the packages."""
    script = (
        "import importlib.metadata as m, json, platform; print(json.dumps({'python': "
        "platform.python_version(), **{n: m.version(n) for n in ('tensorflow', 'keras', 'numpy', "
        "'ai-edge-litert')}}))"
    )
    asked = subprocess.run([python, "-c", script], check=True, capture_output=True, text=True)
    return json.loads(asked.stdout)


def table(results):
    """Return the table of the page."""
    lines = [
        "| Python | TensorFlow | Keras | NumPy | LiteRT | passed | failed | skipped |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for result in results:
        versions = result["versions"]
        names = ("python", "tensorflow", "keras", "numpy", "ai-edge-litert")
        counts = (result["passed"], len(result["failed"]), result["skipped"])
        lines.append("| " + " | ".join(map(str, [*map(versions.get, names), *counts])) + " |")
    return "\n".join(lines) + "\n"


def main():
    """Run the combinations that are asked for, and write what is known of all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("suite", nargs="+", help="files and folders of tests")
    parser.add_argument("--environments", type=pathlib.Path, default=ROOT / ".venv-matrix")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="such as python3.13-tensorflow2")
    given = parser.parse_intermixed_args()
    results = []
    for combination in COMBINATIONS:
        folder = given.environments / combination.name
        kept = folder / "result.json"
        if given.only is None or combination.name.startswith(tuple(given.only)):
            folder.mkdir(parents=True, exist_ok=True)
            python = install(combination, folder)
            result = {"versions": installed(python), **run(python, given.suite, folder)}
            kept.write_text(json.dumps(result))
            print(combination.name, result, flush=True)
        if kept.exists():
            results.append(json.loads(kept.read_text()))
    write_between(PAGE, BEGIN, END, table(results))
    sys.exit(any(result["failed"] for result in results))


if __name__ == "__main__":
    main()
