"""The run of all benchmarks: records, interruptions, failures."""

import json
import os
import pathlib

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]

# Does one piece of work a run, as if it were interrupted after it, until there are three.
SCRIPT = """
import json, pathlib, sys
rows, figures = map(pathlib.Path, sys.argv[1:3])
done = rows.read_text().splitlines() if rows.exists() else []
rows.write_text("\\n".join([*done, "piece"]))
if len(done) < 2:
    sys.exit("interrupted")
figures.write_text(json.dumps({"pieces": len(done) + 1, "more": sys.argv[3:]}))
"""


@pytest.fixture
def part(tmp_path, monkeypatch):
    """A benchmark that is interrupted twice."""
    import run_all
    from parts import BENCHMARKS, Part

    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    relative = os.path.relpath(script, BENCHMARKS)
    monkeypatch.setitem(run_all.PARTS, "some", Part(relative, ("{rows}", "{json}")))
    return "some"


def test_an_interrupted_part_goes_on_and_leaves_a_record_when_done(part, tmp_path):
    from results import record_path
    from run_all import run_part

    results = tmp_path / "results"
    path = record_path(part, False, results)
    for _ in range(2):
        assert run_part(part, False, results) == "interrupted"
        assert not path.exists()
    assert run_part(part, False, results) is None
    record = json.loads(path.read_text())
    assert record["figures"] == {"pieces": 3, "more": []}
    assert record["settings"] == "whole"
    assert record["machine"]["cores"] == os.cpu_count()
    assert record["machine"]["packages"]["keras"]
    assert not list((results / "unfinished" / "whole").iterdir())


def test_a_quick_measurement_lies_apart_and_the_whole_one_counts(part, tmp_path):
    from results import read_records
    from run_all import run_part

    results = tmp_path / "results"
    while run_part(part, True, results):
        pass
    assert read_records(results)[part]["figures"]["more"] == ["--fast"]
    while run_part(part, False, results):
        pass
    assert read_records(results)[part]["settings"] == "whole"
    assert (results / "fast" / f"{part}.json").exists()


def test_figures_made_by_hand_become_a_record_with_their_date(part, tmp_path):
    from results import read_records
    from run_all import take

    path = tmp_path / "figures.json"
    path.write_text('{"pieces": 7}')
    os.utime(path, (1e9, 1e9))
    take(part, path, "By hand.", tmp_path / "results")
    record = read_records(tmp_path / "results")[part]
    assert record["figures"] == {"pieces": 7}
    assert record["date"] == "2001-09-09"
    assert record["commit"] is None
    assert record["note"] == "By hand."


def test_every_command_is_of_a_script_that_takes_its_options():
    from parts import BENCHMARKS, PARTS

    for part in PARTS.values():
        text = (BENCHMARKS / part.script).read_text(encoding="utf-8")
        for argument in (*part.arguments, *(part.fast or ())):
            if argument.startswith("--"):
                assert f'"{argument}"' in text, (part.script, argument)


def test_shown_commands_name_no_folder_of_this_machine():
    from parts import PARTS
    from run_all import shown

    for name, part in PARTS.items():
        assert str(ROOT) not in shown(part, False, name)


def test_quick_runs_leave_out_what_has_no_quick_measurement():
    from run_all import choose

    assert "quantization_coverage" not in choose([], fast=True)
    assert "quantization_coverage" in choose([], fast=False)
    assert choose(["repair"], fast=True) == ["repair"]
