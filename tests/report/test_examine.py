import hashlib
import json
import math
import pathlib

import numpy as np
import pytest

import tfcompress as tfc
from exporters import check_target, export_tflite, inspect, validate
from tfcompress.report.document import Table
from tfcompress.report.sections import findings_document


@pytest.fixture(scope="module")
def findings(made):
    return tfc.examine(
        made.int8,
        model=made.model,
        baseline=made.float32,
        data=(made.x, made.y),
        targets=["coral-edgetpu", "microcontroller"],
        history={"loss": [1.0, 0.5]},
        runs=3,
        profile=True,
        sources=[made.float32],
    )


def test_the_files_are_measured_as_the_exporters_measure_them(made, findings):
    assert findings.file.size == pathlib.Path(made.int8).stat().st_size
    assert findings.file.macs == findings.baseline.macs == inspect(made.int8).macs
    assert findings.file.float_operations == 0
    assert findings.baseline.float_operations == len(inspect(made.float32).operations)
    assert findings.verdicts[0] == check_target(made.int8, "coral-edgetpu")
    ratio = findings.baseline.gzip_size / findings.file.gzip_size
    assert findings.compression_ratio == ratio
    times = findings.baseline.timing.median, findings.file.timing.median
    assert findings.speed_up == times[0] / times[1] > 0


def test_metrics_are_those_of_the_interpreter(made, findings):
    alone = validate(made.int8, made.int8, made.x, made.y, kernels=["xnnpack"]).metric
    assert findings.file.metric == alone
    assert findings.baseline.metric == 0.75  # 48 of 64
    assert findings.metric_drop == 0.75 - alone
    assert findings.agreement.reference_metric == 0.75
    assert findings.reference == "the Keras model toy"


def test_every_layer_is_named_and_compared_with_its_own_weights_in_float(findings):
    names = [layer.layer for layer in findings.layers]
    assert names == ["conv", "conv_1", "mean", "scores"]
    assert all(20 < layer.sqnr < math.inf for layer in findings.layers)
    assert findings.layers[1].weights.sparsity >= 0.5
    assert all(layer.seconds is None or layer.seconds > 0 for layer in findings.layers)
    assert any(layer.seconds for layer in findings.layers)
    assert findings.noise_reference == "toy with its weights in float"


def test_a_compiler_tells_what_became_smaller(made):
    pytest.importorskip("ethosu", reason="needs pip install ethos-u-vela")
    found = tfc.examine(
        made.int8, baseline=made.float32, targets=["coral-edgetpu", "ethos-u55-128"], runs=0
    )
    (before,) = found.baseline_verdicts
    after = found.verdicts[1]
    assert before.target == after.target == "ethos-u55-128"
    assert before.compiled.left_on_cpu
    assert after.compiled.cycles > 0
    sections = findings_document(found).sections
    (section,) = [each for each in sections if each.title == "Targets"]
    _, compiled = [block for block in section.blocks if isinstance(block, Table)]
    cells = [[cell.text for cell in row] for row in compiled.rows]
    assert [row[:2] for row in cells] == [["ethos-u55-128", "baseline"], ["ethos-u55-128", "file"]]
    assert cells[1][3:] == [
        f"{value:,}" for value in (after.compiled.flash, after.compiled.sram, after.compiled.cycles)
    ]


def test_sources_are_told_by_their_hashes(made, findings):
    content = pathlib.Path(made.int8).read_bytes()
    assert findings.sources[made.int8] == hashlib.sha256(content).hexdigest()
    assert findings.file.sha256 == findings.sources[made.int8]


def test_json_has_no_number_that_json_lacks(findings):
    text = json.dumps(findings.to_json(), allow_nan=False)
    stored = json.loads(text)
    assert stored["format"] == 1
    assert stored["compression_ratio"] == findings.compression_ratio
    assert stored["layers"][0]["inherited"] is None  # infinite: it reads the input
    assert stored["layers"][1]["weights"]["zeros"] == findings.layers[1].weights.zeros


def test_a_quantization_aware_model_is_compared_layer_by_layer(made, tmp_path):
    quantized = tfc.quantize_aware(made.model).calibrate(made.x)
    export_tflite(quantized, tmp_path / "qat.tflite", validation_data=made.x)
    findings = tfc.examine(
        tmp_path / "qat.tflite", model=quantized, data=made.x, targets=[], runs=0
    )
    assert [layer.sqnr > 15 for layer in findings.layers] == [True] * 4
    assert findings.agreement.within_one == 1.0
    assert findings.file.metric is findings.speed_up is None


def test_without_a_model_the_baseline_is_the_reference(made):
    findings = tfc.examine(
        made.int8, baseline=made.float32, data=made.x, targets=[], runs=0, kernels=["builtin"]
    )
    assert findings.reference == findings.noise_reference == made.float32
    assert all(layer.sqnr > 20 for layer in findings.layers)
    assert findings.compression_ratio > 1


def test_a_file_alone_is_judged_for_every_device_and_not_compared(made):
    findings = tfc.examine(made.int8, data=(made.x, made.y), runs=0)
    assert findings.agreement is findings.reference is findings.compression_ratio is None
    assert findings.file.metric is not None
    assert "raspberry-pi-zero" in {verdict.target for verdict in findings.verdicts}


def test_an_own_metric_has_its_own_name(made):
    def largest(outputs, labels):
        return float(np.max(outputs[0]))

    findings = tfc.examine(
        made.float32, data=made.x, labels=made.y, metric=largest, targets=[], runs=0
    )
    assert findings.metric_name == "largest"
    expected = made.model.predict(made.x, verbose=0).max()
    assert findings.file.metric == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"targets": ["toaster"]}, ValueError, "raspberry-pi-4"),
        ({"runs": -1}, ValueError, "Received: runs=-1"),
        ({"baseline": "missing.tflite"}, OSError, "missing.tflite"),
        ({"data": np.zeros((4, 5), "float32")}, ValueError, "shape"),
        ({"history": 3}, ValueError, "Received: 3"),
        ({"search": "missing.json"}, OSError, "missing.json"),
    ],
)
def test_bad_input(changed, error, message, made):
    with pytest.raises(error, match=message):
        tfc.examine(made.int8, **{"runs": 0, "targets": [], **changed})
