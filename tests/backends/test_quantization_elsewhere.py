"""Quantization-aware training on every backend of Keras; lines of the table in docs/backends.md."""

import os

import keras
import numpy as np
import pytest
from backends import quantized_models
from keras import layers, ops

import tfcompress as tfc
from exporters import validate
from tfcompress.keras_graph.hooks import HookPoint, input_point
from tfcompress.on_tensorflow import call_on_tensorflow
from tfcompress.quantization import QuantizeAware
from tfcompress.quantization.activation_tensors import TrainingMode
from tfcompress.quantization.arithmetic.fake_quantization import fake_quantize_activations
from tfcompress.quantization.arithmetic.observers import (
    NO_RANGE,
    OBSERVERS,
    MovingAverage,
    get_observer,
)
from tfcompress.quantization.placement import Placement

BACKEND = keras.backend.backend()
LOSS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
RNG = np.random.default_rng(0)
IMAGES = RNG.normal(size=(128, 8, 8, 3)).astype("float32")
LABELS = (IMAGES[:, :4].mean((1, 2, 3)) > 0).astype(int) + (IMAGES.mean((1, 2, 3)) > 0)


def compiled(model, optimizer="adam", loss=LOSS, **settings):
    model.compile(optimizer, loss, **settings)
    return model


def weights_of(variable):
    return ops.convert_to_numpy(variable)


def flat(weights):
    return np.concatenate([array.ravel() for array in weights])


def one_layer(kernel, layer=None, **settings):
    """A quantization-aware Dense layer without a bias, whose input and output have ranges."""
    kernel = np.array(kernel, "float32")
    layer = layer or layers.Dense(kernel.shape[1], use_bias=False, name="dense")
    model = keras.Sequential([keras.Input((kernel.shape[0],)), layer])
    model.set_weights([kernel])
    placement = Placement((input_point(0), HookPoint("dense")), ())
    return QuantizeAware(model, tfc.Scheme.int8(), placement, **settings)


def test_rounded_activations():
    grid = ops.convert_to_tensor([-1.0, 1.55])  # in steps of 0.01
    values = np.array([-2.0, -1.0, -0.996, 0.0, 0.014, 1.55, 1.56], "float32")
    rounded = fake_quantize_activations(ops.convert_to_tensor(values), grid)
    np.testing.assert_allclose(rounded, [-1, -1, -1, 0, 0.01, 1.55, 1.55], atol=1e-6)


def test_observers_of_ranges():
    # One value in 20,000 is far away: what is rare, or costs more than it tells, is left out.
    values = np.concatenate([np.linspace(-1, 1, 20001), [9.0]]).astype("float32")
    largest = {
        name: weights_of(get_observer(name).observe(ops.convert_to_tensor(values), 8, False))[1]
        for name in OBSERVERS
    }
    wanted = {"moving_average": 9.0, "min_max": 9.0, "percentile": 1.0, "mse": 8.72, "kl": 1.41}
    assert largest == pytest.approx(wanted, abs=0.005)
    average, start = get_observer("moving_average"), ops.convert_to_tensor(NO_RANGE)
    first = average.follow(start, ops.convert_to_tensor([-1.0, 2.0]))
    second = average.follow(first, ops.convert_to_tensor([-3.0, 4.0]))
    np.testing.assert_allclose(second, [-1.1, 2.1], rtol=1e-6)


def test_quantization_by_hand():
    # The input is rounded to steps of 0.01, the kernel to 0.01, and so the output is 0.7 * 0.3.
    model = one_layer([[1.27, 0.0], [0.3021, 0.0]], observer="min_max")
    x = np.array([[0.0, 0.7038], [2.55, 0.0]], "float32")
    compiled(model, keras.optimizers.SGD(0.0), "mse").fit(x, x, verbose=0)
    np.testing.assert_allclose(weights_of(model.ranges[0]), [0.0, 2.55], rtol=1e-6)
    np.testing.assert_allclose(weights_of(model.ranges[1]), [0.0, 2.55 * 1.27], rtol=1e-5)
    step = 2.55 * 1.27 / 255
    wanted = [[round(0.21 / step) * step, 0.0], [2.55 * 1.27, 0.0]]
    np.testing.assert_allclose(model.simulated(x), wanted, rtol=1e-5)


