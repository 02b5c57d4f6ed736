"""Files with encoded kernels: what is said of them, and what TFLite Micro computes with them."""

import importlib.util
import json

import keras
import numpy as np
import pytest

import tfcompress as tfc
from exporters import check_target, encode_weights, load_isolated, validate, write_bundle
from exporters.converting import convert_model
from tfcompress.cli.main import run

SHAPE = (16, 16, 3)


def images(count):
    return np.random.default_rng(0).normal(size=(count, *SHAPE)).astype(np.float32)


def network():
    """Kernels for each encoding: many zeros, two values, and sixteen."""
    keras.utils.set_random_seed(0)
    return keras.Sequential(
        [
            keras.Input(SHAPE),
            keras.layers.Conv2D(32, 3, name="pruned"),
            keras.layers.DepthwiseConv2D(3, depth_multiplier=8, name="huffman"),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(64, name="lookup"),
            keras.layers.Dense(4, name="small"),
        ]
    )


@pytest.fixture(scope="module")
def content():
    model = network()
    random = np.random.default_rng(1)
    for name, values in (
        ("pruned", lambda kernel: kernel * (random.random(kernel.shape) < 0.2)),
        ("huffman", np.sign),
        ("lookup", lambda kernel: random.integers(-8, 8, kernel.shape) / 16),
    ):
        variable = model.get_layer(name).kernel
        variable.assign(values(np.array(variable)))
    quantization = tfc.Scheme(kernels="reference")
    return convert_model(model, quantization, representative_data=images(64)).flatbuffer


@pytest.fixture(scope="module")
def encoded(content, tmp_path_factory):
    path = tmp_path_factory.mktemp("encoded") / "model.tflite"
    return encode_weights(content, path), path


def test_each_kernel_has_its_smallest_encoding(content, encoded):
    report, path = encoded
    found = {kernel.encoding for kernel in report.kernels}
    assert found == {"pruned", "lookup", "huffman"}
    assert (report.dense_size, report.size) == (len(content), path.stat().st_size)
    saved = sum(kernel.dense_size - kernel.encoded_size for kernel in report.kernels)
    assert report.size < report.dense_size - saved + 320 * len(report.kernels)
    assert report.arena > report.dense_arena
    text = report.to_text()
    assert f"flash: {report.size:,} bytes, {len(content):,} before (-" in text
    assert json.loads(json.dumps(report.to_json()))["size"] == report.size


def test_only_microcontrollers_run_it(encoded):
    _, path = encoded
    assert check_target(path, "esp32-s3").ok
    verdict = check_target(path, "raspberry-pi-4")
    assert not verdict.ok
    assert "TFLM_DECODE" in verdict.reasons[0]


needs_micro = pytest.mark.skipif(
    importlib.util.find_spec("tflite_micro") is None,
    reason="tflite-micro is not installed: pip install '.[micro]'",
)


@needs_micro
def test_outputs_are_the_same_in_the_interpreter(content, encoded):
    report, path = encoded
    with (
        load_isolated(content, kernels="micro") as dense,
        load_isolated(path, kernels="micro") as decoded,
    ):
        (expected,), (found,) = (each.predict(images(16), real=False) for each in (dense, decoded))
        # The estimate is for pointers of 32 bits.
        assert report.dense_arena < dense.arena < 1.6 * report.dense_arena
        assert report.arena < decoded.arena < 1.6 * report.arena
    assert np.unique(expected).size > 10
    np.testing.assert_array_equal(found, expected)


@needs_micro
def test_a_bundle_holds_what_the_interpreter_computes(content, tmp_path):
    path = tmp_path / "model.tflite"
    path.write_bytes(content)
    folder = write_bundle(
        path, tmp_path / "b", examples=images(8), target="stm32h743", encode_weights=True
    )
    golden = np.load(folder / "golden.npz")
    with load_isolated(path, kernels="micro") as loaded:
        (found,) = loaded.predict(images(8), real=False)
    np.testing.assert_array_equal(golden["output_0"][:, 0], found)
    assert "the golden outputs are its own" in (folder / "README.md").read_text()
    assert "Found by trying, with pointers of 64 bits" in (folder / "model_data.h").read_text()


@needs_micro
def test_validation_runs_it_beside_the_reference_kernels(content):
    report = validate(content, network(), images(8), kernels=["reference", "micro"])
    assert [run.kernels for run in report.runs] == ["reference", "micro"]
    assert report.runs[1].runtime.startswith("tflite-micro")
    assert report.runs[1].error is None


def test_signatures_are_not_for_microcontrollers(content):
    with pytest.raises((ValueError, RuntimeError), match=r"main graph|needs the extra 'micro'"):
        load_isolated(content, kernels="micro", signature="serving_default")


def test_the_command_says_what_is_saved(content, tmp_path, capsys):
    path, out = tmp_path / "model.tflite", tmp_path / "encoded.tflite"
    path.write_bytes(content)
    with pytest.raises(SystemExit) as ended:
        run(["encode", str(path), "--out", str(out)])
    assert ended.value.code == 0
    assert f"flash: {out.stat().st_size:,} bytes" in capsys.readouterr().out


def test_a_file_without_gain_is_said_to_have_none(tmp_path):
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    small = convert_model(model, "int8", representative_data=np.eye(4, dtype=np.float32)).flatbuffer
    report = encode_weights(small, tmp_path / "same.tflite")
    assert "no kernel becomes smaller" in report.to_text()
    assert (tmp_path / "same.tflite").read_bytes() == small
