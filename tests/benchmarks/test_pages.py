"""The page of benchmarks and the README's table, against the records."""

import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture
def records():
    from results import read_records

    return read_records()


FILES = (
    "docs/backends.md",
    "docs/benchmarks.md",
    "docs/coverage.md",
    "docs/fidelity.md",
    "docs/pruning.md",
    "docs/quantization.md",
    "README.md",
)


@pytest.mark.parametrize("name", FILES)
def test_each_page_is_what_the_records_give(name, records):
    from write_pages import WRITERS

    text = (ROOT / name).read_text(encoding="utf-8")
    assert WRITERS[name](text, records) == text, "run `python benchmarks/write_pages.py`"


def test_no_page_of_records_is_left_out():
    from write_pages import WRITERS

    assert set(WRITERS) == set(FILES)


def test_a_changed_figure_changes_the_page_and_the_readme(records):
    from write_pages import page, readme_region

    before = page(records), readme_region(records)
    row = next(r for r in records["pruning_accuracy_cifar"]["figures"] if r["method"] == "ours")
    row["accuracy"] -= 0.5
    assert page(records) != before[0]
    assert readme_region(records) != before[1]


def test_every_plot_of_the_page_is_there(records):
    from write_pages import page

    for name in re.findall(r"!\[.*?\]\((.*?)\)", page(records)):
        assert (ROOT / "docs" / name).exists()


def test_records_are_of_known_parts_and_say_where_they_come_from(records):
    from parts import PARTS

    for name, record in records.items():
        assert name in PARTS
        assert record["part"] == name
        assert record["command"].startswith(f"python benchmarks/{PARTS[name].script}")
        assert re.fullmatch(r"\d{4}-\d\d-\d\d", record["date"])
        assert record["machine"]["cores"] >= 1


def test_every_part_has_its_place_on_the_page():
    from parts import PARTS
    from sections import SECTIONS

    assert {part for section in SECTIONS for part in section.PARTS} == set(PARTS)


def test_what_falls_short_is_red_with_its_target():
    from write_pages import page

    text = page({"pruning_accuracy_signs": _record(_pruned(ours=0.96, theirs=0.97))})
    (line,) = (line for line in text.split("## Cost")[0].splitlines() if "points over" in line)
    assert "| at least 0 | -1.00 |" in line
    assert '<b style="color:red">falls short</b>' in line
    assert "**1 of 3 goals are reached.**" in text


def test_what_reaches_its_goal_is_not_red():
    from write_pages import page

    text = page({"pruning_accuracy_signs": _record(_pruned(ours=0.97, theirs=0.97))})
    assert "color:red" not in text
    assert "**3 of 3 goals are reached.**" in text


def test_a_backend_is_held_to_the_worst_seed_of_tensorflow():
    from sections.each_backend import goals

    def student(accuracy, different=0):
        same = {"sparsity": 0.75, "float_operations": 0, "version": "1"}
        return {"accuracy": accuracy, "different": different, **same}

    steps = {"DS-CNN": {"ratio": 1.06, "quartiles": [1.0, 1.1]}}
    found = {
        "tensorflow": {"students": [student(0.91), student(0.93)], "steps": {}},
        "jax": {"students": [student(0.90), student(0.91, different=1)], "steps": steps},
        "torch": {"students": [student(0.90), student(0.92)], "steps": {}},
    }
    missed = [goal.what for goal in goals({"each_backend": found}) if not goal.reached]
    assert missed == [
        "JAX, mean accuracy of the seeds",
        "JAX, outputs of file and model that differ",
        "JAX, step of pruning, DS-CNN",
    ]


def test_what_was_not_measured_says_how_to():
    from write_pages import page

    assert "not measured: `python benchmarks/run_all.py repair`" in page({})


def test_a_peer_that_is_left_out_gives_its_reason_and_no_goal_against_it():
    from write_pages import page

    times = {"set_up_s": [0.0], "first_epoch_s": [1.0], "step_s": [0.1, 0.2], "export_s": [1.0]}
    figures = {
        "model": "MobileNetV2-0.35",
        "weights": 10,
        "contenders": {"Keras 3, plain": times},
        "pairs": {},
        "left_out": {"tf_keras, QAT by TFMOT": "ImportError: no module"},
    }
    text = page({"training_cost_mobilenetv2_035": _record(figures)})
    assert "tf_keras, QAT by TFMOT is left out: ImportError: no module" in text
    assert "| Keras 3, plain | 0.00 | 1.00 | 150.0 (75.0 to 225.0) | 1.00 |  |" in text
    assert "step, Keras 3, QAT" not in text


def test_methods_of_a_missing_peer_are_left_out_with_their_reason():
    from write_pages import page

    absent = {"data": "digits", "method": "TFMOT", "left_out": "not installed: tf_keras"}
    pruned = [*_pruned(ours=0.9, theirs=0.9)[:1], absent]
    quantized = [
        {
            "data": "digits",
            "method": "QAT",
            "accuracy": 0.9,
            "deviation": 0.0,
            "gzip_bytes": 900,
            "runs": [{"seed": 0, "accuracy": 0.9, "bytes": 1000}],
        },
        absent,
    ]
    fidelity = [{"model": "sign net", "seed": 0, **absent}]
    parts = {
        "pruning_accuracy_signs": pruned,
        "quantization_accuracy_signs": quantized,
        "quantization_fidelity": fidelity,
    }
    text = page({part: _record(figures) for part, figures in parts.items()})
    assert text.count("TFMOT is left out: not installed: tf_keras.") == 2
    assert "| sign net | TFMOT | xnnpack | left out: not installed: tf_keras |" in text
    assert "**0 of 0 goals are reached.**" in text


