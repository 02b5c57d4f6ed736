"""Bundles: a folder with a model, golden data that prove it on a device, and code for it."""

import hashlib
import io
import json
import os
import pathlib
from typing import Any

import numpy as np

from exporters import bundle_code
from exporters.android import android_app, require_package
from exporters.bundle_files.run_on_device import compare
from exporters.compatibility import check_target
from exporters.inspection import Inspection, inspect
from exporters.metadata import Names, label_names
from exporters.running.runtime import (
    KERNELS,
    MICRO,
    Children,
    Limits,
    LoadedModel,
    RunError,
    find_runtime,
    has_micro,
    load_isolated,
)
from exporters.running.tensor_details import TensorDetails, random_inputs
from tfcompress.atomic_files import write_folder_atomically
from tfcompress.data import gather
from tfcompress.targets.arena import arena_estimate
from tfcompress.targets.target import load_target
from tfcompress.tflite.encoding import encode_kernels
from tfcompress.tflite.flatbuffer import read_model

_SHARE = 0.99
_MIN_STEPS = 2.0
_MAX_OF_RANGE = 0.1  # of the golden outputs' range: a larger tolerance proves nothing
_SLACK = 0.05  # the share of values or classes by which a device may agree less than here
_COLOURS, _RUNS_OF_IMAGES = 3, 5  # dimensions: runs, batch, height, width, channels
_FLOAT_STEP = 1e-4
_LARGEST_C_ARRAY = 4 << 20