def test_gradients_of_rounded_numbers():
    # The gradient in a weight is what enters; what is clipped at 2.5 does not pass.
    model = one_layer([[1.0], [0.5]])
    model.calibrate(np.array([[0.0, 2.55], [2.0, 1.0]], "float32"))
    model.set_training_mode(TrainingMode(ranges_move=False))
    x = np.array([[1.0, 2.0]], "float32")
    loss = lambda y, p: ops.sum(p)  # noqa: E731
    compiled(model, keras.optimizers.SGD(0.125), loss).fit(x, x, verbose=0)
    np.testing.assert_allclose(model.model.get_weights()[0], [[0.875], [0.25]], rtol=1e-5)
    x = np.array([[2.5, 2.5]], "float32")  # the sum of 2.8 is above the output's 2.5
    compiled(model, keras.optimizers.SGD(0.125), loss).fit(x, x, verbose=0)
    np.testing.assert_allclose(model.model.get_weights()[0], [[0.875], [0.25]], rtol=1e-5)


def test_gradients_through_statistics_of_a_batch():
    # BatchNormalization behind a rectifier is folded into no kernel. All channels have the same
    # values, in an order of their own, so that its constants are rounded to themselves.
    hidden = layers.Dense(8, "relu", name="hidden")
    stack = [hidden, layers.BatchNormalization(name="alone"), layers.Dense(1, name="head")]
    model = keras.Sequential([keras.Input((8,)), *stack])
    points = ("hidden", "output"), ("alone", "scaled"), ("alone", "output"), ("head", "output")
    placement = Placement((input_point(0), *(HookPoint(*point) for point in points)), ())
    quantized = QuantizeAware(model, tfc.Scheme.int8(), placement)
    values = np.linspace(0.0, 2.55, 256, dtype="float32")
    x = np.stack([RNG.permutation(values) for _ in range(8)], 1)
    y = RNG.normal(size=(256, 1)) + x[:, :1]
    hidden.kernel.assign(np.eye(8))
    start, moved = model.get_weights(), []
    for trained in (model, quantized):
        model.set_weights(start)
        compiled(trained, keras.optimizers.SGD(0.1), "mse").fit(x, y, batch_size=256, verbose=0)
        moved.append(weights_of(hidden.kernel) - start[0])
    assert np.linalg.norm(moved[1] - moved[0]) < 0.1 * np.linalg.norm(moved[0])


def test_trained_step_sizes():
    model = one_layer([[1.0], [0.5]], learn_steps=("weights", "activations"))
    model.calibrate(np.array([[0.0, 2.55], [2.0, 1.0]], "float32"))
    before = [weights_of(v).copy() for v in model.trainable_variables]
    x = np.array([[1.0, 2.0]], "float32")
    compiled(model, keras.optimizers.SGD(0.01), lambda y, p: ops.sum(p)).fit(x, x, verbose=0)
    names = [variable.name for variable in model.trainable_variables]
    moved = [
        not np.allclose(weights_of(v), b)
        for v, b in zip(model.trainable_variables, before, strict=True)
    ]
    assert dict(zip(names, moved, strict=True)) == dict.fromkeys(names, True)
    assert len(names) == 3


def test_a_schedule_of_quantization():
    model = compiled(one_layer([[1.0], [0.5]], observer=MovingAverage(0.0)))
    schedule = tfc.QuantizationSchedule(begin_step=1, freeze_ranges_step=2)
    ranges = []
    note = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: ranges.append(weights_of(model.ranges)[0, 1])
    )
    for scale in (1.0, 2.0, 3.0):
        x = np.array([[0.0, scale]], "float32")
        model.fit(x, np.array([0]), verbose=0, callbacks=[schedule, note])
    assert ranges == [1.0, 2.0, 2.0]


