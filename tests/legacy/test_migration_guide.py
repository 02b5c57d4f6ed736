"""The migration guide: the code of both columns runs, and does the same."""

import json
import pathlib

import pytest
from started_script import run_script

pytestmark = pytest.mark.process

ROOT = pathlib.Path(__file__).resolve().parents[2]
GUIDE = ROOT / "docs" / "migration.md"
SCRIPT = pathlib.Path(__file__).with_name("migration_columns.py")


def found_by(column, folder):
    result = run_script(SCRIPT, column, GUIDE, folder)
    assert result.returncode == 0, result.stderr[-3000:]
    return json.loads((folder / "found.json").read_text())


@pytest.fixture(scope="module")
def theirs(tmp_path_factory):
    return found_by("TFMOT", tmp_path_factory.mktemp("theirs"))


@pytest.fixture(scope="module")
def ours(tmp_path_factory):
    return found_by("tfcompress", tmp_path_factory.mktemp("ours"))


def test_every_section_has_both_columns(theirs, ours):
    assert set(theirs) - {"names"} == set(ours) - {"Legacy models"}


def test_every_public_name_of_tfmot_is_in_the_guide(theirs):
    text = GUIDE.read_text()
    assert [name for name in theirs["names"] if f"`{name}" not in text] == []


@pytest.mark.parametrize(
    ("heading", "conv", "dense"),
    [("Pruning", 0.75, 0.75), ("Some layers", 0.0, 0.5)],
)
def test_both_prune_to_the_same_sparsity(theirs, ours, heading, conv, dense):
    for column in (theirs, ours):
        assert column[heading]["conv"]["zeros"] == pytest.approx(conv, abs=0.005)
        assert column[heading]["dense"]["zeros"] == pytest.approx(dense, abs=0.005)


def test_both_keep_two_of_four(theirs, ours):
    for column in (theirs, ours):
        section = column["Blocks, and 2 of 4"]
        assert section["conv"]["zeros"] == section["dense"]["zeros"] == 0.5
        assert section["conv"]["of_four"] == section["dense"]["of_four"] == 2


def test_both_cluster(theirs, ours):
    for column in (theirs, ours):
        assert column["Clustering"]["conv"]["values"] == 8
        assert column["Clustering"]["dense"]["values"] == 8


def test_both_make_a_file_of_integers(theirs, ours):
    for column in (theirs, ours):
        section = column["Quantization-aware training"]
        assert section["float_operations"] == 0
        assert section["input"] == "INT8"


def test_zeros_are_kept_through_quantization(theirs, ours):
    for column in (theirs, ours):
        # Rounding makes a few more.
        assert 0.5 <= column["Together"]["zeros"]["dense"] < 0.55
    assert 0.5 <= ours["Together"]["zeros"]["conv"] < 0.55
    assert ours["Together"]["conv"]["zeros"] == 0.5
    # As the guide says: TFMOT loses those of a convolution before a ReLU layer.
    assert theirs["Together"]["zeros"]["conv"] < 0.25