def write_bundle(
    result: Any,
    directory: str | os.PathLike,
    *,
    examples: Any = None,
    labels: Names | None = None,
    target: str = "raspberry-pi-4",
    count: int = 16,
    package: str = "com.example.model",
    encode_weights: bool = False,
    limits: Limits | None = None,
) -> pathlib.Path:
    """Write a folder that proves on a device that the model works.

    It holds the model; golden inputs and outputs; ``run_on_device.py``, which needs only NumPy and
    a runtime and prints pass or fail, agreement and latency; a manifest with the hash of every
    file; labels; a C array with header; Python, Kotlin and C++ code for this model; and a README.
    For Android it holds a small app as well, a Gradle project in the folder ``android``, with an
    instrumented test that compares the golden outputs on the phone.
    The golden outputs are those of the default kernels here; for a microcontroller those of TFLite
    Micro's interpreter where ``tflite-micro`` is installed, otherwise of the reference kernels. A
    device passes if its values are as close to them as the kernel sets here are to each other, and
    its classes agree. For images, the bundle says whether swapping red and blue would make it fail.

    Args:
        result: what ``export_tflite`` returned, or the path of a .tflite file.
        directory: the folder to make; it must not exist, or be empty.
        examples: golden inputs, whatever ``fit`` takes; by default random ones.
        labels: the names of the classes, or the path of a text file with a name a line; by default
            those that the file holds.
        target: the device, one of ``tfcompress.targets.list_targets()``.
        count: how many golden inputs at most.
        package: the package of the Kotlin code.
        encode_weights: whether the C array for microcontrollers holds the kernels encoded, as
            ``exporters.encode_weights`` does; golden outputs are those of the file, and the same.
        limits: what the child process that runs the file may use.

    Returns:
        The folder.

    Raises:
        FileExistsError: the folder has content.
        FlatbufferError: the file is damaged.
        OSError: labels cannot be read, or the folder cannot be written; nothing is left behind.
        RunError: the file does not run here.
        ValueError: the target is unknown, examples or labels do not fit the model, or the package
            is no name of one.

    Example:
    ```python
    result = export_tflite(model, "model.tflite", "int8", representative_data=x_train)
    write_bundle(result, "bundle", examples=x_test, labels=["rock", "paper", "scissors"])
    ```
    """
    directory = pathlib.Path(directory)
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise FileExistsError(
            f"A bundle needs a new or empty folder. Received: directory={str(directory)!r}"
        )
    device = load_target(target)
    if encode_weights and device.compiler is not None:
        raise ValueError(
            f"The compiler of {device.title} encodes the kernels itself: leave `encode_weights` "
            "out. Received: encode_weights=True"
        )
    require_package(package)
    path = pathlib.Path(getattr(result, "path", result))
    content = path.read_bytes()
    inspection = inspect(path)
    labels = inspection.labels or None if labels is None else label_names(labels)
    sets = tuple(KERNELS)
    if device.runtime is None:  # the interpreter's own kernels, or those that are most like them
        sets = ((MICRO,) if has_micro() else ()) + ("reference", "builtin", "xnnpack")
    golden, details, noticed, made_by, arena = _golden(path, sets, examples, count, limits)
    sizes = [output["shape"][-1] for output in details["outputs"] if output["shape"]]
    if labels is not None and len(labels) not in sizes:
        raise ValueError(
            f"Labels name the entries of an output's last axis, of sizes {sizes}. "
            f"Received: {len(labels)} labels"
        )
    packed = io.BytesIO()
    np.savez(packed, **golden)
    files = {
        "model.tflite": content,
        "golden.npz": packed.getvalue(),
        "run_on_device.py": bundle_code.bundle_file("run_on_device.py").encode(),
        "inference.py": bundle_code.python_snippet(**details).encode(),
        "Inference.kt": bundle_code.kotlin_snippet(
            **details, threads=device.threads, package=package
        ).encode(),
    }
    if target.startswith("android"):
        stated = [(each.mean, each.std) for each in inspection.described_inputs if each.mean]
        app = android_app(
            content,
            **details,
            golden=golden,
            package=package,
            threads=device.threads,
            labels=labels,
            normalization=stated[0] if stated else ((0.0,), (1.0,)),
        )
        files |= {f"android/{name}": data for name, data in app.items()}
    if labels is not None:
        files["labels.txt"] = "".join(f"{label}\n" for label in labels).encode()
    compatibility = check_target(path, target)
    flashed = content
    if compatibility.compiled is not None:
        flashed = compatibility.compiled.content
        arena = None
    elif encode_weights:
        flashed, _ = encode_kernels(content)
        if arena is not None:
            arena = _require_same(flashed, golden, limits)
    if len(flashed) <= _LARGEST_C_ARRAY:
        graphs = read_model(flashed).subgraphs
        estimate = arena_estimate(graphs[0])
        files["model_data.h"] = bundle_code.c_header(len(flashed), estimate, arena).encode()
        files["model_data.c"] = bundle_code.c_array(flashed).encode()
        files["inference.cc"] = bundle_code.micro_snippet(
            (operation.label for graph in graphs for operation in graph.operations),
            inspection.keeps_state,
        ).encode()
    files["README.md"] = _readme(
        path.stem,
        files,
        inspection,
        details,
        compatibility,
        examples is None,
        noticed,
        len(flashed),
        made_by,
        arena,
    ).encode()
    manifest = {
        "model": "model.tflite",
        "edgetpu": "CUSTOM:edgetpu-custom-op" in inspection.operation_counts,
        **details,
        "target": compatibility.to_json(),
        "min_runtime": inspection.min_runtime,
        "inputs_are_noise": examples is None,
        "notices_swapped_colours": noticed,
        "files": {
            name: {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}
            for name, data in sorted(files.items())
        },
    }
    files["manifest.json"] = (json.dumps(manifest, indent=2) + "\n").encode()
    write_folder_atomically(directory, files)
    return directory


def _golden(path, kernel_sets, examples, count: int, limits):
    """Run golden inputs under every kernel set, whose first is the device's.

    Returns:
        Data, details, the test of colours, the kernel set that made the data, and the smallest
        arena if TFLite Micro ran the file.
    """
    runs: list[list[np.ndarray]] = []
    errors, ran, swapped, arena = [], [], None, None
    with Children(limits) as children:
        for kernels in kernel_sets:
            try:
                child = children.of(find_runtime(kernels=kernels))
                loaded = load_isolated(path, kernels=kernels, child=child)
                arena = loaded.arena if kernels == MICRO else arena
                inputs = _golden_inputs(loaded, examples, count)
                runs.append(_run_rows(loaded, inputs))
                ran.append(kernels)
            except RunError as error:
                errors.append(str(error))
                continue
            colours = inputs[0].ndim == _RUNS_OF_IMAGES and inputs[0].shape[-1] == _COLOURS
            if len(runs) == len(inputs) == 1 and colours:
                swapped = _run_rows(loaded, [inputs[0][..., ::-1]])
    if not runs:
        raise RunError("the file does not run here: " + "; ".join(errors))
    golden = {f"input_{place}": array for place, array in enumerate(inputs)}
    golden |= {f"output_{place}": array for place, array in enumerate(runs[0])}
    outputs = [
        {**details.to_json(), **_criteria(details, [run[place] for run in runs])}
        for place, details in enumerate(loaded.outputs)
    ]
    inputs = [details.to_json() for details in loaded.inputs]
    noticed = None  # whether a device with swapped colours would fail; if not, a pass proves little
    if swapped is not None:
        compared = map(compare, outputs, swapped, runs[0])
        noticed = not all(result["pass"] for result in compared)
    return golden, {"inputs": inputs, "outputs": outputs}, noticed, ran[0], arena


