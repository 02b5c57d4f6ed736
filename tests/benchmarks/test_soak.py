"""The long trials: sections by themselves, and their place on the page."""

import argparse
import importlib
import json
import sys
import types

import pytest


@pytest.fixture
def soak():
    return importlib.import_module("soak")


def test_a_section_replaces_its_own_figures_alone(soak):
    page = "a\n<!-- soak input: begin -->\n\nold\n\n<!-- soak input: end -->\nb\n"
    page += "<!-- soak long: begin -->\n<!-- soak long: end -->\nc\n"
    changed = soak.replaced(page, "input", "new")
    assert changed == page.replace("old", "new")
    assert soak.replaced(changed, "input", "old") == page
    assert "begin -->\n\nx\n\n<!-- soak long: end -->\nc\n" in soak.replaced(page, "long", "x")
    with pytest.raises(ValueError, match="soak signals: begin"):
        soak.replaced(page, "signals", "new")


def test_the_page_has_a_place_for_every_section(soak, request):
    page = (request.config.rootpath / "docs" / "reliability.md").read_text()
    for name in soak.SECTIONS:
        assert "new" in soak.replaced(page, name, "new")


def test_what_failed_is_told(soak, monkeypatch, capsys, tmp_path):
    rows = [
        {"operation": "export", "signal": "SIGINT", "interrupted": 3, "too late": 1, "problems": []}
    ]
    section = soak.SECTIONS["signals"]
    monkeypatch.setattr(section, "measure", lambda sizes: rows)
    monkeypatch.setattr("sys.argv", ["soak.py", "--only", "signals"])
    assert soak.main() == 0
    assert "| export | SIGINT | 3 | 1 | 0 |" in capsys.readouterr().out
    rows[0]["problems"].append("model.tflite is another one")
    assert soak.main() == 1
    captured = capsys.readouterr()
    assert "| export | SIGINT | 3 | 1 | 1 |" in captured.out
    assert "model.tflite is another one" in captured.err


def test_operations_are_summed_up_over_their_forms(soak):
    section = soak.SECTIONS["operations"]

    def row(name, kernels, differing=0, largest=0.0):
        found = {"files": 2, "values": 1000, "differing": differing, "largest": largest}
        return {"name": name, "kernels": kernels, **found}

    rows = [row(name, "xnnpack") for name in ("ADD int8", "ADD int8 far", "ELU INT8")]
    rows += [row("ADD int8", "reference"), row("ADD int8 far", "reference", 3, 1.0)]
    lines = section.text(rows)
    assert lines[0] == "10 files of 5 forms of 2 operations in a kernel set, 5,000 values."
    assert "| ADD | int8; int8 far | 8 | 4,000 | 0 | 3, by 1 at most |" in lines
    assert "| ELU | int8 | 2 | 1,000 | 0 | no kernel |" in lines
    assert lines[1] == "Left out, as its runtime was not installed: micro."
    assert section.failed(rows) == rows[-1:]


def test_random_models_are_summed_up(soak):
    section = soak.SECTIONS["models"]
    failure = {"check": "pruned", "what": "WrongError: 3 zeros of 8", "program": {}}
    missing = "they would compute in float on the device:\n  x: SIN"
    rows = [
        {"model": 0, "figures": {"figures": {}, "failures": []}},
        {"model": 1, "figures": {"figures": {}, "failures": [failure]}},
        {
            "model": 2,
            "figures": {"figures": {"refused, quantization-aware": missing}, "failures": []},
        },
        {"model": 3, "figures": {"figures": {"unusable": "not finite"}, "failures": []}},
        {"model": 4, "error": "not done in 1200 s"},
    ]
    for row, seconds in zip(rows, (30, 60, 90, 120, None), strict=True):
        row["seconds"] = seconds
    lines = section.text(rows)
    assert lines[0].startswith("5 models, numbers 0 to 4, 5 minutes in all. 1 of them give inf")
    assert "1 ended their process" in lines[0]
    assert lines[0].endswith("Refused for operations without an integer kernel: SIN (1).")
    assert "| half of the weights of each kernel are zero | 2 | 0 | 1 |" in lines
    integers = "the int8 file equals the quantization-aware model to the bit"
    assert f"| {integers} | 2 | 1 | 0 |" in lines
    assert section.failed(rows) == [rows[1], rows[4]]
    assert section.text([rows[0], *rows[2:]])[0].startswith("4 models, numbers 0 to 0 and 2 to 4")


