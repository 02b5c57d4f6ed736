"""The four MLPerf Tiny models, as ``benchmarks/mlperf_tiny.py`` quantizes them."""

import importlib.util
import pathlib

import pytest

SCRIPT = pathlib.Path(__file__).resolve().parents[2] / "benchmarks" / "mlperf_tiny.py"


@pytest.fixture(scope="module")
def benchmark():
    spec = importlib.util.spec_from_file_location("mlperf_tiny", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["kws", "ic", "vww", "ad"])
def test_integers_alone_and_no_larger_than_published(benchmark, shared, tmp_path, name):
    row = benchmark.quantize(name, shared, tmp_path, repair=False)
    assert row.float_operations == 0
    assert row.size <= row.reference_size
    if name == "kws":
        assert row.accuracy >= 0.9
    if name != "ad":
        assert row.same_class >= 0.95
        assert row.same_class >= row.reference_same_class
