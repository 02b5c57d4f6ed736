"""The reference in docs/reference describes what is public, each name once, and nothing else."""

import collections
import importlib
import inspect
import pathlib
import pkgutil
import re

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
PAGES = sorted((ROOT / "docs" / "reference").glob("*.md"))
ENTRY = re.compile(r"^::: (\S+)\n((?:    .*\n)*)", re.MULTILINE)
MEMBERS = re.compile(r"members: \[(.*)\]")
ENTRIES = [entry for page in PAGES for entry in ENTRY.findall(page.read_text("utf-8"))]


@pytest.mark.parametrize("package", ["tfcompress", "keras_callbacks", "exporters"])
def test_every_public_name_is_described_once(package):
    described = collections.Counter(path for path, _ in ENTRIES)
    module = importlib.import_module(package)
    public = [
        f"{package}.{name}"
        for name in module.__all__
        if not inspect.ismodule(getattr(module, name))
    ]
    assert public
    assert {name: described[name] for name in public if described[name] != 1} == {}


def test_nothing_is_described_twice():
    described = collections.Counter(id(pkgutil.resolve_name(path)) for path, _ in ENTRIES)
    assert len(described) == len(ENTRIES)


@pytest.mark.parametrize(("path", "options"), ENTRIES, ids=[path for path, _ in ENTRIES])
def test_what_a_page_names_is_there(path, options):
    described = pkgutil.resolve_name(path)
    assert described.__doc__
    members = MEMBERS.search(options)
    for name in members[1].split(", ") if members else ():
        assert getattr(described, name).__doc__, name


def test_the_first_page_links_every_other_one():
    first = (ROOT / "docs" / "reference" / "index.md").read_text("utf-8")
    assert {page.name for page in PAGES} - {"index.md"} == set(
        re.findall(r"\]\((\w+\.md)\)", first)
    )
