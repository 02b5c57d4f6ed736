"""Models that TFMOT has pruned, clustered or trained with quantization, in files."""

import json
import pathlib

import pytest
from started_script import run_script

pytestmark = pytest.mark.process

SCRIPT = pathlib.Path(__file__).with_name("tfmot_models.py")


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tfmot")
    result = run_script(SCRIPT, folder)
    assert result.returncode == 0, result.stderr[-3000:]
    return json.loads((folder / "found.json").read_text())


@pytest.mark.parametrize("kernel", ["conv", "dense"])
def test_masks_are_applied_before_the_wrappers_go(found, kernel):
    # Half of the weights; TFMOT leaves those at the threshold itself.
    assert found["pruning"]["rebuilt"]["zeros"][kernel] == pytest.approx(0.5, abs=0.01)
    assert found["pruning"]["file"]["zeros"][kernel] >= 0.495
    assert found["pruning"]["from_file"] == found["pruning"]["rebuilt"]
    assert found["pruning"]["untouched"]


@pytest.mark.parametrize("kernel", ["conv", "dense"])
def test_clusters_stay_when_the_wrappers_go(found, kernel):
    assert found["clustering"]["rebuilt"]["values"][kernel] <= 4
    # Each of the eight output channels of the convolution has a scale of its own.
    assert found["clustering"]["file"]["values"][kernel] <= {"conv": 32, "dense": 4}[kernel]


@pytest.mark.parametrize("kind", ["pruning", "clustering", "quantization"])
def test_files_compute_with_integers_alone_what_the_model_does(found, kind):
    file = found[kind]["file"]
    assert file["float_operations"] == []
    assert file["input"]["dtype"] == "int8"
    assert file["same_class"] >= 0.95
    assert file["reported"] == file["same_class"]


def test_learnt_ranges_are_those_of_the_file(found):
    file, (lowest, highest) = found["quantization"]["file"], found["quantization"]["input_range"]
    assert file["quantization"] == "int8, quantization-aware by TFMOT"
    assert file["input"]["scale"] == pytest.approx((highest - lowest) / 255, rel=1e-6)


def test_kernels_are_the_integers_of_training(found):
    assert found["quantization"]["other_integers"] == {"conv": 0, "dense": 0}


def test_a_quantization_aware_model_stays_what_it_is(found):
    assert "ValueError" in found["quantization"]["rebuilding"]
    assert "`export_tflite` accepts the model as it is" in found["quantization"]["rebuilding"]
    assert "one of ['int8']" in found["quantization"]["other"]
    assert "quantization='float16'" in found["quantization"]["other"]


def test_layers_without_ranges_are_named(found):
    partial = found["partial_quantization"]
    assert partial["refused"].startswith("FloatOperationError")
    # The convolution, fused with its activation, has no range; nor has what the dense layer reads.
    assert "relu: CONV_2D" in partial["refused"]
    assert "quant_dense: FULLY_CONNECTED" in partial["refused"]
    assert "pass `representative_data`" in partial["refused"]
    assert partial["allowed"]["float_operations"]


def test_ranges_that_were_not_learnt_are_observed(found):
    file = found["partial_quantization"]["observed"]
    assert file["float_operations"] == []
    assert file["same_class"] >= 0.95


def test_keras_stays_keras_3(found):
    assert found["keras"].startswith("3.")
