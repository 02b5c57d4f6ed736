import configparser
import importlib.metadata
import pathlib
import re

import pytest

from tfcompress.extras import missing_extra

ROOT = pathlib.Path(__file__).resolve().parents[1]
LISTED = [
    "numpy<3,>=1.26",
    'optuna<5,>=4.9; extra == "search"',
    'pytest<10; extra == "test"',
    'old; python_version < "3" and extra == "search"',
]


def test_the_command_names_what_the_extra_installs_here(monkeypatch):
    monkeypatch.setattr(importlib.metadata, "requires", lambda name: LISTED)
    said = missing_extra("A search", "search")
    assert said == "A search needs the extra 'search': pip install 'optuna<5,>=4.9'"


def not_installed(name):
    raise importlib.metadata.PackageNotFoundError(name)


@pytest.mark.parametrize("requires", [not_installed, lambda name: None])
def test_a_checkout_that_is_not_installed_is_named(requires, monkeypatch):
    monkeypatch.setattr(importlib.metadata, "requires", requires)
    said = missing_extra("A search", "search")
    assert said == f"A search needs the extra 'search': pip install '{ROOT}[search]'"


def test_every_extra_that_is_named_exists():
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    sources = [
        path.read_text()
        for package in ("tfcompress", "exporters", "keras_callbacks")
        for path in (ROOT / package).rglob("*.py")
    ]
    named = set(re.findall(r'missing_extra\(.*, ["\'](\S+)["\']\)', "\n".join(sources)))
    assert named >= {"search", "report", "structure", "tfmot", "ethos-u"}
    assert named <= set(setup["options.extras_require"])


def test_no_message_names_our_package_on_the_index():
    ours = "tfcompress["  # on the index, the name is not ours
    for package in ("tfcompress", "exporters", "keras_callbacks"):
        for path in (ROOT / package).rglob("*.py"):
            assert f"pip install '{ours}" not in path.read_text(), path
