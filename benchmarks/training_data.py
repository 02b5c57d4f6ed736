"""The real data that benchmarks train on, as (x_train, y_train), (x_test, y_test).

The files lie in shared/data beside the project.
"""

import itertools
import pathlib

import numpy as np
import tensorflow as tf

SHARED = pathlib.Path(__file__).resolve().parents[2] / "shared" / "data"


def sign_digits(folder=SHARED):
    """Return the photos of hand signs at 32x32, a fixed fifth of them held out."""
    with np.load(folder / "sign_digits_64_rgb.npz") as data:
        x, y = data["x"][:, ::2, ::2].astype("float32") / 255, data["y"]
    order = np.random.default_rng(0).permutation(len(x))
    held_out, training = np.split(order, [len(x) // 5])
    return (x[training], y[training]), (x[held_out], y[held_out])


def mnist(size, folder=SHARED):
    """Return the first training images, and all test images."""
    with np.load(folder / "mnist_60k_train_3k_test.npz") as data:
        training = data["x_train"][:size, ..., None] / np.float32(255), data["y_train"][:size]
        return training, (data["x_test"][..., None] / np.float32(255), data["y_test"])


def cifar10(folder=SHARED):
    """Return 20,000 photos of ten kinds of things at 32x32, as bytes, and 4,000 held out."""
    with np.load(folder / "cifar10_jpeg_24k.npz") as file:
        return tuple(
            (_decoded(file[f"{part}_jpeg"], file[f"{part}_offsets"]), file[f"{part}_y"])
            for part in ("train", "val")
        )


def _decoded(jpeg, offsets):
    """Return the images of JPEG files that lie one after the other."""
    files = (jpeg[i:j].tobytes() for i, j in itertools.pairwise(offsets))
    return np.stack([tf.io.decode_jpeg(file, 3, dct_method="INTEGER_ACCURATE") for file in files])


def spoken_digits(folder=SHARED):
    """Log-mel spectrograms of one second, (30, 40, 1); the test takes are those numbered 0 to 4."""
    with np.load(folder / "fsdd_3000_int16_8k.npz") as file:
        wave, offsets, y, take = (file[k] for k in ("wave", "offsets", "y", "take"))
    clips = np.zeros((len(y), 8000), "float32")
    for clip, start, stop in zip(clips, offsets[:-1], offsets[1:], strict=True):
        length = min(stop - start, 8000)
        clip[:length] = wave[start : start + length] / 32768.0
    spectra = tf.abs(tf.signal.stft(clips, 512, 256, fft_length=512))
    mel = tf.signal.linear_to_mel_weight_matrix(40, 257, 8000, 40.0, 4000.0)
    x = np.log(np.asarray(spectra @ mel)[..., None] + 1e-3)
    test = take < 5
    mean, deviation = x[~test].mean(), x[~test].std()
    x, y = (x - mean) / deviation, y.astype("int64")
    return (x[~test], y[~test]), (x[test], y[test])
