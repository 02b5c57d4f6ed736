import hashlib
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import types

import keras
import numpy as np
import pytest
import toy_files

from exporters import bundle_code, export_tflite
from exporters.bundle import _criteria, write_bundle
from exporters.bundle_files.run_on_device import compare
from exporters.running.runtime import RunError, load
from exporters.running.tensor_details import TensorDetails
from tfcompress.tflite.model import FlatbufferError

LABELS = ["ant", "bee", "cat", "dog", "eel"]


@pytest.fixture
def int8_path(tmp_path):
    path = tmp_path / "int8.tflite"
    path.write_bytes(toy_files.content("int8"))
    return path


@pytest.fixture
def bundle(int8_path, tmp_path):
    return write_bundle(
        int8_path, tmp_path / "bundle", examples=toy_files.images(), labels=LABELS, count=8
    )


def run_on_device(folder, python=sys.executable, runtime="ai_edge_litert"):
    script = str(folder / "run_on_device.py")
    command = [str(python), script, "--json", "--runs", "10", "--runtime", runtime]
    # As on a board: nothing of this project, or of this Python, is in reach.
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


def test_holds_everything_and_the_hash_of_everything(bundle):
    manifest = json.loads((bundle / "manifest.json").read_text())
    names = {path.name for path in bundle.iterdir()}
    assert names == {
        "Inference.kt",
        "README.md",
        "golden.npz",
        "inference.cc",
        "inference.py",
        "labels.txt",
        "manifest.json",
        "model.tflite",
        "model_data.c",
        "model_data.h",
        "run_on_device.py",
    }
    assert set(manifest["files"]) == names - {"manifest.json"}
    for name, entry in manifest["files"].items():
        content = (bundle / name).read_bytes()
        assert entry == {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}
    assert (bundle / "model.tflite").read_bytes() == toy_files.content("int8")
    assert (bundle / "labels.txt").read_text().split() == LABELS
    assert manifest["min_runtime"] == "1.14.0"


def test_golden_outputs_are_what_the_file_gives(bundle):
    golden = np.load(bundle / "golden.npz")
    assert golden["input_0"].shape == (8, 1, 12, 12, 3)
    with load(toy_files.content("int8")) as loaded:
        for fed, expected in zip(golden["input_0"], golden["output_0"], strict=True):
            np.testing.assert_array_equal(loaded.run([fed])[0], expected)


def test_the_same_file_makes_the_same_bundle(int8_path, tmp_path):
    one, two = (
        write_bundle(int8_path, tmp_path / name, examples=toy_files.images()[:4])
        for name in ("one", "two")
    )
    for path in one.iterdir():
        assert path.read_bytes() == (two / path.name).read_bytes(), path.name


def test_an_export_result_has_a_path(int8_path, tmp_path):
    result = types.SimpleNamespace(path=int8_path)
    assert (write_bundle(result, tmp_path / "b") / "model.tflite").exists()


def test_it_passes_here(bundle):
    answer = run_on_device(bundle)
    report = json.loads(answer.stdout)
    assert answer.returncode == 0
    assert report["pass"]
    assert report["outputs"][0]["equal"] == 1.0
    assert report["outputs"][0]["same_class"] == 1.0
    assert 0 < report["seconds"]["median"] <= report["seconds"]["p90"]


def test_it_says_so_in_words(bundle):
    command = [sys.executable, str(bundle / "run_on_device.py"), "--runtime", "ai_edge_litert"]
    answer = subprocess.run(command, capture_output=True, text=True, check=True)
    assert answer.stdout.startswith("PASS on ai_edge_litert")
    assert re.search(r"output_0: 100\.0 % equal", answer.stdout)
    assert re.search(r"latency: first .* ms, median .* ms", answer.stdout)


def test_other_outputs_fail(bundle):
    golden = dict(np.load(bundle / "golden.npz"))
    golden["output_0"] = (golden["output_0"].astype(int) ^ 64).astype(np.int8)
    np.savez(bundle / "golden.npz", **golden)
    manifest = json.loads((bundle / "manifest.json").read_text())
    digest = hashlib.sha256((bundle / "golden.npz").read_bytes()).hexdigest()
    manifest["files"]["golden.npz"]["sha256"] = digest
    (bundle / "manifest.json").write_text(json.dumps(manifest))
    answer = run_on_device(bundle)
    assert answer.returncode == 1
    assert json.loads(answer.stdout)["pass"] is False


