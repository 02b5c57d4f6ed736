"""The Sign Language Digits Dataset: photos of hands that show the digits 0 to 9."""

import importlib.resources
import itertools

import numpy as np


def load_data() -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """Load the photos, split once and for all into a training and a test part.

    Returns:
        ``(x_train, y_train), (x_test, y_test)``: photos as uint8 arrays of shape (n, 64, 64, 3) in
        RGB, labels as int64 arrays of shape (n,). 1,650 photos to train on; the 412 held out are a
        fifth of each class, drawn at random, so that a person may appear in both parts.

    Example:
    >>> from tfcompress.datasets import sign_digits
    >>> (x_train, y_train), (x_test, y_test) = sign_digits.load_data()

    Source: https://github.com/ardamavi/Sign-Language-Digits-Dataset (Apache License 2.0).
    """
    import tensorflow as tf

    packed = importlib.resources.files(__package__) / "sign_digits.npz"
    with packed.open("rb") as file, np.load(file, allow_pickle=False) as content:
        jpeg, offsets = content["jpeg"], content["offsets"].astype(np.int64)
        labels, test = content["y"].astype(np.int64), content["test"]
    photos = np.stack(
        [
            tf.io.decode_jpeg(jpeg[start:end].tobytes(), channels=3).numpy()
            for start, end in itertools.pairwise(offsets)
        ]
    )
    return (photos[~test], labels[~test]), (photos[test], labels[test])
