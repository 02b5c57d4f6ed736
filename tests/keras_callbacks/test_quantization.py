import keras
import numpy as np
import pytest
from keras import layers as kl

import tfcompress as tfc
from exporters import export_tflite
from keras_callbacks import DeployedAccuracy, QuantizationSchedule

RNG = np.random.default_rng(0)
X, Y = RNG.random((32, 8, 8, 3), dtype="float32"), RNG.integers(0, 3, 32)


@pytest.fixture
def model():
    return keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            kl.Conv2D(4, 3, use_bias=False, name="conv"),
            kl.BatchNormalization(name="norm"),
            kl.ReLU(),
            kl.Flatten(),
            kl.Dense(3, name="head"),
        ],
        name="small",
    )


def compiled(model, **settings):
    model.compile(
        keras.optimizers.SGD(0.05),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        jit_compile=False,
        **settings,
    )
    return model


class Recorder(keras.callbacks.Callback):
    """Keeps the ranges and the statistics after each batch."""

    def __init__(self, q):
        super().__init__()
        self.q, self.ranges, self.means = q, [], []

    def on_train_batch_end(self, batch, logs=None):
        self.ranges.append(self.q.ranges.numpy())
        self.means.append(self.q.model.get_layer("norm").moving_mean.numpy())


def test_ranges_and_statistics_stop_at_their_steps(model):
    q = compiled(tfc.quantize_aware(model))
    recorder = Recorder(q)
    schedule = QuantizationSchedule(freeze_ranges_step=3, freeze_statistics_step=5)
    q.fit(X, Y, batch_size=4, verbose=0, callbacks=[schedule, recorder])
    moved = [(a != b).any() for a, b in zip(recorder.ranges, recorder.ranges[1:], strict=False)]
    assert moved == [True, True, False, False, False, False, False]
    moved = [(a != b).any() for a, b in zip(recorder.means, recorder.means[1:], strict=False)]
    assert moved == [True, True, True, True, False, False, False]


@pytest.mark.parametrize("jit_compile", [False, True])
def test_freezing_ranges_keeps_the_compiled_step(model, jit_compile):
    q = tfc.quantize_aware(model)
    q.compile("sgd", "sparse_categorical_crossentropy", jit_compile=jit_compile)
    recorder, steps = Recorder(q), []
    watch = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: steps.append(q.train_function)
    )
    schedule = QuantizationSchedule(freeze_ranges_step=2)
    q.fit(X, Y, batch_size=8, verbose=0, callbacks=[schedule, recorder, watch])
    assert len(set(steps)) == (2 if jit_compile else 1)
    moved = [(a != b).any() for a, b in zip(recorder.ranges, recorder.ranges[1:], strict=False)]
    assert moved == [True, False, False]


def test_before_the_beginning_the_model_trains_in_float(model):
    twin = keras.models.clone_model(model)
    twin.set_weights(model.get_weights())
    q = compiled(tfc.quantize_aware(model))
    q.fit(X, Y, batch_size=8, shuffle=False, verbose=0, callbacks=[QuantizationSchedule(99)])
    compiled(twin).fit(X, Y, batch_size=8, shuffle=False, verbose=0)
    for found, expected in zip(model.get_weights(), twin.get_weights(), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)
    assert q.calibrated


def test_the_next_training_has_no_schedule(model):
    q = compiled(tfc.quantize_aware(model))
    q.fit(X, Y, batch_size=8, verbose=0, callbacks=[QuantizationSchedule(freeze_ranges_step=1)])
    before = q.ranges.numpy()
    q.fit(X * 3, Y, batch_size=8, verbose=0)
    assert (q.ranges.numpy() != before).any()


def test_schedule_finds_the_student_in_a_distiller(model):
    q = tfc.quantize_aware(model)
    distiller = compiled(tfc.Distiller(q, "self"))
    recorder = Recorder(q)
    schedule = QuantizationSchedule(freeze_ranges_step=1)
    distiller.fit(X, Y, batch_size=16, epochs=2, verbose=0, callbacks=[schedule, recorder])
    assert all((ranges == recorder.ranges[0]).all() for ranges in recorder.ranges)


def test_schedule_needs_a_quantization_aware_model(model):
    with pytest.raises(ValueError, match=r"'small' of type Sequential"):
        compiled(model).fit(X, Y, verbose=0, callbacks=[QuantizationSchedule()])


@pytest.mark.parametrize(
    "arguments",
    [{"begin_step": -1}, {"freeze_ranges_step": 0}, {"freeze_statistics_step": -2}],
)
def test_bad_steps(arguments):
    (name, step), *_ = arguments.items()
    with pytest.raises(ValueError, match=f"Received: {name}={step}"):
        QuantizationSchedule(**arguments)


def test_deployed_metrics_are_those_of_the_exported_file(model, tmp_path):
    q = compiled(tfc.quantize_aware(model))
    history = q.fit(X, Y, epochs=2, verbose=0, callbacks=[DeployedAccuracy((X, Y))]).history
    report = export_tflite(q, tmp_path / "m.tflite", validation_data=(X, Y)).report
    assert history["val_deployed_accuracy"][-1] == pytest.approx(report.agreement.metric)
    assert history["val_deployed_agreement"][-1] == pytest.approx(report.agreement.within_one)


def test_checkpoint_can_watch_what_will_ship(model, tmp_path):
    q = compiled(tfc.quantize_aware(model))
    best = keras.callbacks.ModelCheckpoint(
        tmp_path / "best.keras", monitor="val_deployed_accuracy", mode="max", save_best_only=True
    )
    q.fit(X, Y, epochs=2, verbose=0, callbacks=[DeployedAccuracy((X, Y)), best])
    assert keras.models.load_model(tmp_path / "best.keras").calibrated


def test_every_other_epoch_and_the_last(model):
    q = compiled(tfc.quantize_aware(model))
    deployed = DeployedAccuracy((X, Y), every=2, metrics=["sparse_categorical_crossentropy"])
    history = q.fit(X, Y, epochs=3, verbose=0, callbacks=[deployed]).history
    assert len(history["val_deployed_sparse_categorical_crossentropy"]) == 2


def test_float_model_after_training_quantization(model):
    deployed = DeployedAccuracy((X, Y), quantization="int8", representative_data=X)
    history = compiled(model).fit(X, Y, verbose=0, callbacks=[deployed]).history
    assert 0 <= history["val_deployed_accuracy"][0] <= 1


def test_bad_arguments():
    with pytest.raises(ValueError, match="data without labels"):
        DeployedAccuracy(X)
    with pytest.raises(ValueError, match="Received: every=0"):
        DeployedAccuracy((X, Y), every=0)