def test_a_changed_model_fails(bundle):
    with (bundle / "model.tflite").open("ab") as file:
        file.write(b"\0")
    answer = run_on_device(bundle)
    assert answer.returncode == 1
    assert "FAIL: changed since the bundle was written: model.tflite" in answer.stdout


def test_the_snippets_hold_the_ports_of_the_manifest(bundle):
    manifest = json.loads((bundle / "manifest.json").read_text())
    scope = {}
    text = (bundle / "inference.py").read_text().split("interpreter = ")[0]
    exec(compile(text, "inference.py", "exec"), scope)
    keys = ("name", "shape", "dtype", "scale", "zero_point")
    for side in ("INPUTS", "OUTPUTS"):
        expected = [{key: details[key] for key in keys} for details in manifest[side.lower()]]
        assert scope[side] == expected
    (image,), (scores,) = manifest["inputs"], manifest["outputs"]
    kotlin = (bundle / "Inference.kt").read_text()
    call = r'TensorDetails\("(.*?)", "(.*?)", intArrayOf\((.*?)\), (.*?)f, (-?\d+)\)'
    found = re.findall(call, kotlin)
    assert len(found) == 2
    for details, (name, dtype, shape, scale, zero) in zip((image, scores), found, strict=True):
        assert (name, dtype) == (details["name"], details["dtype"])
        assert [int(side) for side in shape.split(",")] == details["shape"]
        assert (float(scale), int(zero)) == (details["scale"], details["zero_point"])


def test_the_python_snippet_predicts_what_the_model_predicts(bundle):
    code = (
        "import numpy as np, inference, json; x = np.load('golden.npz')['input_0'][0];"
        "p = inference.INPUTS[0]; real = p['scale'] * (x.astype('f4') - p['zero_point']);"
        "print(json.dumps(inference.predict(real)[0].tolist()))"
    )
    command = [sys.executable, "-c", code]
    answer = subprocess.run(command, capture_output=True, text=True, check=True, cwd=bundle)
    golden = np.load(bundle / "golden.npz")["output_0"][0]
    (details,) = json.loads((bundle / "manifest.json").read_text())["outputs"]
    expected = details["scale"] * (golden.astype(np.float32) - details["zero_point"])
    np.testing.assert_allclose(json.loads(answer.stdout), expected, rtol=1e-6)


def test_kotlin_strings_are_escaped():
    details = {"name": 'a"$b\\', "shape": [1], "dtype": "int8", "scale": 0.5, "zero_point": 0}
    kotlin = bundle_code.kotlin_snippet([details], [details], threads=2, package="a.b")
    assert r'TensorDetails("a\"\$b\\", "int8"' in kotlin


@pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler, `cc`")
def test_the_c_array_is_the_model(bundle, tmp_path):
    main = tmp_path / "main.c"
    main.write_text(
        '#include <stdio.h>\n#include "model_data.h"\n'
        "int main(void) { fwrite(model_data, 1, model_data_size, stdout); "
        "return model_data_size != MODEL_DATA_SIZE || ((unsigned long)model_data) % 16; }\n"
    )
    program = tmp_path / "program"
    sources = [str(main), str(bundle / "model_data.c")]
    subprocess.run(["cc", "-I", str(bundle), "-o", str(program), *sources], check=True)
    answer = subprocess.run([str(program)], capture_output=True, check=True)
    assert answer.stdout == toy_files.content("int8")


def test_the_readme_is_for_the_person_with_the_board(int8_path, tmp_path):
    folder = write_bundle(int8_path, tmp_path / "b", target="raspberry-pi-zero")
    text = (folder / "README.md").read_text()
    assert "tflite-runtime==2.14.0" in text
    assert "| input | image | 1x12x12x3 | int8 |" in text
    assert "TensorFlow 1.14.0" in text
    assert "$" not in text


@pytest.mark.parametrize(
    ("target", "command"),
    [("android", "gradle :app:connectedAndroidTest"), ("stm32h743", "arena_used_bytes()")],
)
def test_the_readme_has_no_python_for_devices_without_it(int8_path, tmp_path, target, command):
    folder = write_bundle(int8_path, tmp_path / "b", target=target)
    text = (folder / "README.md").read_text()
    assert command in text
    assert "Check it on the board" not in text
    assert "$" not in text


