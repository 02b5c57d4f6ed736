import json

import numpy as np
import pytest
import toy_files

from exporters.benchmarking import benchmark
from exporters.running.tensor_details import TensorDetails, random_inputs


@pytest.fixture
def files(tmp_path):
    paths = []
    for kind in ("float32", "int8"):
        paths.append(tmp_path / f"{kind}.tflite")
        paths[-1].write_bytes(toy_files.content(kind))
    return paths


def test_every_file_is_measured_with_every_setting(files):
    result = benchmark(files, runs=20, threads=(1, 2), kernels=("xnnpack", "reference"))
    settings = [(entry.kernels, entry.threads) for entry in result.measurements]
    assert settings == [
        (kernels, threads)
        for kernels in ("xnnpack", "reference")
        for threads in (1, 2)
        for _ in files
    ]
    for entry in result.measurements:
        assert entry.error is None
        assert 0 < entry.minimum <= entry.median <= entry.p90
        assert entry.first > 0
        assert 0 < entry.peak_memory < 200 << 20
    assert result.runtime.startswith("ai-edge-litert")
    assert json.loads(json.dumps(result.to_json()))["runs"] == 20


def test_reference_kernels_are_slower_than_xnnpack(shared):
    path = shared / "models" / "mlperf_tiny" / "vww01_mobilenetv1_int8_reference.tflite"
    fast, slow = benchmark(path, runs=5, kernels=("xnnpack", "reference")).measurements
    assert slow.minimum > 5 * fast.minimum


def test_a_larger_model_takes_more_memory(files, shared):
    large = shared / "models" / "edgetpu_pairs" / "deeplabv3_mnv2_dm05_pascal_quant.tflite"
    small, big = benchmark([files[1], large], runs=1).measurements
    # The largest tensor, 257 x 257 x 48 bytes, at least.
    assert big.peak_memory > small.peak_memory + 257 * 257 * 48


def test_files_take_turns(files, monkeypatch):
    from exporters.running import loaded_model

    turns = []
    original = loaded_model.LoadedModel.time

    def record(self, runs):
        turns.append((self.inputs[0].dtype.name, runs))
        return original(self, runs)

    monkeypatch.setattr(loaded_model.LoadedModel, "time", record)
    benchmark(files, runs=25)
    first, later = turns[:2], turns[2:]
    assert first == [("float32", 1), ("int8", 1)]
    assert [name for name, _ in later] == ["float32", "int8"] * 10
    assert sum(runs for name, runs in later if name == "int8") == 25


def test_operations_are_timed_one_by_one(files):
    (entry,) = benchmark(files[1], runs=5, profile=True).measurements
    assert [op.operation for op in entry.operations] == [
        "CONV_2D",
        "DEPTHWISE_CONV_2D",
        "ADD",
        "MEAN",
        "FULLY_CONNECTED",
    ]
    assert all(op.seconds > 0 for op in entry.operations)
    assert entry.operations[0].layer.startswith("stem")


def test_the_operations_of_a_network_add_up_to_its_time(shared):
    path = shared / "models" / "mlperf_tiny" / "vww01_mobilenetv1_int8_reference.tflite"
    (entry,) = benchmark(path, runs=20, kernels=("reference",), profile=True).measurements
    total = sum(op.seconds for op in entry.operations)
    convolutions = sum(op.seconds for op in entry.operations if "CONV" in op.operation)
    assert total > 0.5 * entry.minimum
    assert convolutions > 0.9 * total


def test_a_file_that_does_not_run_does_not_stop_the_others(files, shared):
    bad = shared / "models" / "litert_testdata" / "custom_sinh.bin"
    result = benchmark([files[0], bad], runs=2)
    assert [entry.error is None for entry in result.measurements] == [True, False]
    assert "Sinh" in result.measurements[1].error
    assert "did not run" in result.to_text()


def test_inputs_are_seeded_and_cover_the_range():
    ports = [
        TensorDetails("a", 0, (1, 2000), np.dtype("int8")),
        TensorDetails("b", 1, (1, 3), np.dtype("int64")),
        TensorDetails("c", 2, (1, 3), np.dtype("float32")),
    ]
    integers, indices, floats = random_inputs(ports, seed=1)
    assert (integers.min(), integers.max()) == (-128, 127)
    assert indices.tolist() == [[0, 0, 0]]
    np.testing.assert_array_equal(floats, random_inputs(ports, seed=1)[2])
    assert not np.array_equal(floats, random_inputs(ports, seed=2)[2])


def test_bad_input(files):
    with pytest.raises(ValueError, match="at least"):
        benchmark([])
    with pytest.raises(ValueError, match="at least"):
        benchmark(files, runs=0)
    with pytest.raises(ValueError, match="Unknown kernel set"):
        benchmark(files, kernels=("gpu",))
