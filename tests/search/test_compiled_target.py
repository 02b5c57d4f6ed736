"""A search for an NPU: its compiler counts time and bytes, in the place of this computer."""

import importlib.util

import pytest
from made_trials import REFERENCE, made
from small_search import search, trained_model

from tfcompress.search.results import Budget, read_result
from tfcompress.targets import load_target
from tfcompress.targets.vela import compile_for_npu


def test_flash_takes_the_place_of_gzipped_bytes():
    trial = made(0, 0.9, 100, flash=120, cycles=3000)
    assert (trial.stored, made(1, 0.9, 100).stored, REFERENCE.stored) == (120, 100, 200)
    assert Budget(max_size=110).shortfalls(trial) == {"size": 10}
    assert Budget(max_size=110).shortfalls(made(1, 0.9, 100)) == {}


@pytest.mark.skipif(
    importlib.util.find_spec("ethosu") is None,
    reason="Vela is not installed: pip install '.[ethos-u]'",
)
def test_cycles_and_flash_are_the_compilers(tmp_path):
    result = search(trained_model(), tmp_path, target="ethos-u55-128", max_trials=1)
    (trial,) = result.trials
    compiled = compile_for_npu(tmp_path / trial.files["file"], load_target("ethos-u55-128"))
    assert (trial.flash, trial.cycles) == (compiled.flash, compiled.cycles)
    assert trial.latency == compiled.seconds
    assert trial.compression_ratio == result.reference.flash / trial.flash
    assert result.reference.latency == trial.reference_latency < 1e-3
    assert "flash" in result.to_text()
    assert read_result(tmp_path).trials == result.trials
