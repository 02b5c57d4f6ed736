import keras
import numpy as np
import pytest
from keras import layers as kl

import tfcompress as tfc
from exporters import export_tflite
from exporters.evidence import within


@pytest.mark.parametrize("shape", [(64, 5), (64, 12, 3), (64, 9, 9, 3), (64, 4, 4, 4, 2)])
def test_noise_fills_a_range_with_examples_that_differ(shape):
    drawn = within(np.random.default_rng(0), shape, -2.0, 6.0)
    assert drawn.shape == shape
    assert drawn.min() >= -2.0
    assert drawn.max() <= 6.0
    flat = drawn.reshape(64, -1)
    assert flat.min() < -1.5
    assert flat.max() > 5.5
    assert np.std(flat.mean(1)) > 0.8  # white noise of 243 numbers: 0.15


def test_coarse_examples_have_patches_of_one_value():
    drawn = within(np.random.default_rng(0), (4, 8, 8, 3), 0.0, 1.0)
    distinct = [len(np.unique(example[..., 0])) for example in drawn]
    assert distinct == [64, 16, 4, 1]


def image_net():
    keras.utils.set_random_seed(0)
    return keras.Sequential(
        [
            keras.Input((16, 16, 3)),
            kl.Conv2D(8, 3, strides=2, activation="relu"),
            kl.Conv2D(8, 3, strides=2, activation="relu"),
            kl.GlobalAveragePooling2D(),
            kl.Dense(4),
        ]
    )


@pytest.mark.parametrize("dtype", ["int8", "float32"])
def test_a_trained_model_is_compared_in_the_ranges_that_it_has_learned(dtype, tmp_path):
    q = tfc.quantize_aware(image_net())
    q.calibrate(np.random.default_rng(0).uniform(0, 200, (32, 16, 16, 3)).astype("float32"))
    ((smallest, largest),) = q.input_ranges()
    assert smallest == 0.0
    assert 199 < largest <= 200
    seen = []
    call = q.deployed.once
    q.deployed.once = lambda x, numbers: (seen.append(np.asarray(x)), call(x, numbers))[1]
    report = export_tflite(q, tmp_path / "m.tflite", input_dtype=dtype).report
    fed = np.concatenate(seen)
    assert fed.max() > 190
    assert fed.min() < 10
    assert report.agreement.noise
    assert report.agreement.noise_from == "the ranges that the inputs have learned"
    assert report.agreement.equal == 1.0
    assert "64 examples of random noise from the ranges that the inputs have learned" in str(report)
    outputs = np.asarray(q(fed))
    assert len(np.unique(outputs, axis=0)) > 48  # standard normal numbers of these ranges: few


def test_indices_are_those_of_the_tables(tmp_path):
    inputs = keras.Input((6,), dtype="int32")
    x = kl.Embedding(50, 4)(inputs)
    q = tfc.quantize_aware(keras.Model(inputs, kl.Dense(2)(kl.Flatten()(x))))
    q.calibrate(np.random.default_rng(0).integers(0, 50, (32, 6)))
    assert q.input_ranges() == [None]
    seen = []
    call = q.deployed.once
    q.deployed.once = lambda x, numbers: (seen.append(np.asarray(x)), call(x, numbers))[1]
    agreement = export_tflite(q, tmp_path / "m.tflite").report.agreement
    assert (np.min(seen), np.max(seen)) == (0, 49)
    assert agreement.noise
    assert agreement.equal == 1.0


def test_float_models_without_data_say_so(tmp_path):
    agreement = export_tflite(image_net(), tmp_path / "m.tflite", "float16").report.agreement
    assert (agreement.noise, agreement.noise_from) == (True, "a standard normal")