def _require_same(encoded: bytes, golden: dict[str, np.ndarray], limits) -> int:
    """Check that a file with encoded kernels gives the golden outputs; return its arena."""
    with load_isolated(encoded, kernels=MICRO, limits=limits) as loaded:
        found = _run_rows(loaded, [golden[f"input_{i}"] for i in range(len(loaded.inputs))])
        if any(
            not np.array_equal(each, golden[f"output_{place}"]) for place, each in enumerate(found)
        ):
            raise RunError(
                "TFLite Micro does not compute with the encoded kernels what it computes without: "
                "leave `encode_weights` out, and report the file"
            )
        return loaded.arena


def _golden_inputs(loaded: LoadedModel, examples: Any, count: int) -> list[np.ndarray]:
    """Split the examples into runs: arrays of shape (runs, *shape of the input)."""
    details = (*loaded.inputs, *loaded.outputs)
    invalid = [each.name for each in details if each.dtype.kind not in "biuf"]
    if not loaded.inputs or invalid:
        raise ValueError(
            "A bundle needs a model with inputs, and with numbers as inputs and outputs. "
            f"Received: {invalid or 'no inputs'}"
        )
    if examples is None:
        made = (random_inputs(loaded.inputs, seed) for seed in range(count))
        return [np.stack(column) for column in zip(*made, strict=True)]
    rows, _ = loaded.rows(gather(examples, count)[0])
    return rows


def _criteria(details: TensorDetails, outputs: list[np.ndarray]) -> dict[str, float]:
    """Return when an output passes on a device, from how much the kernel sets differ here.

    If they differ much, fewer values need to be within the tolerance, and the classes decide.
    """
    golden = outputs[0].astype(np.float64)
    if not np.isfinite(golden).all():
        raise ValueError(
            f"Output {details.name!r} is not finite on the golden inputs: pass other `examples`"
        )
    # Integers count in their own steps, floats in parts of their largest value.
    size = max(1e-2, float(np.abs(golden).max(initial=0)))
    unit = 1.0 if details.dtype.kind != "f" else _FLOAT_STEP * size
    apart = [np.abs(other - golden) / unit for other in outputs[1:]]
    spread = max((float(np.quantile(steps, _SHARE)) for steps in apart), default=0.0)
    most = _MAX_OF_RANGE * float(np.ptp(golden)) / unit
    tolerance = max(_MIN_STEPS, min(2 * spread, most))
    near = min((float((steps <= tolerance).mean()) for steps in apart), default=1.0)
    share = _SHARE if near >= _SHARE else max(near - _SLACK, 0.0)
    found = {"step": unit, "tolerance": tolerance, "share": share}
    if golden.shape[-1] > 1:
        chosen = golden.argmax(-1)
        alike = [float((other.argmax(-1) == chosen).mean()) for other in outputs[1:]]
        slack = max(_SLACK, 1 / max(chosen.size, 1))
        found["same_class"] = max(min(alike, default=1.0) - slack, 0.0)
    return found


def _run_rows(loaded: LoadedModel, inputs: list[np.ndarray]) -> list[np.ndarray]:
    """Run once for each entry of the leading axis; return outputs of shape (runs, ...)."""
    rows = [loaded.run(row) for row in zip(*inputs, strict=True)]
    return [np.stack(column) for column in zip(*rows, strict=True)]


