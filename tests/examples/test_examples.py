"""Every example runs with --smoke and ends with a file that has been compared with its model."""

import math
import pathlib
import runpy
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2] / "examples"
# What an example ends with: the name of its result or results, and what its file computes in float.
INTEGER = {
    "gestures": "results",
    "image_classification": "result",
    "keras_tuner_search": "result",
    "post_training": "results",
    "pretrained_network": "results",
    "segmentation": "result",
    "spoken_digits": "result",
    "transformer_encoder": "result",
}
# The others are left to `make examples`.
IN_EVERY_RUN = ("gestures", "image_classification", "post_training")


def test_every_example_is_tried():
    # Two workers make no file: tests/reliability compares what they have trained.
    assert {path.stem for path in ROOT.glob("*.py")} == {*INTEGER, "multi_worker"}


@pytest.mark.parametrize("path", sorted(ROOT.glob("*.py")), ids=lambda path: path.stem)
def test_an_example_is_short_enough_to_copy(path):
    assert len(path.read_text().splitlines()) < 120


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[] if name in IN_EVERY_RUN else pytest.mark.pages)
        for name in sorted(INTEGER)
    ],
)
def test_an_example_ends_with_a_proven_file(name, tmp_path, monkeypatch):
    if name == "keras_tuner_search":
        for module in ("keras_tuner", "tensorboard"):
            pytest.importorskip(module, reason=f"the example needs {module} (extra examples)")
    path = ROOT / f"{name}.py"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [str(path), "--smoke"])
    found = runpy.run_path(str(path), run_name="__main__")[INTEGER[name]]
    results = found.values() if isinstance(found, dict) else found
    results = results if isinstance(found, dict | list) else [found]
    for result in results:
        assert result.path.stat().st_size == result.size
        assert result.report.agreement.ran
        assert math.isfinite(result.report.agreement.largest)
        if result.report.quantization.startswith("int8"):
            assert result.report.float_operations == ()
    assert any(result.report.quantization.startswith("int8") for result in results)
