import importlib.resources

import numpy as np
import pytest

from tfcompress.datasets import sign_digits


def test_split_is_fixed_and_balanced():
    (x_train, y_train), (x_test, y_test) = sign_digits.load_data()
    assert x_train.shape == (1650, 64, 64, 3)
    assert x_test.shape == (412, 64, 64, 3)
    assert x_train.dtype == x_test.dtype == np.uint8
    assert np.bincount(y_test).tolist() == [41, 41, 41, 41, 42, 41, 41, 41, 42, 41]
    assert np.bincount(np.concatenate([y_train, y_test])).sum() == 2062


def test_photos_are_those_of_the_source(shared):
    path = shared / "data/sign_digits_64_rgb.npz"
    if not path.exists():
        pytest.skip("the source's photos are not among the shared data")
    (x_train, _), (x_test, _) = sign_digits.load_data()
    packed = importlib.resources.files("tfcompress.datasets") / "sign_digits.npz"
    with np.load(path) as source, packed.open("rb") as file, np.load(file) as content:
        expected, test = source["x"].astype(int), content["test"]
    for found, photos in ((x_train, expected[~test]), (x_test, expected[test])):
        # JPEG moves a pixel by a step or two; another photo would move it by tens.
        assert np.abs(found - photos).mean((1, 2, 3)).max() < 4