@pytest.mark.process
def test_quantization_aware_recurrent_layers():
    model = keras.Sequential([keras.Input((4, 8)), layers.LSTM(3, name="memory")])
    if BACKEND == "tensorflow":
        points = tfc.quantize_aware(model).placement.learned
        assert "memory/lstm_cell" in {point.path for point in points}
        return
    with pytest.raises(ValueError, match=f"inside their calls.*memory.*KERAS_BACKEND={BACKEND}"):
        tfc.quantize_aware(model)
    pytest.skip("refused by name")


@pytest.mark.process
def test_quantization_aware_training(tmp_path):
    """Pruned, quantization-aware and distilled in `fit`; the file equals the model to the bit."""
    teacher, student = quantized_models.network(16), compiled(quantized_models.network(8))
    quantized = tfc.quantize_aware(student)
    distiller = compiled(tfc.Distiller(quantized, teacher), metrics=["accuracy"])
    schedule = tfc.PolynomialDecay(0.0, 0.5, begin_step=0, end_step=6, frequency=2)
    logs = distiller.fit(
        *(IMAGES, LABELS),
        epochs=2,
        verbose=0,
        validation_data=(IMAGES, LABELS),
        callbacks=[
            tfc.MagnitudePruning(schedule),
            tfc.DeployedAccuracy((IMAGES, LABELS), every=2),
        ],
    ).history
    assert logs["val_deployed_agreement"] == [1.0]
    assert logs["sparsity"][-1] > 0.4
    assert np.mean(weights_of(student.get_layer("hidden").kernel) == 0) > 0.4
    assert np.isfinite(logs["val_loss"]).all()
    path = tmp_path / "model.tflite"
    report = tfc.export_tflite(quantized, path, progress=False).report
    assert report.float_operations == ()
    agreement = validate(path, quantized, (IMAGES, LABELS))
    ran = {run.kernels: run.outputs[0] for run in agreement.ran}
    assert ran["xnnpack"].largest == 0.0
    # Fake quantization in float differs where a rounding falls on the other side.
    exact = quantized.predict_exactly(IMAGES)
    close = np.isclose(quantized.simulated(IMAGES), exact, atol=1e-6).mean()
    assert close > 0.9


def moved_from_tensorflow(path, make):
    """Load a model that TensorFlow saved; return it, and how near it comes there in a step."""
    exact, simulated, trained = call_on_tensorflow(
        "backends.quantized_models", "save_calibrated", path, IMAGES, make
    )
    model = keras.saving.load_model(path)
    found = model.simulated(IMAGES)
    near = [np.isclose(found, wanted, atol=1e-6).mean() for wanted in (simulated, exact)]
    # A step of training is that of TensorFlow, but for roundings that fall on the other side.
    before, wanted = flat(model.get_weights()), flat(trained)
    model.fit(IMAGES, np.zeros((len(IMAGES), 3)), batch_size=len(IMAGES), verbose=0)
    found = flat(model.get_weights())
    return model, *near, np.linalg.norm(found - wanted) / np.linalg.norm(wanted - before)


@pytest.mark.process
def test_quantization_aware_models_move_between_backends(tmp_path):
    path = tmp_path / "model.keras"
    model, _, exact, off = moved_from_tensorflow(path, "network")
    assert exact > 0.9
    assert off <= 0.01
    compiled(model).fit(IMAGES, LABELS, verbose=0)
    model.save(path)
    ranges = call_on_tensorflow("backends.quantized_models", "ranges_in", path)
    np.testing.assert_array_equal(weights_of(model.ranges), ranges)


@pytest.mark.process
@pytest.mark.skipif(
    "KERAS_BACKEND" not in os.environ,
    reason="it compares a backend with TensorFlow: `make backends` sets one",
)
def test_tensors_inside_layers(tmp_path):
    _, simulated, _, off = moved_from_tensorflow(tmp_path / "model.keras", "steps_within")
    assert simulated > 0.99
    assert off <= 0.005
