"""The Kotlin of bundles, compiled against the signatures of its libraries, and its numbers."""

import json
import os
import pathlib
import shutil
import subprocess

import numpy as np
import pytest
import toy_files

from exporters.android import VERSIONS, android_app, require_package
from exporters.bundle import write_bundle

STUBS = pathlib.Path(__file__).parent / "android_stubs"
KOTLIN = "2.4.20"
RUNS = 3


def details(name, shape, dtype, scale=None, zero_point=0):
    facts = {"name": name, "shape": list(shape), "dtype": dtype}
    facts |= {"scale": scale, "zero_point": zero_point}
    return facts | {"step": 1.0, "tolerance": 2.0, "share": 0.99}


PHOTO = details("image", (1, 2, 2, 3), "int8", 1 / 255, -128)
SCORES = details("scores", (1, 5), "int8", 1 / 256, -128)
LABELS = ["ant", "bee", "cat", "dog", "eel"]
# One model of each kind: (inputs, outputs, what else the app is told).
MODELS = {
    "photos": ([PHOTO], [SCORES], {"labels": LABELS}),
    "normalized": (
        [details("image", (1, 2, 2, 3), "float32")],
        [details("scores", (1, 5), "float32")],
        {"normalization": ((127.5,), (127.5,))},
    ),
    "grey": (
        [details("image", (1, 2, 2, 1), "uint8", 1.0, 0)],
        [details("scores", (1, 5), "uint8", 1 / 256, 0)],
        {"labels": LABELS, "normalization": ((10.0,), (2.0,))},
    ),
    "sixteen_bits": (
        [details("sound", (1, 16, 8), "int16", 2.0**-15)],
        [details("words", (1, 16, 4), "int16", 2.0**-15)],
        {},
    ),
    "two_inputs": (
        [PHOTO, details("weight", (1, 1), "float32")],
        [details("price", (1, 1), "float32")],
        {},
    ),
    "two_outputs": ([PHOTO], [SCORES, details("box", (1, 4), "int8", 0.1, 3)], {"labels": LABELS}),
    "tokens": ([details("tokens", (1, 12), "int32")], [SCORES], {"labels": LABELS}),
    "long_tokens": ([details("tokens", (1, 12), "int64")], [details("next", (1, 12), "int64")], {}),
    "masked": (
        [details("x", (1, 4), "float32"), details("mask", (1, 4), "bool")],
        [details("found", (1, 4), "bool")],
        {},
    ),
    "odd_names": (
        [details('a "$b" \\ c', (1, 3), "int8", 0.5, 1)],
        [details("StatefulPartitionedCall:0", (1, 3), "float32")],
        {},
    ),
}
# Prints what the code of the apps makes of numbers.
MAIN = """
import android.graphics.Bitmap

fun main() {
    val photo = Bitmap(intArrayOf(0xff0a141e.toInt(), 0xff28323c.toInt(), 0xff000000.toInt(), -1))
    println(com.example.photos.pixels(photo).toList())
    println(com.example.normalized.pixels(photo).toList())
    println(com.example.grey.pixels(photo).toList())
    with(com.example.photos.Tensors.inputs[0]) {
        val bytes = write(floatArrayOf(0f, .51f, 1f, 2f, -1f, .11f, .2f, .3f, .4f, .6f, .71f, .8f))
        println(List(bytes.capacity()) { bytes.get(it).toInt() })
        println(read(bytes).toList())
    }
}
"""


def golden(inputs, outputs):
    generator = np.random.default_rng(0)
    return {
        f"{side}_{place}": generator.integers(0, 2, (RUNS, *facts["shape"])).astype(facts["dtype"])
        for side, tensors in (("input", inputs), ("output", outputs))
        for place, facts in enumerate(tensors)
    }


def app(name):
    inputs, outputs, told = MODELS[name]
    found = golden(inputs, outputs)
    return android_app(
        b"the model", inputs, outputs, found, package=f"com.example.{name}", threads=4, **told
    )


@pytest.fixture(scope="module")
def kotlin(tmp_path_factory):
    """The folder of the Kotlin compiler: that on the path, or one from npm."""
    if shutil.which("java") is None:
        pytest.skip("needs Java to run the Kotlin compiler: apt install openjdk-17-jre-headless")
    if found := shutil.which("kotlinc"):
        return pathlib.Path(found).resolve().parents[1]
    if shutil.which("npm") is None:
        pytest.skip("needs kotlinc, or npm to install it: apt install npm")
    folder = tmp_path_factory.mktemp("kotlin")
    command = ["npm", "install", "--silent", f"kotlin-compiler@{KOTLIN}"]
    installed = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if installed.returncode:
        pytest.skip(f"needs kotlinc, and npm could not install it: {installed.stderr[-200:]}")
    return folder / "node_modules" / "kotlin-compiler"