def test_random_models_go_on_from_the_record(soak, monkeypatch, tmp_path):
    section = soak.SECTIONS["models"]
    fine = {"figures": {}, "failures": []}
    failed = {"model": 1, "seconds": 1, "figures": fine | {"failures": [{"check": "saved"}]}}
    rows = [{"model": 7, "seconds": 1, "figures": fine}, failed]
    monkeypatch.setattr(section, "ROWS", tmp_path / "rows.jsonl")
    section.ROWS.write_text("".join(json.dumps(row) + "\n" for row in rows))
    asked = []

    def finish(pieces, command, path, seconds):
        asked.extend(pieces)
        done = section.FinishedRows(path, ("model",))
        for piece in pieces:
            done.add(**piece, seconds=1, figures=fine)

    monkeypatch.setattr(section, "finish", finish)
    found = section.measure(argparse.Namespace(models=2))
    assert asked == [{"model": 0}, {"model": 1}]
    assert [row["model"] for row in found] == [0, 1, 7]
    assert section.failed(found) == []


def test_random_files_until_there_are_so_many_values(soak):
    files = importlib.import_module("random_operations")
    generator, kernel = files.GENERATORS["RELU INT8"], files.kernel_of("RELU INT8")
    count = files.check_values(generator, kernel, "xnnpack", 1000)
    assert count == (2, 0, 1152, 0.0)
    assert files.check_values(generator, lambda *given: [kernel(*given)[0] + 1], "xnnpack", 1) == (
        1,
        576,
        576,
        1.0,
    )


def test_damaged_input_in_a_process_of_its_own(soak):
    section = soak.SECTIONS["input"]
    rows = section.measure(argparse.Namespace(inputs=90))
    assert section.failed(rows) == []
    assert all(row["inputs"] == row["read"] + row["refused"] >= 10 for row in rows)
    assert section.text(rows)[0].startswith(f"{sum(row['inputs'] for row in rows)} damaged inputs")


@pytest.mark.process
def test_fresh_processes_write_the_same_bytes(soak):
    section = soak.SECTIONS["bytes"]
    rows = section.measure(argparse.Namespace(processes=2))
    assert section.failed(rows) == []
    assert len({row["hashes"][0] for row in rows}) == len(rows) == 5  # each is a file of its own
    assert "| int8, quantization-aware | 2 | 1 |" in section.text(rows)


def test_a_section_whose_process_fails_does_not_end_the_others(soak, tmp_path, monkeypatch, capsys):
    page = tmp_path / "page.md"
    page.write_text(
        "".join(f"<!-- soak {n}: begin -->\nold\n<!-- soak {n}: end -->\n" for n in "ab")
    )

    def fail(sizes):
        raise RuntimeError("a ended with -11")

    fine = types.SimpleNamespace(
        measure=lambda sizes: [sizes.kills],
        text=lambda rows: [f"{rows} kills"],
        failed=lambda _: [],
    )
    monkeypatch.setattr(soak, "SECTIONS", {"a": types.SimpleNamespace(measure=fail), "b": fine})
    monkeypatch.setattr(sys, "argv", ["soak.py", "--page", str(page), "--kills", "3"])
    assert soak.main() == 1
    assert "a ended with -11" in capsys.readouterr().err
    first, second = page.read_text().split("<!-- soak b: begin -->")
    assert "old" in first
    assert "[3] kills" in second
    assert "old" not in second
