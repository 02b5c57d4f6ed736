"""Fine-tune a network of Keras applications, halve its work, distil and quantize it.

python examples/pretrained_network.py             # fetches ImageNet weights; a quarter of an hour
python examples/pretrained_network.py --random    # without them
python examples/pretrained_network.py --smoke     # seconds, to see that it runs
"""

import sys

import keras
from keras import layers as kl

import tfcompress as tfc
from exporters import benchmark, export_tflite
from tfcompress.datasets import sign_digits

SMOKE = "--smoke" in sys.argv
SIZE, EPOCHS = (32, 1) if SMOKE else (96, 12)
WEIGHTS = None if SMOKE or "--random" in sys.argv else "imagenet"

(x_train, y_train), (x_test, y_test) = sign_digits.load_data()
x_train, x_test = (x.astype("float32") / 127.5 - 1 for x in (x_train, x_test))
if SMOKE:
    x_train, y_train, x_test, y_test = x_train[:32], y_train[:32], x_test[:32], y_test[:32]
x_train, x_test = (keras.ops.image.resize(x, (SIZE, SIZE)).numpy() for x in (x_train, x_test))


def train(model, epochs, rate, **settings):
    """Compile and fit; ``settings`` go to ``compile``."""
    steps = epochs * (len(x_train) // 32 + 1)
    model.compile(
        keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(rate, steps)),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        jit_compile=False,
        **settings,
    )
    model.fit(x_train, y_train, epochs=epochs, verbose=2)


# 1. Fine-tune the network on the task.
backbone = keras.applications.MobileNet(
    input_shape=(SIZE, SIZE, 3), alpha=0.25, include_top=False, weights=WEIGHTS, pooling="avg"
)
outputs = kl.Dense(10, name="digits")(kl.Dropout(0.2)(backbone.output))
teacher = keras.Model(backbone.input, outputs)
train(teacher, EPOCHS, 1e-3)

# 2. Take out the channels that matter least, until half of the multiplications are left.
student = tfc.remove_channels(teacher, target_macs=0.5, round_to=8)

# 3. Let the whole network teach what is left of it, with the numerics of the device.
quantized = tfc.quantize_aware(student)
train(tfc.Distiller(quantized, teacher, losses=tfc.SoftLabels(temperature=4.0)), EPOCHS, 1e-3)

# 4. Files, compared in turns.
judged = (x_test, y_test)
results = [
    export_tflite(teacher, "network_float.tflite", "float32", validation_data=judged),
    export_tflite(
        quantized, "network_int8.tflite", target="raspberry-pi-4", validation_data=judged
    ),
]
print(results[1].report)
print(benchmark([result.path for result in results], runs=20).to_text())
for result in results:
    accuracy = result.report.agreement.metric
    print(f"{result.path}: accuracy {accuracy:.4f}, {result.gzip_size:,} bytes gzipped")
