"""Find discs among other shapes, pixel by pixel: a U-Net, trained with the device's numerics.

python examples/segmentation.py            # some minutes on two cores
python examples/segmentation.py --smoke    # seconds, to see that it runs
"""

import sys

import keras
import numpy as np
from keras import layers as kl

import tfcompress as tfc
from exporters import export_tflite, validate

SMOKE = "--smoke" in sys.argv
SIZE, COUNT, EPOCHS, WIDTH, LEVELS = (16, 32, 1, 4, 1) if SMOKE else (64, 2000, 15, 12, 2)


def pictures(count, seed):
    """Draw noisy pictures of a disc and a square each, and masks of the discs."""
    generator = np.random.default_rng(seed)
    rows, columns = np.mgrid[:SIZE, :SIZE]
    x = generator.normal(0, 0.15, (count, SIZE, SIZE, 1))
    masks = np.zeros((count, SIZE, SIZE, 1))
    for picture, mask in zip(x, masks, strict=True):
        (row, column), (top, left) = generator.integers(SIZE // 8, 7 * SIZE // 8, (2, 2))
        radius, side = generator.integers(SIZE // 10 + 1, SIZE // 4, 2)
        square = (abs(rows - top) < side) & (abs(columns - left) < side)
        disc = (rows - row) ** 2 + (columns - column) ** 2 < radius**2
        picture[square] += generator.uniform(0.5, 1.0)
        picture[disc] += generator.uniform(0.5, 1.0)
        mask[disc] = 1.0
    return x.astype("float32"), masks.astype("float32")


def convolutions(x, filters):
    """Apply two convolutions, each with its normalization."""
    for _ in range(2):
        x = kl.Conv2D(filters, 3, padding="same", use_bias=False)(x)
        x = kl.ReLU()(kl.BatchNormalization(momentum=0.9)(x))
    return x


def u_net():
    """Build a U-Net (Ronneberger et al., 2015)."""
    x = inputs = keras.Input((SIZE, SIZE, 1))
    skips = []
    for level in range(LEVELS):
        skips.append(convolutions(x, WIDTH << level))
        x = kl.MaxPooling2D()(skips[-1])
    x = convolutions(x, WIDTH << LEVELS)
    for level in reversed(range(LEVELS)):
        x = kl.Concatenate()([kl.UpSampling2D()(x), skips[level]])
        x = convolutions(x, WIDTH << level)
    return keras.Model(inputs, kl.Conv2D(1, 1)(x))  # logits


def overlap(outputs, masks):
    """Return the intersection of prediction and mask over their union."""
    found, wanted = outputs[0] > 0, masks > 0
    return float((found & wanted).sum() / max(1, (found | wanted).sum()))


def train(model, epochs, rate):
    """Compile and fit."""
    loss = keras.losses.BinaryCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(rate), loss, jit_compile=False)
    model.fit(x_train, y_train, epochs=epochs, verbose=2)


(x_train, y_train), (x_test, y_test) = pictures(COUNT, seed=0), pictures(COUNT // 8, seed=1)
model = u_net()
train(model, EPOCHS, 2e-3)
quantized = tfc.quantize_aware(model)
float_overlap = overlap([model.predict(x_test, verbose=0)], y_test)
train(quantized, max(1, EPOCHS // 3), 5e-4)

result = export_tflite(quantized, "segmentation.tflite", validation_data=x_test)
agreement = validate(result.path, against=quantized, data=x_test, labels=y_test, metric=overlap)
print(result.report)
print(f"overlap (IoU): float {float_overlap:.4f}, file {agreement.metric:.4f}")
