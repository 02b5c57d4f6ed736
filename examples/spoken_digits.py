"""Recognise spoken digits on a microcontroller: an audio front end and a DS-CNN.

python examples/spoken_digits.py --data digits.npz   # some minutes on two cores
python examples/spoken_digits.py --smoke             # seconds, on tones, to see that it runs

The file holds `wave` (int16 samples at 8 kHz, one recording after the other), `offsets` (where each
begins, and the end), `y` (0 to 9) and `take`; takes 0 to 4 are for the test, as in the Free Spoken
Digit Dataset, https://github.com/Jakobovski/free-spoken-digit-dataset.
"""

import argparse
import itertools

import keras
import numpy as np
import tensorflow as tf
from keras import layers as kl

import tfcompress as tfc
from exporters import export_tflite, write_bundle
from keras_callbacks import QuantizationSchedule

RATE, FRAME, HOP, MELS = 8000, 256, 160, 32

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--data", help="the recordings, an .npz file")
parser.add_argument("--smoke", action="store_true", help="run for seconds")
options = parser.parse_args()
EPOCHS, WIDTH = (1, 8) if options.smoke else (30, 48)


def recordings():
    """Load the recordings, cut or filled to one second, and say which are for the test."""
    if options.data is None:  # ten tones, so that the script runs without anything
        labels = np.arange(120) % 10
        time = np.arange(RATE) / RATE
        noise = np.random.default_rng(0).normal(0, 0.1, (120, RATE))
        waves = np.sin(2 * np.pi * 200 * (1 + labels[:, None]) * time) + noise
        return waves.astype("float32"), labels, np.arange(120) >= 80
    with np.load(options.data) as file:
        wave, offsets = file["wave"].astype("float32") / 32768, file["offsets"]
        parts = [wave[start:end][:RATE] for start, end in itertools.pairwise(offsets)]
        waves = np.stack([np.pad(part, (0, RATE - len(part))) for part in parts])
        return waves, file["y"].astype("int64"), file["take"] < 5


@tf.function(jit_compile=False)
def log_mel(waves):
    """Turn waves of shape (n, samples) into features of shape (n, frames, mels, 1).

    The device computes them before it asks the model, on integers or floats as it likes.
    """
    spectra = tf.abs(tf.signal.stft(waves, FRAME, HOP, fft_length=FRAME))
    weights = tf.signal.linear_to_mel_weight_matrix(MELS, FRAME // 2 + 1, RATE, 60.0, 3800.0)
    return tf.math.log(spectra @ weights + 1e-3)[..., None]


waves, labels, held_out = recordings()
features = log_mel(waves).numpy()
features = (features - features[~held_out].mean()) / features[~held_out].std()
x_train, y_train = features[~held_out], labels[~held_out]
x_test, y_test = features[held_out], labels[held_out]

# The DS-CNN of "Hello edge" (Zhang et al., 2017), smaller.
layers = [keras.Input(features.shape[1:])]
layers += [kl.Conv2D(WIDTH, (7, 5), strides=2, padding="same", use_bias=False)]
layers += [kl.BatchNormalization(), kl.ReLU()]
for _ in range(3):
    layers += [kl.DepthwiseConv2D(3, padding="same", use_bias=False)]
    layers += [kl.BatchNormalization(), kl.ReLU()]
    layers += [kl.Conv2D(WIDTH, 1, use_bias=False), kl.BatchNormalization(), kl.ReLU()]
model = keras.Sequential([*layers, kl.GlobalAveragePooling2D(), kl.Dropout(0.3), kl.Dense(10)])


def train(trained, epochs, rate, callbacks=()):
    """Compile and fit."""
    trained.compile(
        keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(rate, epochs * 80)),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        jit_compile=False,
    )
    trained.fit(x_train, y_train, epochs=epochs, callbacks=list(callbacks), verbose=2)


train(model, EPOCHS, 3e-3)
float_accuracy = model.evaluate(x_test, y_test, verbose=0)[1]

quantized = tfc.quantize_aware(model)
train(quantized, max(1, EPOCHS // 3), 3e-4, [QuantizationSchedule(freeze_statistics_step=400)])

names = [str(digit) for digit in range(10)]
result = export_tflite(
    quantized,
    "spoken_digits.tflite",
    target="microcontroller",
    validation_data=(x_test, y_test),
    labels=names,
)
write_bundle(result, "spoken_digits", examples=x_test, target="microcontroller")
print(result.report)
print(f"accuracy: float {float_accuracy:.4f}, file {result.report.agreement.metric:.4f}")
