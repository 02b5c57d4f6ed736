"""What is simulated of macOS and Windows: modules and functions that only POSIX or Linux has."""

import os
import pathlib
import subprocess
import sys

import pytest

from exporters.running import child
from tfcompress import machine

ROOT = pathlib.Path(__file__).resolve().parents[1]
EVERYTHING = """
import builtins, importlib, pathlib
ABSENT = ("fcntl", "grp", "pwd", "resource", "termios")
found = builtins.__import__

def checked(name, globals=None, locals=None, fromlist=(), level=0):
    own = (globals or {}).get("__name__", "").split(".")[0]
    if name in ABSENT and own in ("tfcompress", "exporters", "keras_callbacks"):
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)
    return found(name, globals, locals, fromlist, level)

builtins.__import__ = checked
count = 0
for package in ("tfcompress", "exporters", "keras_callbacks"):
    for path in sorted(pathlib.Path(package).rglob("*.py")):
        if "bundle_files" not in path.parts:
            importlib.import_module(".".join(path.with_suffix("").parts))
            count += 1
print(count)
"""


@pytest.mark.process
def test_every_module_is_imported_without_those_of_posix():
    done = subprocess.run(
        [sys.executable, "-c", EVERYTHING], cwd=ROOT, check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-800:]
    assert int(done.stdout) > 200


def test_cores(monkeypatch):
    assert 1 <= machine.usable_cores() <= os.cpu_count()
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 3)
    assert machine.usable_cores() == 3


def test_memory_is_that_of_the_computer():
    with open("/proc/meminfo") as file:
        assert machine.memory() // 1024 == int(file.readline().split()[1])


def test_the_child_measures_its_memory_where_the_system_tells(monkeypatch):
    on_linux = child.resident_maximum()
    assert on_linux > 1 << 20
    monkeypatch.setattr(sys, "platform", "darwin")
    assert child.resident_maximum() * 512 < on_linux
    monkeypatch.setitem(sys.modules, "resource", None)
    assert child.resident_maximum() == 0