def test_values_that_differ_are_counted_in_the_kernels_that_a_model_is_made_for():
    from write_pages import page

    figures = [
        _fidelity("sign net", "xnnpack", {"xnnpack": 1.0, "reference": 0.5}),
        _fidelity("sign net", "reference", {"xnnpack": 0.5, "reference": 0.999}),
        _fidelity("ViT", "xnnpack", {"xnnpack": 0.9995}, trained=False),
    ]
    text = page({"quantization_fidelity": _record(figures)})
    goal = "| Fidelity | xnnpack: differing values of 1 trained networks | at most 0 | 0 |"
    assert f"{goal} of 2,000 | reached |" in text
    goal = "| Fidelity | reference: differing values of 1 trained networks | at most 0 | 2 |"
    assert f'{goal} of 2,000 | <b style="color:red">falls short</b> |' in text
    assert "| xnnpack: equal, ViT | at least 99.900% | 99.950% |  | reached |" in text
    assert "| sign net | QAT | reference | 2,000 | 2 | 99.90% | 1 LSB | 100.00% |" in text


def test_networks_that_a_runtime_does_not_run_are_named():
    from sections.fidelity import goals, lines

    refused = _fidelity("U-Net", "reference", {}) | {"refused": {"reference": "no\nTILE"}}
    figures = {"quantization_fidelity": [_fidelity("LeNet", "reference", {"reference": 1.0})]}
    figures["quantization_fidelity"].append(refused)
    (goal,) = goals(figures)
    assert goal.spread == "of 2,000; the runtime lacks an operation of U-Net"
    assert goal.reached
    (line,) = (line for line in lines(figures) if "U-Net" in line)
    assert "| fails: does not run in the reference kernels: no TILE |" in line


def test_exports_are_compared_with_the_conversion_of_their_round():
    from sections.export_time import FIRST, PLAIN, goals
    from write_pages import page

    figures = _export_times(first=[2.0, 3.0, 4.0], plain=[1.0, 3.0, 4.0], memory=[9e6, 30e6])
    found = {goal.what: goal for goal in goals({"export_time": figures})}
    ratio = found[f"{FIRST}, to a plain conversion"]
    assert (ratio.measured, ratio.spread, ratio.reached) == ("1.00x", "1.00 to 2.00", True)
    assert found["again: number 2 to the first"].measured == "0.50x"
    memory = found["again: memory after 2, MB more"]
    assert (memory.measured, memory.reached) == ("21", False)
    assert not found["again: different files of 2 processes"].reached
    text = page({"export_time": _record(figures)})
    assert f"| {FIRST} | 9.00 | 3.00 (2.00 to 4.00) | 1.00x | 1.00 to 2.00 | 3 |" in text
    assert f"| {PLAIN} | 9.00 | 3.00 (1.00 to 4.00) | 1.00x | 1.00 to 1.00 | 3 |" in text


def test_a_page_without_a_place_for_a_table_is_refused():
    from fidelity_page import with_tables

    records = {"quantization_fidelity": _record([])}
    with pytest.raises(ValueError, match="no place for the table 'trained'"):
        with_tables("# Fidelity\n", records)


def test_a_page_without_the_region_is_refused():
    from write_pages import with_region

    with pytest.raises(ValueError, match=r"needs one region of benchmarks\. Received: 0"):
        with_region("# tfcompress\n", "")


def _fidelity(model, method, equal, trained=True):
    return {
        "model": model,
        "seed": 0,
        "method": method,
        "trained": trained,
        "examples": 200,
        "values": 2000,
        "kernels": {
            kernels: {"equal": share, "largest": 1.0, "same_class": 1.0}
            for kernels, share in equal.items()
        },
    }


def _export_times(first, plain, memory):
    from sections.export_time import AGAIN, FIRST, LOADED, PLAIN

    times = {PLAIN: plain, FIRST: first, AGAIN: plain, LOADED: plain}
    return {
        "turns": {name: {"first": 9.0, "seconds": seconds} for name, seconds in times.items()},
        "repeated": {"again": {"seconds": [2.0, 1.0], "memory": memory}},
        "bytes": {"again": ["a" * 64, "b" * 64]},
    }


def _pruned(ours, theirs):
    return [
        {
            "data": "digits",
            "method": method,
            "target": 0.5,
            "sparsity": 0.5,
            "accuracy": accuracy,
            "deviation": 0.0,
            "gzip_bytes": 1000,
            "seeds": [accuracy],
        }
        for method, accuracy in (("ours", ours), ("TFMOT", theirs))
    ]


def _record(figures):
    return {
        "command": "python benchmarks/some.py",
        "settings": "whole",
        "date": "2026-01-01",
        "commit": None,
        "seconds": 1,
        "machine": {
            "processor": "one",
            "cores": 2,
            "python": "3.11.0",
            "packages": {"tensorflow": "2.21.0", "keras": "3.15.1"},
        },
        "figures": figures,
    }
