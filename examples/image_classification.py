"""Train, compress and deploy an image classifier: the main job in one script.

python examples/image_classification.py            # some minutes on two cores
python examples/image_classification.py --smoke    # seconds, to see that it runs
"""

import sys

import keras
from keras import layers as kl

import tfcompress as tfc
from exporters import export_tflite
from keras_callbacks import MagnitudePruning
from tfcompress.datasets import sign_digits

SMOKE = "--smoke" in sys.argv
EPOCHS = 1 if SMOKE else 20

(x_train, y_train), (x_test, y_test) = sign_digits.load_data()
x_train, x_test = (x.astype("float32") / 255 for x in (x_train, x_test))
if SMOKE:
    x_train, y_train, x_test, y_test = x_train[:64], y_train[:64], x_test[:64], y_test[:64]


def network(width):
    """Build a small convolutional network, as you would without any compression."""
    layers = [keras.Input((64, 64, 3)), kl.RandomFlip(), kl.RandomTranslation(0.1, 0.1)]
    for filters in (width, 2 * width, 4 * width, 8 * width):
        layers += [kl.Conv2D(filters, 3, strides=2, padding="same", use_bias=False)]
        layers += [kl.BatchNormalization(momentum=0.9), kl.ReLU()]
    return keras.Sequential([*layers, kl.GlobalAveragePooling2D(), kl.Dense(10)])


def train(model, callbacks=()):
    """Compile and fit: nothing here is special to compression."""
    model.compile(
        keras.optimizers.Adam(2e-3),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        jit_compile=False,  # XLA is slower on most processors
    )
    model.fit(x_train, y_train, epochs=EPOCHS, callbacks=list(callbacks), verbose=2)


teacher, student = network(width=24), network(width=12)
train(teacher)
train(student)
export_tflite(student, "float.tflite", "float32", validation_data=(x_test, y_test))

# Compress the student inside fit: int8 arithmetic, three quarters of the weights zero, and the
# teacher's advice on the way.
quantized = tfc.quantize_aware(student)
distiller = tfc.Distiller(quantized, teacher, losses=tfc.SoftLabels(temperature=4.0))
steps = EPOCHS * (len(x_train) // 32 + 1)
pruning = MagnitudePruning(
    tfc.PolynomialDecay(0.0, final_sparsity=0.75, begin_step=0, end_step=steps // 2, frequency=10)
)
train(distiller, [pruning])

result = export_tflite(quantized, "int8.tflite", validation_data=(x_test, y_test))
print(result.report)
