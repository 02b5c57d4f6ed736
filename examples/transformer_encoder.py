"""Classify photos with a small transformer encoder, attention and all in 8-bit integers.

python examples/transformer_encoder.py            # some minutes on two cores
python examples/transformer_encoder.py --smoke    # seconds, to see that it runs
"""

import sys

import keras
from keras import layers as kl

import tfcompress as tfc
from exporters import export_tflite
from tfcompress.datasets import sign_digits

SMOKE = "--smoke" in sys.argv
EPOCHS, BLOCKS, WIDTH, PATCH = (1, 1, 8, 16) if SMOKE else (60, 3, 48, 8)

(x_train, y_train), (x_test, y_test) = sign_digits.load_data()
x_train, x_test = (x.astype("float32") / 127.5 - 1 for x in (x_train, x_test))
if SMOKE:
    x_train, y_train, x_test, y_test = x_train[:32], y_train[:32], x_test[:32], y_test[:32]


@keras.saving.register_keras_serializable(package="example")
class Positions(kl.Layer):
    """Add a learnt vector to each token."""

    def build(self, input_shape):
        """Make the vectors."""
        self.vectors = self.add_weight(shape=input_shape[1:], initializer="random_normal")

    def call(self, tokens):
        """Add them."""
        return tokens + self.vectors


def encoder():
    """Build a vision transformer (Dosovitskiy et al., 2021) on patches of the photo."""
    inputs = keras.Input((64, 64, 3))
    x = kl.RandomTranslation(0.1, 0.1)(kl.RandomFlip("horizontal")(inputs))
    x = kl.Conv2D(WIDTH, PATCH, strides=PATCH)(x)
    x = Positions()(kl.Reshape((-1, WIDTH))(x))
    for _ in range(BLOCKS):
        y = kl.LayerNormalization()(x)
        x = kl.Add()([x, kl.MultiHeadAttention(4, WIDTH // 4, dropout=0.1)(y, y)])
        y = kl.Dense(2 * WIDTH, activation="gelu")(kl.LayerNormalization()(x))
        x = kl.Add()([x, kl.Dropout(0.1)(kl.Dense(WIDTH)(y))])
    x = kl.GlobalAveragePooling1D()(kl.LayerNormalization()(x))
    return keras.Model(inputs, kl.Dense(10)(x))


def train(model, epochs, rate):
    """Compile and fit."""
    steps = epochs * (len(x_train) // 32 + 1)
    model.compile(
        keras.optimizers.AdamW(keras.optimizers.schedules.CosineDecay(rate, steps)),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        jit_compile=False,
    )
    model.fit(x_train, y_train, epochs=epochs, verbose=2)


model = encoder()
train(model, EPOCHS, 2e-3)
float_file = export_tflite(
    model, "encoder_float.tflite", "float32", validation_data=(x_test, y_test)
)

quantized = tfc.quantize_aware(model)
train(quantized, max(1, EPOCHS // 6), 2e-4)
result = export_tflite(quantized, "encoder_int8.tflite", validation_data=(x_test, y_test))
print(result.report)
for name, file in (("float", float_file), ("int8", result)):
    print(f"{name}: accuracy {file.report.agreement.metric:.4f}, {file.size:,} bytes")
