"""What a command says of the model that it is given, before TensorFlow loads."""

import contextlib
import subprocess
import sys
import zipfile

import keras
import numpy as np
import pytest
from calling import call
from keras import layers as kl
from started_script import run_script

LAYERS = """
import keras

class Square(keras.layers.Layer):
    def call(self, x):
        print("in the layer")
        return x * x

@keras.saving.register_keras_serializable("own")
class Cube(keras.layers.Layer):
    def call(self, x):
        return x * x * x

def samples():
    import numpy as np
    print("Found 8 files")
    return np.random.default_rng(0).random((16, 5), "float32")
"""

SAVES = """
import keras, own_layers as own
for name, layer in (("square", own.Square()), ("cube", own.Cube())):
    keras.Sequential([keras.Input((5,)), layer, keras.layers.Dense(3)]).save(f"{name}.keras")
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    model = keras.Sequential([keras.Input((5,)), kl.Dense(3)])
    model.save(folder / "m.keras")
    model.save_weights(folder / "m.weights.h5")
    model.export(folder / "saved_model", verbose=False)
    inner = keras.Sequential([keras.Input((5,)), kl.Lambda(lambda t: t * 2, name="double")])
    keras.Sequential([keras.Input((5,)), inner, kl.Dense(3)]).save(folder / "lambda.keras")
    (folder / "junk.keras").write_bytes(b"hello")
    with zipfile.ZipFile(folder / "other.keras", "w") as archive:
        archive.writestr("a.txt", "x")
    (folder / "m.tflite").write_bytes(b"x")
    np.savez(folder / "d.npz", x=np.zeros((9, 5), "f4"))
    np.savez(folder / "mnist.npz", x_train=np.zeros((9, 5), "f4"), y_train=np.zeros(9))
    np.savez(folder / "short.npz", x=np.zeros((9, 5), "f4"), y=np.zeros(7))
    (folder / "own_layers.py").write_text(LAYERS)
    (folder / "save.py").write_text(SAVES)
    with contextlib.chdir(folder):
        ended = run_script(folder / "save.py")
    assert ended.returncode == 0, ended.stderr
    return folder


@pytest.fixture
def here(folder, monkeypatch):
    """The folder as the current one, with its modules not imported yet."""
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.delitem(sys.modules, "own_layers", raising=False)
    return folder


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("saved_model --data d.npz", "A SavedModel folder holds a graph"),
        (". --data d.npz", "A folder is not a model"),
        ("m.tflite --data d.npz", "is the result of an export"),
        ("junk.keras --data d.npz", "neither a .keras archive nor an HDF5 file"),
        ("m.weights.h5 --data d.npz", "holds weights without the model"),
        ("other.keras --data d.npz", "lacks config.json"),
        ("lambda.keras --data d.npz", "Lambda layer 'double' holds Python code"),
        ("m.keras", "int8 observes ranges on examples: --data photos/"),
        ("m.keras --data mnist.npz", "Received: mnist.npz with x_train, y_train"),
        ("m.keras --data short.npz", "9 examples `x` and 7 labels `y`"),
        (
            "m.keras --data junk.keras",
            "--data takes an .npz file (numpy.savez('data.npz', x=x, y=y))",
        ),
        ("m.keras --data photo", "--data: there is no such file or folder"),
        ("m.keras --data d.npz --validation-data v.npz", "--validation-data: there is no such"),
        ("m.keras --data d.npz --target toaster", "raspberry-pi-4"),
        ("m.keras --data d.npz --labels none.txt", "none.txt"),
        ("m.keras --data d.npz --examples 0", "--examples must be at least 1"),
        ("m.keras --data no_module:f", "--data: No module named 'no_module'"),
        ("m.keras --data d.npz --import no_module", "--import: No module named 'no_module'"),
        ("square.keras --data d.npz", "function of your own, Square, that Keras does not know"),
    ],
)
def test_each_gets_the_sentence_that_helps(line, message, here, capsys):
    assert call(f"export {line} --out o.tflite") == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert message in captured.err
    assert not (here / "o.tflite").exists()


@pytest.mark.parametrize("line", ["compress {m} --data {d} --validation-data {d}", "report"])
def test_other_commands_say_the_same(line, here, capsys):
    line = line.format(m="saved_model", d="d.npz")
    line = line.replace("report", "report m.tflite --model saved_model")
    assert call(f"{line} --out results") == 2
    assert "A SavedModel folder holds a graph" in capsys.readouterr().err
    assert not (here / "results").exists()


def test_compress_leaves_the_model_that_it_reads(here, capsys):
    (here / "best.keras").write_bytes((here / "m.keras").read_bytes())
    line = "compress best.keras --data d.npz --validation-data d.npz --out ."
    assert call(line) == 2
    assert "would overwrite the file that is read" in capsys.readouterr().err


@pytest.mark.process
def test_arguments_are_judged_before_tensorflow_loads(folder):
    code = (
        "import sys, tfcompress.cli.main as m\n"
        "for line in sys.argv[1:]:\n"
        "    try: m.run(line.split())\n"
        "    except SystemExit as ended: assert ended.code == 2, line\n"
        "sys.exit('tensorflow' in sys.modules or 'keras' in sys.modules)"
    )
    lines = [
        "export junk.keras --data d.npz --out o.tflite",
        "export lambda.keras --data d.npz --out o.tflite",
        "export m.keras --data mnist.npz --out o.tflite",
        "export m.keras --data d.npz --out o.tflite --quantization int3",
        "export m.keras --data d.npz --out nowhere/o.tflite",
        "export m.keras --data d.npz --out o.tflite --target toaster",
        "validate m.tflite --against saved_model --data d.npz",
        "compress m.keras --data d.npz --validation-data d.npz --out s --max-accuracy-drop 2",
        "compress m.keras --data d.npz --validation-data mnist.npz --out s",
        "compress m.keras --data d.npz --validation-data d.npz --out s --techniques magic",
        "compress m.keras --data d.npz --validation-data d.npz --out s --time-budget 0",
    ]
    done = subprocess.run(
        [sys.executable, "-c", code, *lines],
        cwd=folder, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize(
    "line",
    ["square.keras --import own_layers --data d.npz", "cube.keras --data own_layers:samples"],
)
def test_own_layers(line, here, capsys):
    assert call(f"export {line} --out own.tflite") == 0
    assert "int8, post-training" in capsys.readouterr().out


@pytest.mark.process
def test_json_is_alone_whatever_the_users_code_prints(folder):
    (folder / "chatty.py").write_text(
        "import ctypes, os\nfrom own_layers import *\nprint('imported')\n"
        "def data():\n    os.system('echo child')\n    ctypes.CDLL(None).puts(b'native')\n"
        "    return samples()\n"
    )
    line = "export square.keras --import own_layers --data chatty:data --out c.tflite --json"
    (folder / "command.py").write_text(f"import tfcompress.cli.main as m; m.run({line.split()})")
    with contextlib.chdir(folder):
        done = run_script(folder / "command.py")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith('{\n  "quantization"')
    assert done.stdout.endswith("}\n")
    for word in ("imported", "child", "native", "Found 8 files", "in the layer"):
        assert word in done.stderr


@pytest.mark.parametrize(
    "line",
    [
        "report m.tflite --data photos --out photos/report",
        "compress m.keras --data photos --validation-data d.npz --out photos",
        "bundle m.tflite --data photos --out photos/bundle",
    ],
)
def test_results_are_not_written_among_the_data(line, here, capsys):
    (here / "photos").mkdir(exist_ok=True)
    assert call(line) == 2
    assert "--out lies in photos, a folder of data" in capsys.readouterr().err
    assert not list((here / "photos").iterdir())