def test_the_c_array_holds_encoded_kernels(tmp_path):
    kernel = np.zeros((32, 64), np.float32)
    kernel[::8] = np.random.default_rng(0).normal(size=(4, 64))
    model = keras.Sequential([keras.Input((32,)), keras.layers.Dense(64)])
    model.set_weights([kernel, np.zeros(64)])
    path = tmp_path / "model.tflite"
    images = np.random.default_rng(1).normal(size=(64, 32)).astype(np.float32)
    export_tflite(model, path, "int8", representative_data=images, repair=False)
    plain = write_bundle(path, tmp_path / "plain", examples=images, target="microcontroller")
    small = write_bundle(
        path, tmp_path / "small", examples=images, target="microcontroller", encode_weights=True
    )
    sizes = [
        int(re.search(r"MODEL_DATA_SIZE (\d+)", (folder / "model_data.h").read_text())[1])
        for folder in (plain, small)
    ]
    assert sizes[0] == path.stat().st_size
    assert sizes[1] < sizes[0] - 1000  # 2,048 bytes of weights, of which one in eight is not zero
    assert f"takes {sizes[1]:,} bytes of flash" in (small / "README.md").read_text()
    code = (small / "inference.cc").read_text()
    assert "resolver.AddDecode();" in code
    assert "MicroMutableOpResolver<2>" in code
    with pytest.raises(ValueError, match=r"compiler of .* encodes the kernels itself"):
        write_bundle(path, tmp_path / "npu", target="ethos-u55-128", encode_weights=True)


def test_bad_input_leaves_nothing_behind(int8_path, tmp_path):
    occupied = tmp_path / "occupied"
    occupied.mkdir()
    (occupied / "note").write_text("mine")
    with pytest.raises(FileExistsError, match="occupied"):
        write_bundle(int8_path, occupied)
    assert [path.name for path in occupied.iterdir()] == ["note"]
    fresh = tmp_path / "parent" / "fresh"
    with pytest.raises(ValueError, match="Unknown target"):
        write_bundle(int8_path, fresh, target="toaster")
    with pytest.raises(ValueError, match="2 labels"):
        write_bundle(int8_path, fresh, labels=["a", "b"])
    with pytest.raises(ValueError, match="takes examples of shape"):
        write_bundle(int8_path, fresh, examples=np.zeros((1, 3), np.float32))
    damaged = tmp_path / "damaged.tflite"
    damaged.write_bytes(toy_files.content("int8")[:999])
    with pytest.raises(FlatbufferError):
        write_bundle(damaged, fresh)
    assert not fresh.parent.exists()


