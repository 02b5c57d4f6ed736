"""A small Android app that runs a model, as a Gradle project."""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from exporters.bundle_code import Details, kotlin_snippet, template

_PACKAGE = re.compile(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)+")
# What a TensorBuffer of LiteRT's Kotlin API reads and writes.
_COMPILED_TYPES = frozenset({"float32", "int32", "int64", "int8", "bool"})
_IMAGE_RANK = 4


@dataclasses.dataclass(frozen=True)
class AndroidVersions:
    """What the app is built with.

    Sources: https://ai.google.dev/edge/litert/android,
    https://developer.android.com/guide/practices/page-sizes.
    """

    litert: str = "2.3.0"  # release of com.google.ai.edge.litert, of 29 September 2026
    minimum_sdk: int = 23  # Android 6, the oldest that this release runs on
    compile_sdk: int = 36  # Android 16
    # The Android Gradle plug-in; from 8.5.1 on it aligns native libraries to the 16 KB pages
    # that Google Play asks for.
    gradle_plugin: str = "8.13.0"
    kotlin: str = "2.2.20"  # the Kotlin plug-in


VERSIONS = AndroidVersions()


def require_package(package: str) -> None:
    """Check the name of a Kotlin package."""
    if not _PACKAGE.fullmatch(package):
        raise ValueError(
            "An Android package has two or more lower-case words with dots between them, such as "
            f"'com.example.model'. Received: package={package!r}"
        )


def android_app(
    content: bytes,
    inputs: Sequence[Details],
    outputs: Sequence[Details],
    golden: Mapping[str, np.ndarray],
    *,
    package: str,
    threads: int,
    labels: Sequence[str] | None = None,
    normalization: tuple[Sequence[float], Sequence[float]] = ((0.0,), (1.0,)),
) -> dict[str, bytes]:
    """Return an app that runs a model, with a test on the phone: {path in the project: content}.

    ``outputs`` have "step", "tolerance" and "share" too. ``golden`` has "input_0" and so on, and
    "output_0" and so on, each of shape (runs, *shape of the tensor).
    """
    sources = f"app/src/main/java/{package.replace('.', '/')}"
    tests = f"app/src/androidTest/java/{package.replace('.', '/')}"
    image = _image(inputs)
    texts = {
        "settings.gradle.kts": _text("settings.gradle.kts", package=package),
        "build.gradle.kts": _text("build.gradle.kts", **dataclasses.asdict(VERSIONS)),
        "gradle.properties": "android.useAndroidX=true\n",
        "app/build.gradle.kts": _text(
            "app.build.gradle.kts", package=package, **dataclasses.asdict(VERSIONS)
        ),
        "app/src/main/AndroidManifest.xml": _text("AndroidManifest.xml", package=package),
        f"{sources}/Inference.kt": kotlin_snippet(inputs, outputs, threads, package),
        f"{sources}/MainActivity.kt": _text(
            "MainActivity.kt",
            package=package,
            source="pixels(photo) of a Bitmap" if image else "the values of your inputs",
            describe=_describe(labels, outputs),
        ),
        f"{tests}/GoldenTest.kt": _text(
            "GoldenTest.kt",
            package=package,
            runs=len(golden["output_0"]),
            # How far each output may be from the golden one, in real numbers.
            tolerances=", ".join(
                f"{each['tolerance'] * each['step'] * (each['scale'] or 1.0):.9g}f"
                for each in outputs
            ),
            shares=", ".join(f"{float(details['share'])!r}" for details in outputs),
        ),
    }
    if {details["dtype"] for details in (*inputs, *outputs)} <= _COMPILED_TYPES:
        texts[f"{sources}/CompiledInference.kt"] = _text("CompiledInference.kt", package=package)
    if image:
        texts[f"{sources}/Images.kt"] = _images(image, normalization, package)
    files = {path: text.encode() for path, text in texts.items()}
    files["app/src/main/assets/model.tflite"] = content
    if labels is not None:
        lines = "".join(f"{label}\n" for label in labels)
        files["app/src/main/assets/labels.txt"] = lines.encode()
    for name, array in golden.items():
        values = np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<"))
        files[f"app/src/androidTest/assets/{name}.bin"] = values.tobytes()
    return files


def _text(name: str, **values: Any) -> str:
    """Fill in one of the app's templates."""
    return template(f"android/{name}.txt").substitute(values)


def _image(inputs: Sequence[Details]) -> tuple[int, int, int] | None:
    """Return (height, width, channels) of the only input if it is an image, otherwise None."""
    if len(inputs) != 1 or len(inputs[0]["shape"]) != _IMAGE_RANK:
        return None
    batch, height, width, channels = inputs[0]["shape"]
    return (height, width, channels) if batch == 1 and channels in (1, 3) else None


def _images(image: tuple[int, int, int], normalization, package: str) -> str:
    """Write the function from a Bitmap to the input's values."""
    height, width, channels = image
    mean, deviation = (", ".join(f"{float(v)!r}f" for v in values) for values in normalization)
    grey = (
        "0.299f * (colour shr 16 and 0xff) + 0.587f * (colour shr 8 and 0xff) + "
        "0.114f * (colour and 0xff)"
    )
    shown = "(colour shr (16 - 8 * (it % 3)) and 0xff).toFloat()"
    return _text(
        "Images.kt",
        package=package,
        width=width,
        height=height,
        depth=channels,
        channels="red, green, blue" if channels > 1 else "grey",
        mean=mean,
        deviation=deviation,
        value=shown if channels > 1 else grey,
    )


def _describe(labels: Sequence[str] | None, outputs: Sequence[Details]) -> str:
    """Write how the activity puts the outputs into words."""
    places = [
        place
        for place, details in enumerate(outputs)
        if labels is not None and details["shape"] and details["shape"][-1] == len(labels)
    ]
    if not places:
        return '        return outputs.joinToString("\\n") { it.take(10).joinToString() }'
    return "\n".join(
        (
            '        val names = assets.open("labels.txt").bufferedReader().use { it.readLines() }',
            f"        val scores = outputs[{places[0]}].takeLast(names.size)",
            "        val best = scores.indices.maxBy { scores[it] }",
            '        return "${names[best]}: ${scores[best]}"',
        )
    )
