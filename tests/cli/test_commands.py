import json
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest
from calling import call

from tfcompress.cli.command import CommandError
from tfcompress.cli.data_argument import load_data


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a trained-looking model, examples for it, and what export makes of them."""
    folder = tmp_path_factory.mktemp("cli")
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8, 8, 3), name="image")
    x = keras.layers.Conv2D(4, 3, activation="relu")(inputs)
    x = keras.layers.Dense(3)(keras.layers.GlobalAveragePooling2D()(x))
    keras.Model(inputs, x).save(folder / "model.keras")
    generator = np.random.default_rng(0)
    np.savez(
        folder / "data.npz",
        x=generator.random((40, 8, 8, 3), dtype="float32"),
        y=generator.integers(0, 3, 40),
    )
    call(
        f"export {folder}/model.keras --out {folder}/int8.tflite --data {folder}/data.npz",
    )
    return folder


def test_export_reports_and_writes(folder, capsys):
    out = folder / "float.tflite"
    code = call(f"export {folder}/model.keras --out {out} --quantization float32 --json")
    assert code == 0
    report = json.loads(capsys.readouterr().out)
    assert report["size"] == out.stat().st_size
    assert report["float_operations"]


def test_export_with_labels_and_a_verdict(folder, capsys):
    (folder / "names.txt").write_text("ant\nbee\ncow\n")
    line = f"export {folder}/model.keras --out {folder}/named.tflite --data {folder}/data.npz"
    assert call(f"{line} --labels {folder}/names.txt --target coral-edgetpu --json") == 0
    assert json.loads(capsys.readouterr().out)["verdict"]["target"] == "coral-edgetpu"
    assert call(f"inspect {folder}/named.tflite") == 0
    assert "bee" in capsys.readouterr().out


def test_export_without_the_data_that_it_needs(folder, capsys):
    assert call(f"export {folder}/model.keras --out {folder}/no.tflite") == 2
    said = capsys.readouterr().err
    assert "--data photos/" in said
    assert "--quantization dynamic, float16 or float32" in said
    assert not (folder / "no.tflite").exists()


def test_inspect(folder, capsys):
    assert call(f"inspect {folder}/int8.tflite --json --picture {folder}/graph.svg") == 0
    inspection = json.loads(capsys.readouterr().out)
    assert [op["name"] for op in inspection["operations"]][:1] == ["CONV_2D"]
    assert (folder / "graph.svg").read_text(encoding="utf-8").startswith("<svg")
    assert call(f"inspect {folder}/int8.tflite") == 0
    assert "CONV_2D" in capsys.readouterr().out


def test_check_says_no_with_its_exit_code(folder, capsys):
    assert call(f"check {folder}/int8.tflite --target raspberry-pi-4") == 0
    assert "ok" in capsys.readouterr().out
    call(f"export {folder}/model.keras --out {folder}/float.tflite --quantization float32")
    capsys.readouterr()
    assert call(f"check {folder}/float.tflite --target coral-edgetpu --json") == 1
    assert json.loads(capsys.readouterr().out)["ok"] is False


def test_validate_and_benchmark(folder, capsys):
    line = f"validate {folder}/int8.tflite --against {folder}/model.keras --data {folder}/data.npz"
    assert call(f"{line} --json") == 0
    assert json.loads(capsys.readouterr().out)["runs"]
    assert call(f"benchmark {folder}/int8.tflite --runs 2 --json") == 0
    assert json.loads(capsys.readouterr().out)["measurements"][0]["median"] > 0


def test_bundle(folder, capsys):
    labels = folder / "labels.txt"
    labels.write_text("a\nb\nc\n")
    line = f"bundle {folder}/int8.tflite --out {folder}/bundle --data {folder}/data.npz"
    assert call(f"{line} --labels {labels}") == 0
    assert "run_on_device.py" in capsys.readouterr().out
    assert (folder / "bundle" / "run_on_device.py").is_file()


def test_data_from_a_function(folder, capsys, monkeypatch):
    (folder / "own_data.py").write_text(
        "import numpy as np\ndef samples():\n    return np.zeros((4, 8, 8, 3), 'float32')\n"
    )
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(str(folder))
    line = f"validate {folder}/int8.tflite --against {folder}/model.keras --data own_data:"
    assert call(f"{line}samples") == 0
    assert call(f"{line}nothing") == 2
    assert "has no attribute 'nothing'" in capsys.readouterr().err


def test_export_with_other_types_and_what_numbers_mean(folder, capsys):
    line = f"export {folder}/model.keras --out {folder}/camera.tflite --data {folder}/data.npz"
    numbers = "--input-dtype uint8 --output-dtype float32 --normalization 0.5,0.25,0.75 0.25"
    assert call(f"{line} {numbers} --validation-data {folder}/data.npz --json") == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["inputs"][0]["dtype"], report["outputs"][0]["dtype"]) == ("uint8", "float32")
    assert report["agreement"]["examples"] == 40
    assert report["agreement"]["reference_metric"] is not None
    assert call(f"inspect {folder}/camera.tflite") == 0
    assert "(raw - [0.5, 0.25, 0.75]) / [0.25]" in capsys.readouterr().out


def test_several_targets(folder, capsys):
    line = f"check {folder}/int8.tflite --target microcontroller raspberry-pi-4"
    assert call(line) == 0
    micro, note, *_ = said = capsys.readouterr().out.splitlines()
    assert micro == "microcontroller: ok"
    assert note.startswith("  note: Register the file's operations")
    (arena,) = [text for text in said if "arena: about" in text]
    assert arena.endswith(" of 262,144 bytes")
    assert "raspberry-pi-4: ok" in said
    assert call(f"{line} --json") == 0
    names = [verdict["target"] for verdict in json.loads(capsys.readouterr().out)]
    assert names == ["microcontroller", "raspberry-pi-4"]
    assert call(f"{line} --fix {folder}/fixed.tflite") == 2
    assert "one --target" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("inspect {f}/missing.tflite", "tfcompress: No such file or directory. Received: /"),
        ("inspect {f}/model.keras", "export the model first"),
        ("inspect {f}/int8.tflite --picture {f}/none/a.svg", "none does not exist: create it"),
        (
            "export {f}/model.keras --out {f}/a.tflite --normalization 0 a",
            "--normalization: takes a number, or one for each channel with commas. Received: a",
        ),
        ("inspect {f}/int8.tflite --picture {f}/int8.tflite", "would overwrite"),
        ("check {f}/int8.tflite --target raspberry-pi-4 --fix {f}/int8.tflite", "would overwrite"),
        ("export {f}/model.keras --out {f}/model.keras --data {f}/data.npz", "would overwrite"),
        ("inspect {f}/data.npz", "data.npz"),
        ("check {f}/int8.tflite --target toaster", "raspberry-pi-4"),
        ("check {f}/int8.tflite", "--target"),
        ("benchmark {f}/int8.tflite --runs 0", "runs=0"),
        (
            "validate {f}/int8.tflite --against {f}/missing.keras --data {f}/data.npz",
            "no such file",
        ),
        (
            "validate {f}/int8.tflite --against {f}/model.keras --data {f}/none.npz",
            "no such file",
        ),
        (
            "validate {f}/int8.tflite --against {f}/model.keras --data {f}/objects.npz",
            "--data cannot be read: it holds Python objects",
        ),
        ("validate {f}/int8.tflite --against {f}/model.keras --data {f}/named.npz", "named `x`"),
        (
            "validate {f}/int8.tflite --against {f}/model.keras --data picture.bmp",
            "module:function",
        ),
        ("export {f}/model.keras --out {f}/a.tflite --quantization int3", "int3"),
        ("export {f}/model.keras --out {f}/none/a.tflite --quantization float32", "none"),
    ],
)
def test_bad_input_is_one_line(line, message, folder, capsys):
    np.savez(folder / "objects.npz", x=np.array([{}], dtype=object))
    np.savez(folder / "named.npz", inputs=np.zeros(3))
    assert call(line.format(f=folder)) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert message in captured.err


@pytest.mark.process
def test_a_reader_that_has_had_enough(folder):
    command = pathlib.Path(sys.executable).with_name("tfcompress")
    done = subprocess.run(
        f"{command} inspect {folder}/int8.tflite --json | head -1; exit ${{PIPESTATUS[0]}}",
        shell=True,
        executable="/bin/bash",
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.stdout == "{\n"
    assert done.stderr == ""


@pytest.mark.process
def test_inspect_loads_no_tensorflow(folder):
    code = (
        "import sys, tfcompress.cli.main as m\n"
        f"try: m.run(['inspect', r'{folder}/int8.tflite'])\n"
        "except SystemExit: pass\n"
        "sys.exit('tensorflow' in sys.modules or 'keras' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("code", "said"), [("data = 3", "is no function"), ("def data(): pass", "returned None")]
)
def test_a_function_that_gives_no_data(code, said, tmp_path, monkeypatch):
    (tmp_path / "gives_none.py").write_text(code)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "gives_none", raising=False)
    with pytest.raises(CommandError, match=f"--data: .*gives_none:data, which {said}"):
        load_data("gives_none:data")
