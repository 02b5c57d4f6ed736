"""What quantization-aware training costs: MobileNetV2-0.35 at 96x96, batch 32.

Trainings of the same length take turns every few steps, each round with fresh models: plain,
quantization-aware, and that with frozen ranges on Keras 3; plain and with TFMOT on tf_keras.
Reported are medians over the turns, the ratios to plain within a turn, the time of the wrapping,
and that of the export.

    python benchmarks/quantization_step.py --rounds 3 --json quantization_step.json
"""

import argparse
import pathlib
import statistics
import tempfile
import time

import keras
from step_timing import compare, make_data, make_model, take_turns, write_json

import tfcompress as tfc
from exporters.converting import convert_model
from keras_callbacks import QuantizationSchedule

try:
    import tensorflow_model_optimization as tfmot
    import tf_keras
except ImportError as missing:
    tfmot, MISSING = None, missing


def keras_plain():
    return make_model(keras), []


def keras_quantized():
    return tfc.quantize_aware(make_model(keras)), []


def keras_frozen():
    return keras_quantized()[0], [QuantizationSchedule(freeze_ranges_step=1)]


def tfmot_plain():
    return make_model(tf_keras), []


def tfmot_quantized():
    return tfmot.quantization.keras.quantize_model(make_model(tf_keras)), []


def once(work):
    start = time.perf_counter()
    value = work()
    return time.perf_counter() - start, value


def wrapping_and_export(data, rounds):
    """Return medians of the seconds of the wrapping and of the export."""
    times = []
    for _ in range(rounds):
        model = make_model(keras)
        wrapping, q = once(lambda model=model: tfc.quantize_aware(model))
        q.calibrate(data[0][:32])
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "q.tflite"
            export, converted = once(lambda q=q: convert_model(q))
            path.write_bytes(converted.flatbuffer)
        times.append((wrapping, export))
    return dict(
        zip(
            ("quantize_aware_s", "export_s"),
            (statistics.median(column) for column in zip(*times, strict=True)),
            strict=True,
        )
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=40, help="of an epoch")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--json", help="where to write the figures")
    arguments = parser.parse_args()
    variants = {
        "Keras 3, plain": (keras, keras_plain),
        "Keras 3, quantize_aware": (keras, keras_quantized),
        "Keras 3, ranges frozen": (keras, keras_frozen),
    }
    pairs = [
        ("Keras 3, quantize_aware", "Keras 3, plain"),
        ("Keras 3, ranges frozen", "Keras 3, plain"),
    ]
    if tfmot is None:
        print(f"without TFMOT: {MISSING}")
    else:
        variants |= {
            "tf_keras, plain": (tf_keras, tfmot_plain),
            "tf_keras, TFMOT": (tf_keras, tfmot_quantized),
        }
        pairs += [
            ("tf_keras, TFMOT", "tf_keras, plain"),
            ("Keras 3, quantize_aware", "tf_keras, TFMOT"),
        ]
    data = make_data(arguments.steps)
    result = compare(take_turns(variants, data, arguments.epochs, arguments.rounds), pairs)
    result |= wrapping_and_export(data, arguments.rounds)
    for name in ("quantize_aware_s", "export_s"):
        print(f"{name:32}{result[name]:12.2f} s")
    write_json(arguments.json, result)


if __name__ == "__main__":
    main()