def test_a_failing_disk_leaves_nothing_behind(int8_path, tmp_path, monkeypatch):
    original = pathlib.Path.write_bytes

    def full(path, content):
        if path.name == "manifest.json":
            raise OSError(28, "No space left on device")
        return original(path, content)

    monkeypatch.setattr(pathlib.Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        write_bundle(int8_path, tmp_path / "out" / "bundle")
    assert not (tmp_path / "out").exists()


def test_a_file_that_does_not_run_is_no_bundle(shared, tmp_path):
    with pytest.raises(RunError, match="Sinh"):
        write_bundle(shared / "models" / "litert_testdata" / "custom_sinh.bin", tmp_path / "bundle")


@pytest.mark.process
@pytest.mark.parametrize("kind", ["int8", "float32"])
def test_it_passes_on_the_last_tflite_runtime(old_runtime, tmp_path, kind):
    path = tmp_path / f"{kind}.tflite"
    path.write_bytes(toy_files.content(kind))
    folder = write_bundle(path, tmp_path / "bundle", examples=toy_files.images())
    old, new = run_on_device(folder, old_runtime, "tflite_runtime"), run_on_device(folder)
    assert old.returncode == 0, old.stdout + old.stderr
    reports = [json.loads(answer.stdout) for answer in (old, new)]
    assert [report["runtime"] for report in reports] == ["tflite_runtime", "ai_edge_litert"]
    assert [report["pass"] for report in reports] == [True, True]


def test_labels_as_a_path(int8_path, tmp_path):
    (tmp_path / "names.txt").write_text("".join(f"{label}\n" for label in LABELS))
    folder = write_bundle(int8_path, tmp_path / "bundle", labels=str(tmp_path / "names.txt"))
    assert (folder / "labels.txt").read_text().split() == LABELS


@pytest.mark.process
def test_a_published_model_passes_on_the_last_tflite_runtime(old_runtime, shared, tmp_path):
    samples = np.load(shared / "data" / "kws01_test1000_mfcc_int8.npz")["x"][:32]
    path = shared / "models" / "mlperf_tiny" / "kws01_dscnn_int8_reference.tflite"
    folder = write_bundle(path, tmp_path / "bundle", examples=samples, count=32)
    answer = run_on_device(folder, old_runtime, "tflite_runtime")
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert json.loads(answer.stdout)["outputs"][0]["same_class"] > 0.9


@pytest.mark.process
def test_files_run_under_the_old_runtime_from_here(old_runtime, int8_path):
    """``validate`` reaches a runtime of another Python through its child process."""
    from exporters.running.runtime import find_runtimes
    from exporters.validation import validate

    (found,) = find_runtimes(old_runtime)
    assert str(found) == "tflite-runtime 2.14.0"
    agreement = validate(int8_path, toy_files.model(), toy_files.images(), runtimes=[found])
    assert all(run.error is None for run in agreement.runs)
    assert agreement.within_one >= 0.8


DETAILS = TensorDetails("y", 0, (1, 3), np.dtype("int8"), scale=0.1, zero_point=0)


def test_kernels_that_agree_ask_for_their_steps_and_classes():
    golden = np.array([[[100, 0, 0]], [[0, 100, 0]]], np.int8)
    facts = _criteria(DETAILS, [golden, golden + 1])
    assert (facts["tolerance"], facts["share"]) == (2.0, 0.99)
    assert facts["same_class"] == 0.5  # one of two examples may differ


def test_kernels_far_apart_do_not_let_everything_pass():
    golden = np.eye(3, dtype=np.int8)[np.arange(30) % 3][:, None] * 120
    other = golden.copy()
    other[0, 0] = 60  # a tenth of 30 examples' values, half of the range away
    other[1:3, 0] = 70
    facts = {"name": "y", **_criteria(DETAILS, [golden, other])}
    assert facts["tolerance"] == pytest.approx(12.0)  # a tenth of what the outputs span
    assert facts["share"] == pytest.approx(0.9 - 0.05)
    assert compare(facts, other, golden)["pass"]
    assert not compare(facts, np.roll(golden, 1, -1), golden)["pass"]


def coloured(tmp_path, channels):
    """A classifier by some channels, its file, and images of plain colours."""
    kernel = np.zeros((3, 3), "float32")
    kernel[channels, channels] = 1.0
    dense = keras.layers.Dense(3, use_bias=False)
    model = keras.Sequential([keras.Input((4, 4, 3)), keras.layers.GlobalAveragePooling2D(), dense])
    dense.set_weights([kernel])
    images = np.random.default_rng(0).random((16, 1, 1, 3), "float32") * np.ones((1, 4, 4, 1), "f4")
    made = export_tflite(model, tmp_path / "m.tflite", "int8", representative_data=images)
    return made, images


@pytest.mark.parametrize(("channels", "noticed"), [([0, 1, 2], True), ([1], False)])
def test_whether_swapped_colours_are_noticed_is_tried(channels, noticed, tmp_path):
    made, images = coloured(tmp_path, channels)
    folder = write_bundle(made, tmp_path / "bundle", examples=images)
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["notices_swapped_colours"] is noticed
    said = (folder / "README.md").read_text()
    assert ("swaps red and blue would pass as well" in said) != noticed
    assert "random noise" not in said


def test_a_bundle_of_noise_says_so(int8_path, tmp_path):
    folder = write_bundle(int8_path, tmp_path / "bundle")
    assert json.loads((folder / "manifest.json").read_text())["inputs_are_noise"] is True
    assert "The golden inputs are random noise" in (folder / "README.md").read_text()


def test_the_readme_says_whose_the_golden_outputs_are(int8_path, tmp_path, monkeypatch):
    monkeypatch.setattr("exporters.bundle.has_micro", lambda: False)
    folder = write_bundle(int8_path, tmp_path / "b", examples=toy_files.images(), target="esp32-s3")
    text = " ".join((folder / "README.md").read_text().split())
    assert "those of LiteRT's reference kernels on a computer" in text
    assert "was not installed there (tflite-micro)" in text
    golden = np.load(folder / "golden.npz")
    with load(int8_path, kernels="reference") as loaded:
        (expected,) = loaded.run([golden["input_0"][0]])
    np.testing.assert_array_equal(golden["output_0"][0], expected)
