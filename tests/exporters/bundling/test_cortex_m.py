"""Files without an interpreter, on an emulated Cortex-M4: ``make emulate-micro``.

BakeNN (https://github.com/scienthoon/bakeNN) compiles a file to C without a heap, GNU's compiler
for Arm builds it, and QEMU runs it. Every byte is that of the Keras model.
"""

import pathlib
import shutil
import string
import subprocess

import keras
import numpy as np
import pytest

import tfcompress as tfc
from exporters import export_tflite, load

pytestmark = [pytest.mark.emulation, pytest.mark.process]

FIRMWARE = pathlib.Path(__file__).parent / "cortex_m"
RUNS = 8
_FLAGS = ["-mcpu=cortex-m4", "-mthumb", "-O2", "-std=c11", "--specs=rdimon.specs", "-nostartfiles"]


@pytest.fixture(scope="module", autouse=True)
def tools():
    for program, package in (
        ("arm-none-eabi-gcc", "gcc-arm-none-eabi libnewlib-arm-none-eabi"),
        ("qemu-system-arm", "qemu-system-arm"),
    ):
        if shutil.which(program) is None:
            pytest.skip(f"needs {program}: apt install {package}")
    pytest.importorskip("bakenn", reason="needs pip install 'bakenn[tflite]'")


def segmenter():
    image = keras.Input((24, 24, 3))
    x = keras.layers.Conv2D(8, 3, 2, padding="same", use_bias=False)(image)
    x = keras.layers.ReLU(6.0)(keras.layers.BatchNormalization()(x))
    x = keras.layers.DepthwiseConv2D(3, padding="same", activation="relu")(x)
    x = keras.layers.Add()([x, keras.layers.Conv2D(8, 1)(x)])
    x = keras.layers.AveragePooling2D(2)(x)
    return keras.Model(image, keras.layers.Conv2D(4, 1)(x))


def perceptron():
    bias = {"bias_initializer": "normal"}
    return keras.Sequential(
        [
            keras.Input((20,)),
            keras.layers.Dense(16, "relu", **bias),
            keras.layers.Dense(5, **bias),
        ]
    )


def classifier():
    return keras.Sequential(
        [
            keras.Input((16, 16, 1)),
            keras.layers.Conv2D(8, 3, activation="relu"),
            keras.layers.MaxPooling2D(),
            keras.layers.ZeroPadding2D(1),
            keras.layers.Conv2D(12, 3, activation="relu"),
            keras.layers.AveragePooling2D(7),
            keras.layers.Conv2D(10, 1, bias_initializer="normal"),
        ]
    )


def run_firmware(folder, path, inputs):
    """Compile a file to C, build it for a Cortex-M4, and return what it computes there."""
    import bakenn

    bakenn.compile_tflite(path, folder / "c", name="model")
    text = string.Template((FIRMWARE / "main.c.txt").read_text()).substitute(
        runs=len(inputs),
        inputs=",\n".join("{" + ", ".join(map(str, row.ravel())) + "}" for row in inputs),
    )
    (folder / "c" / "main.c").write_text(text)
    sources = [*map(str, (folder / "c").glob("*.c")), str(FIRMWARE / "startup.c")]
    program = str(folder / "firmware.elf")
    link = ["-T", str(FIRMWARE / "board.ld"), "-lm", "-o", program]
    subprocess.run(["arm-none-eabi-gcc", *_FLAGS, *sources, *link], check=True)
    command = "qemu-system-arm -M mps2-an386 -semihosting -nographic -monitor none -serial none"
    command = [*command.split(), "-kernel", program]
    run = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return np.array([line.split() for line in (run.stdout or run.stderr).splitlines()], np.int8)


@pytest.mark.parametrize("make", [segmenter, perceptron, classifier])
def test_every_byte_on_a_cortex_m_is_the_keras_models(make, tmp_path):
    keras.utils.set_random_seed(1)
    model = tfc.quantize_aware(make(), tfc.Scheme(kernels="reference"))
    data = np.random.default_rng(0).normal(size=(64, *model.input_shape[1:])).astype("float32")
    model.compile("sgd", "mse")
    model.fit(data, np.zeros((64, *model.output_shape[1:])), verbose=0)
    path = tmp_path / "model.tflite"
    export_tflite(model, path, validation_data=data)

    with load(path, kernels="reference") as loaded:
        (details,), (output,) = loaded.inputs, loaded.outputs
    inputs = details.to_file(data[:RUNS])
    found = run_firmware(tmp_path, path, inputs)
    wanted = output.to_file(model.predict(data[:RUNS], verbose=0)).reshape(RUNS, -1)
    assert len(np.unique(wanted)) > 20
    np.testing.assert_array_equal(found, wanted)
