import collections
import contextlib

import keras
import numpy as np
import pytest
from keras import layers as kl

import tfcompress as tfc
from exporters import export_tflite, repair_trial
from exporters.converting import convert_model
from exporters.repair_trial import _Clock, _split, _TooLongError, is_better
from exporters.running.runtime import load


@pytest.fixture(scope="module")
def uneven():
    """Build an autoencoder whose channels differ a hundredfold, so that plain int8 loses much."""
    keras.utils.set_random_seed(0)
    generator = np.random.default_rng(0)
    inputs = x = keras.Input((24,))
    for units in (16, 8, 16):
        x = kl.Dense(units, activation="relu")(x)
    model = keras.Model(inputs, kl.Dense(24)(x))
    weights = model.get_weights()
    scales = [10.0 ** generator.uniform(-1, 1, bias.shape) for bias in weights[1:6:2]]
    for number, scale in enumerate(scales):
        weights[2 * number] *= scale
        weights[2 * number + 1] = (0.1 * scale).astype("float32")
        weights[2 * number + 2] /= scale[:, None]
    model.set_weights(weights)
    return model


@pytest.fixture(scope="module")
def samples():
    return np.random.default_rng(1).normal(size=(400, 24)).astype("float32")


def decibels(model, file, inputs):
    wanted = model.predict(inputs, verbose=0)
    with load(file) as loaded:
        found = loaded.predict(inputs)[0]
    return 10 * np.log10(np.sum(wanted**2) / np.sum((wanted - found) ** 2))


def test_an_export_repairs_where_it_helps(uneven, samples, tmp_path, recwarn):
    representative, fresh = samples[:200], samples[200:]
    made = {}
    for repair in (True, False):
        made[repair] = export_tflite(
            uneven, tmp_path / f"{repair}.tflite", representative_data=representative, repair=repair
        )
    found = made[True].report.repair
    assert found.kept
    assert found.repaired > found.plain + 3.0
    assert found.examples == 45  # every third of those that the file is not compared on
    assert f"{found.plain:.1f} dB without, {found.repaired:.1f} dB with it on 45" in str(
        made[True].report
    )
    plain, repaired = (decibels(uneven, made[r].path.read_bytes(), fresh) for r in (False, True))
    assert repaired > plain + 3.0
    assert repaired == pytest.approx(found.repaired, abs=2.0)
    # The evidence is about the model that was given: no noise of its own hides in it.
    assert made[True].report.agreement.within_one > made[False].report.agreement.within_one
    assert made[False].report.repair is None
    plain_file = convert_model(uneven, "int8", representative_data=representative).flatbuffer
    assert made[False].path.read_bytes() == plain_file
    assert not [each for each in recwarn if "structure of `inputs`" in str(each.message)]


def test_it_is_not_tried_without_examples_to_judge(uneven, samples, tmp_path):
    few = export_tflite(uneven, tmp_path / "few.tflite", representative_data=samples[:159]).report
    assert not few.repair.kept
    assert "no repair: it takes 160 representative examples; there are 159" in str(few)
    for settings in (
        {"quantization": "int16x8"},
        {"signatures": {"inner": uneven.layers[1].name}},
        {"allow_float": [uneven.layers[1].name]},
    ):
        result = export_tflite(
            uneven, tmp_path / "other.tflite", representative_data=samples[:200], **settings
        )
        assert result.report.repair is None


def test_shared_values_stay_shared(samples, tmp_path):
    model = keras.Sequential([keras.Input((24,)), kl.Dense(64), kl.Dense(2)])
    tfc.cluster_weights(model, 16, [model.layers[0].name])
    report = export_tflite(model, tmp_path / "m.tflite", representative_data=samples).report
    assert "its kernels share few values" in report.repair.reason


def test_zeros_are_not_shared_values(samples, tmp_path):
    model = keras.Sequential([keras.Input((24,)), kl.Dense(64), kl.Dense(2)])
    kernel = model.layers[0].kernel
    pruned = kernel.numpy().ravel()
    pruned[200:] = 0.0
    kernel.assign(pruned.reshape(kernel.shape))
    report = export_tflite(model, tmp_path / "m.tflite", representative_data=samples).report
    assert report.repair.examples > 0


def test_who_judges_was_neither_seen_nor_is_reported_on():
    inputs = {"a": np.arange(100), "b": np.arange(100) * 2}
    chosen, judging = _split(inputs, 10, 100)
    np.testing.assert_array_equal(chosen["a"] * 2, chosen["b"])
    assert set(chosen["a"]) | set(judging["a"]) == set(range(10, 100))
    assert not set(chosen["a"]) & set(judging["a"])
    assert len(judging["a"]) == 30


def test_better_is_more_than_chance():
    generator = np.random.default_rng(0)
    noise = generator.random(64)
    assert is_better(2 + noise, 1 + noise)
    assert not is_better(1 + noise, 2 + noise)
    assert not is_better(noise, noise[::-1])  # the same errors, on other examples
    assert not is_better(noise, noise)
    one_large = np.r_[np.full(63, 1.0), 1000.0]
    assert not is_better(one_large, np.r_[np.full(63, 1.01), 1.0])  # one example decides


@pytest.mark.parametrize(("seconds", "stopped"), [(0.5, False), (2.0, True)])
def test_a_repair_that_takes_too_long_is_given_up(seconds, stopped, monkeypatch):
    # One of a hundred parts takes 0.5 or 2 seconds of the processor: 50 or 200 in all.
    now = iter(np.arange(200) * seconds)
    slow = iter(np.arange(200) * 100.0)  # another process works beside it
    monkeypatch.setattr(repair_trial.time, "process_time", lambda: next(now))
    monkeypatch.setattr(repair_trial.time, "monotonic", lambda: next(slow))
    lines = []
    clock = _Clock(lines.append)
    expected = pytest.raises(_TooLongError, match="about 200 s")
    with expected if stopped else contextlib.nullcontext():
        collections.deque((clock(part / 100) for part in range(101)), maxlen=0)
    assert lines[:2] == ["repairing the model, 0%", "repairing the model, 1%"]