def _readme(
    title,
    files,
    inspection: Inspection,
    details,
    compatibility,
    noise: bool,
    noticed: bool | None,
    flash: int,
    made_by: str,
    arena: int | None,
) -> str:
    """Fill in the README: the files, what the tensors are, and what the bundle does not prove."""
    kinds = {
        "model.tflite": "the model",
        "golden.npz": "golden inputs and outputs",
        "run_on_device.py": "runs the model on the golden inputs and compares",
        "inference.py": "Python code that runs the model on real numbers",
        "Inference.kt": "Kotlin code for Android that does the same",
        "android/app/build.gradle.kts": "a small Android app with its Gradle project and its test",
        "labels.txt": "the names of the classes, one a line",
        "model_data.h": "header of the C array, with an estimate of the arena",
        "model_data.c": "the model as a C array, for microcontrollers",
        "inference.cc": "C++ code that runs it there, with the operations that it has",
    }
    device = load_target(compatibility.target)
    package = "ai-edge-litert" if device.runtime is None else device.runtime.package
    install = (
        "pip install tflite-runtime==2.14.0 'numpy<2'  # Python up to 3.11"
        if package == "tflite-runtime"
        else "pip install ai-edge-litert numpy"
    )
    heads = ("", "name", "shape", "type", "scale", "zero point", "tolerance", "passes with")
    rows = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    for side in ("inputs", "outputs"):
        for each in details[side]:
            quantized = each["scale"] is not None
            passes = f"{each['share']:.0%} within" if "share" in each else ""
            passes += f", {each['same_class']:.0%} same class" if "same_class" in each else ""
            cells = (
                side[:-1],
                each["name"],
                "x".join(map(str, each["shape"])),
                each["dtype"],
                f"{each['scale']:.9g}" if quantized else "",
                each["zero_point"] if quantized else "",
                f"{each['tolerance'] * each['step']:.3g}" if "tolerance" in each else "",
                passes,
            )
            rows.append("| " + " | ".join(map(str, cells)) + " |")
    counts = ", ".join(f"{count} {name}" for name, count in inspection.operation_counts.items())
    remarks = []
    if noise:
        remarks.append(
            "The golden inputs are random noise: for a real proof, pass examples like those in use."
        )
    if noticed is False:
        remarks.append(
            "A device that swaps red and blue would pass as well: the colours of the golden images "
            "make too little difference. Pass other examples."
        )
    if device.runtime is None and device.compiler is None:
        absent = "does not run it" if has_micro() else "was not installed there (tflite-micro)"
        remarks.append(
            f"TFLite Micro's interpreter ran it on a computer: the golden outputs are its own, the "
            f"smallest arena is {arena:,} bytes with pointers of 64 bits."
            if made_by == MICRO
            else f"The golden outputs are those of LiteRT's {made_by} kernels on a computer: "
            f"TFLite Micro's interpreter {absent}."
        )
    remarks += [*compatibility.reasons, *compatibility.notes]
    if inspection.keeps_state:
        remarks.append(
            "The model keeps state between runs: call `reset_all_variables()` (Python) or "
            "`resetVariableTensors()` (Kotlin) before each sequence, as the code here does."
        )
    needs = [f"- Its operations: {counts}; {inspection.size:,} bytes."]
    if device.runtime is not None:
        needs.append(
            f"- The runtime of TensorFlow {inspection.min_runtime or '(unknown)'} or later "
            "(tflite-runtime has the same numbers; any ai-edge-litert will do)."
        )
    place = "board"
    if device.name.startswith("android"):
        place = "android"
    elif device.runtime is None:
        place = "microcontroller"
    check = bundle_code.template(f"check_{place}.md.txt")
    return bundle_code.template("README.md.txt").substitute(
        title=title,
        files="\n".join(f"| {name} | {kinds[name]} |" for name in files if name in kinds),
        check=check.safe_substitute(install=install, flash=f"{flash:,}"),
        tensors="\n".join(rows),
        needs="\n".join(needs),
        notes=f"\n## {device.title}\n\n" + "\n".join(f"- {remark}" for remark in remarks)
        if remarks
        else "",
    )
