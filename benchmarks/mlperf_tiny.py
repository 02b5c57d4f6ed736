"""The four MLPerf Tiny reference models, quantized after training, beside the published files.

    python benchmarks/mlperf_tiny.py ../shared --out table.md

The weights are the benchmark's own. So are the 1,000 samples of keyword spotting, from which every
fifth sample calibrates its model; the three other data sets are not at hand, and photos of hands
and spoken digits, prepared as those models want them, stand in for them. So accuracy is given for
keyword spotting alone; the others are compared with the float model on those inputs.
"""

import argparse
import dataclasses
import os
import pathlib
import tempfile
from collections.abc import Callable

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np

from exporters import export_tflite, validate

CALIBRATION = 200


@dataclasses.dataclass(frozen=True)
class Task:
    """A model of the benchmark.

    Attributes:
        title: what it does.
        model: the Keras file.
        reference: the published int8 file.
        inputs: makes its inputs of the folder of data.
    """

    title: str
    model: str
    reference: str
    inputs: Callable[[pathlib.Path], np.ndarray]


@dataclasses.dataclass(frozen=True)
class Row:
    """What came of one model.

    Attributes:
        task: its title.
        size: bytes of our file.
        reference_size: bytes of the published one.
        float_operations: how many operations of ours compute in float.
        within_one: share of outputs within one step of the rounded float model's, XNNPACK.
        same_class: share of inputs with the float model's class; None where there are no classes.
        reference_same_class: the same of the published file.
        accuracy: of ours, where there are labels.
        reference_accuracy: of the published one.
    """

    task: str
    size: int
    reference_size: int
    float_operations: int
    within_one: float
    same_class: float | None
    reference_same_class: float | None
    accuracy: float | None
    reference_accuracy: float | None


def keywords(data):
    """Return the benchmark's own samples: 49 x 10 cepstral coefficients, and their classes."""
    samples = np.load(data / "kws01_test1000_mfcc_int8.npz")
    scale, zero_point = float(samples["scale"]), int(samples["zero_point"])
    return scale * (samples["x"].astype(np.float32) - zero_point), samples["y"]


def photos(data, side):
    """Return photos of hands at a size, 0 to 255."""
    x = np.load(data / "sign_digits_64_rgb.npz")["x"][:: 2062 // (2 * CALIBRATION)]
    return keras.ops.convert_to_numpy(keras.ops.image.resize(x.astype(np.float32), (side, side)))


def sounds(data):
    """Return five successive frames of 128 mel energies in decibels, of spoken digits."""
    spoken = np.load(data / "fsdd_3000_int16_8k.npz")
    wave = spoken["wave"][: 8000 * 60].astype(np.float32) / 32768
    energies = keras.layers.MelSpectrogram(
        fft_length=1024,
        sequence_stride=512,
        num_mel_bins=128,
        sampling_rate=8000,
        min_freq=0,
        max_freq=4000,
        power_to_db=False,
    )(wave[None])
    frames = 10 * np.log10(keras.ops.convert_to_numpy(energies)[0].T + 2.2e-16)
    windows = np.stack([frames[start : start + 5].ravel() for start in range(len(frames) - 4)])
    return windows[:: max(1, len(windows) // (2 * CALIBRATION))]


TASKS = {
    "kws": Task(
        "keyword spotting, DS-CNN",
        "kws01_dscnn.keras",
        "kws01_dscnn_int8_reference.tflite",
        lambda data: keywords(data)[0],
    ),
    "ic": Task(
        "image classification, ResNet-8",
        "ic01_resnet8.keras",
        "ic01_resnet8_int8_reference.tflite",
        lambda data: photos(data, 32),
    ),
    "vww": Task(
        "visual wake words, MobileNetV1-0.25",
        "vww01_mobilenetv1_025_96.keras",
        "vww01_mobilenetv1_int8_reference.tflite",
        lambda data: photos(data, 96) / 255,
    ),
    "ad": Task(
        "anomaly detection, autoencoder",
        "ad01_autoencoder.keras",
        "ad01_autoencoder_int8_reference.tflite",
        sounds,
    ),
}


def quantize(name, shared, folder, repair=True):
    """Quantize one model and compare it.

    Args:
        name: a key of ``TASKS``.
        shared: the folder with models/ and data/.
        folder: where the file goes.
        repair: whether to repair the model first, as an export does by default.

    Returns:
        The ``Row``.
    """
    task = TASKS[name]
    models, data = shared / "models" / "mlperf_tiny", shared / "data"
    model = keras.models.load_model(models / task.model)
    inputs = task.inputs(data)
    labels = keywords(data)[1] if name == "kws" else None
    path = pathlib.Path(folder) / f"{name}.tflite"
    result = export_tflite(
        model,
        path,
        "int8",
        representative_data=inputs[:: max(1, len(inputs) // CALIBRATION)],
        validation_data=inputs if labels is None else (inputs, labels),
        repair=repair,
    )
    reference = validate(models / task.reference, model, inputs, labels, kernels=["xnnpack"])
    ours, classes = result.report.agreement, name != "ad"
    return Row(
        task=task.title,
        size=result.size,
        reference_size=(models / task.reference).stat().st_size,
        float_operations=len(result.report.float_operations),
        within_one=ours.within_one,
        same_class=ours.same_class if classes else None,
        reference_same_class=reference.same_class if classes else None,
        accuracy=ours.metric,
        reference_accuracy=reference.metric,
    )


def table(rows):
    """Return the rows as a table in Markdown."""

    def share(value):
        return "" if value is None else f"{100 * value:.1f} %"

    lines = [
        "| model | bytes | published | operations in float | within 1 LSB of the float model "
        "| same class | published | accuracy | published |",
        "|---" * 9 + "|",
    ]
    for row in rows:
        cells = (
            row.task,
            f"{row.size:,}",
            f"{row.reference_size:,}",
            row.float_operations,
            share(row.within_one),
            share(row.same_class),
            share(row.reference_same_class),
            share(row.accuracy),
            share(row.reference_accuracy),
        )
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("shared", type=pathlib.Path, help="the folder with models/ and data/")
    parser.add_argument("--out", type=pathlib.Path, help="write the table there")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        text = table([quantize(name, arguments.shared, folder) for name in TASKS])
    print(text)
    if arguments.out:
        arguments.out.write_text(text)


if __name__ == "__main__":
    main()
