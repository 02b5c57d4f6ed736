"""CONTRIBUTING.md shows the code that is there, in the files that it names."""

import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
TEXT = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
PATH = r"`([\w/.-]+/[\w.-]*)`"
SHOWN = re.compile(PATH + r"[^`]*(?:`\w+`)?[^`]*\n\n```\w+\n(.*?)^```", re.MULTILINE | re.DOTALL)
ROW = re.compile(rf"^\| an? .*? \|.*?{PATH}.*\| `([\w.-]+)` \|$", re.MULTILINE)


@pytest.mark.parametrize(("path", "code"), SHOWN.findall(TEXT), ids=lambda text: text[:40])
def test_code_is_what_stands_in_the_file(path, code):
    assert code in (ROOT / path).read_text("utf-8")


def test_every_block_of_code_is_compared():
    fences = re.findall(r"^```\w+$", TEXT, re.MULTILINE)
    assert len(SHOWN.findall(TEXT)) == len(fences) == 6


@pytest.mark.parametrize("path", sorted(set(re.findall(PATH, TEXT))))
def test_files_are_there(path):
    assert (ROOT / path).exists()


@pytest.mark.parametrize(("path", "like"), ROW.findall(TEXT))
def test_what_a_new_one_is_like_is_there(path, like):
    where = ROOT / path
    sources = where.iterdir() if where.is_dir() else [where]
    texts = [file.name + file.read_text("utf-8") for file in sources if file.is_file()]
    assert any(like.removeprefix("nn.") in text for text in texts)
