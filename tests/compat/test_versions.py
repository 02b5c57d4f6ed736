import configparser
import importlib.metadata
import os
import pathlib
import subprocess
import sys

import pytest
from packaging.specifiers import SpecifierSet

from tfcompress.compat.versions import SUPPORTED, UnsupportedVersionError, require_supported

ROOT = pathlib.Path(__file__).resolve().parents[2]
COMMAND = "from tfcompress.cli.entry import main; main()"
SUPPORTS = "tfcompress supports keras 3.10 to 3.16 and tensorflow 2.19 to 2.22"


def test_require_supported():
    require_supported()  # raises nothing here


def installed(monkeypatch, **versions):
    monkeypatch.setattr(importlib.metadata, "version", versions.__getitem__)


def test_older_libraries_are_refused(monkeypatch):
    installed(monkeypatch, keras="3.8.0", tensorflow="2.18.1")
    with pytest.raises(UnsupportedVersionError) as caught:
        require_supported()
    assert str(caught.value) == f"{SUPPORTS}. Received: keras 3.8.0, tensorflow 2.18.1"


def test_newer_libraries_are_tried(monkeypatch):
    installed(monkeypatch, keras="3.17.0rc1", tensorflow="2.21.0")
    with pytest.warns(UserWarning, match=r"Received: keras 3.17.0rc1.*It may work"):
        require_supported()


def test_requirements_say_the_same():
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    required = dict(
        line.split(" ", 1) for line in setup["options"]["install_requires"].split("\n") if line
    )
    for name, ((major, first), (_, end)) in SUPPORTED.items():
        allowed = SpecifierSet(required[name])
        minors = [minor for minor in range(50) if allowed.contains(f"{major}.{minor}.1")]
        assert minors == list(range(first, end))


@pytest.mark.process
def test_the_command_says_so_in_one_line(tmp_path):
    for name, version in (("keras", "2.15.0"), ("tensorflow", "2.15.1")):
        (tmp_path / f"{name}.py").write_text("")
        folder = tmp_path / f"{name}-{version}.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}")
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    done = subprocess.run(
        [sys.executable, "-c", COMMAND, "quickstart", "--out", "out"],
        check=False,
        env={**os.environ, "PYTHONPATH": path},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.stderr == f"tfcompress: {SUPPORTS}. Received: keras 2.15.0, tensorflow 2.15.1\n"
    assert done.returncode == 2