@pytest.mark.process
def test_the_kotlin_of_ten_models_compiles_and_its_numbers_are_right(kotlin, tmp_path):
    assert len(MODELS) == 10
    for name in MODELS:
        for path, content in app(name).items():
            if path.endswith(".kt"):
                file = tmp_path / name / path
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(content)
    (tmp_path / "Main.kt").write_text(MAIN)
    sources = [*map(str, STUBS.glob("*.kt")), *map(str, tmp_path.rglob("*.kt"))]
    out = tmp_path / "out"
    command = ["bash", str(kotlin / "bin" / "kotlinc"), "-nowarn", "-d", str(out), *sources]
    # The compiler runs for too short a time to be optimized itself.
    env = {**os.environ, "JAVA_OPTS": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"}
    compiled = subprocess.run(command, capture_output=True, text=True, check=False, env=env)
    assert compiled.returncode == 0, compiled.stderr

    library = kotlin / "lib" / "kotlin-stdlib.jar"
    command = ["java", "-cp", f"{out}:{library}", "MainKt"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    colours, normalized, grey, integers, reals = map(json.loads, said)
    raw = np.array([10, 20, 30, 40, 50, 60, 0, 0, 0, 255, 255, 255], "float32")
    np.testing.assert_array_equal(colours, raw)
    np.testing.assert_allclose(normalized, (raw - 127.5) / 127.5, atol=1e-6)
    luma = raw.reshape(4, 3) @ np.array([0.299, 0.587, 0.114])
    np.testing.assert_allclose(grey, (luma - 10) / 2, atol=1e-4)
    values = np.array([0, 0.51, 1, 2, -1, 0.11, 0.2, 0.3, 0.4, 0.6, 0.71, 0.8])
    wanted = np.clip(np.floor(values * 255 + 0.5) - 128, -128, 127)
    np.testing.assert_array_equal(integers, wanted)
    np.testing.assert_allclose(reals, (wanted + 128) / 255, rtol=1e-6)


def test_the_project_states_one_set_of_versions():
    gradle = app("photos")["app/build.gradle.kts"].decode()
    assert f'"com.google.ai.edge.litert:litert:{VERSIONS.litert}"' in gradle
    assert f"minSdk = {VERSIONS.minimum_sdk}" in gradle
    assert 'namespace = "com.example.photos"' in gradle


def test_the_types_that_kotlins_buffers_lack_are_left_to_the_interpreter():
    has = {
        name: any(path.endswith("CompiledInference.kt") for path in app(name)) for name in MODELS
    }
    assert [name for name, compiled in has.items() if not compiled] == ["grey", "sixteen_bits"]


def test_golden_bytes_lie_one_run_after_the_other():
    inputs, outputs, _ = MODELS["sixteen_bits"]
    files = app("sixteen_bits")
    wanted = golden(inputs, outputs)
    for name, array in wanted.items():
        stored = np.frombuffer(files[f"app/src/androidTest/assets/{name}.bin"], "<i2")
        np.testing.assert_array_equal(stored, array.ravel())
    test = next(data for path, data in files.items() if path.endswith("GoldenTest.kt")).decode()
    assert f"until {RUNS}" in test
    assert f"floatArrayOf({2 * 2.0**-15:.9g}f)" in test


@pytest.mark.parametrize("package", ["model", "Com.example", "com..model", "com.ex ample", ""])
def test_a_package_that_kotlin_would_not_take_is_refused(package):
    with pytest.raises(ValueError, match=r"lower-case words.*Received"):
        require_package(package)


@pytest.mark.parametrize("target", ["android", "raspberry-pi-4"])
def test_a_bundle_for_android_holds_the_app(target, tmp_path):
    path = tmp_path / "int8.tflite"
    path.write_bytes(toy_files.content("int8"))
    bundle = write_bundle(
        path,
        tmp_path / "bundle",
        examples=toy_files.images(),
        labels=LABELS,
        count=RUNS,
        target=target,
        package="org.acme.pets",
    )
    project = bundle / "android"
    assert project.exists() == (target == "android")
    assert "package org.acme.pets\n" in (bundle / "Inference.kt").read_text()
    if target == "android":
        model = project / "app/src/main/assets/model.tflite"
        assert model.read_bytes() == path.read_bytes()
        stored = (project / "app/src/androidTest/assets/output_0.bin").read_bytes()
        assert stored == np.load(bundle / "golden.npz")["output_0"].tobytes()
        listed = json.loads((bundle / "manifest.json").read_text())["files"]
        assert "android/app/src/main/assets/model.tflite" in listed
