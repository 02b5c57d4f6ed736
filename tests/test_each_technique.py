"""Every technique once, on the smallest model that shows it: what `make matrix` runs everywhere."""

import keras
import numpy as np
import pytest
from keras import layers as kl

import tfcompress as tfc
from exporters import export_tflite, inspect
from keras_callbacks import MagnitudePruning, QuantizationSchedule

GENERATOR = np.random.default_rng(0)
IMAGES = GENERATOR.normal(size=(32, 8, 8, 3)).astype("float32")
SEQUENCES = GENERATOR.normal(size=(32, 3, 3)).astype("float32")
LABELS = (IMAGES.mean((1, 2, 3)) > 0).astype("int32")


def convolutional():
    return keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            kl.Conv2D(4, 3, use_bias=False),
            kl.BatchNormalization(),
            kl.ReLU(),
            kl.GlobalAveragePooling2D(),
            kl.Dense(2),
        ]
    )


def fitted(model, callbacks=()):
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("adam", loss, metrics=["accuracy"], jit_compile=False)
    model.fit(IMAGES, LABELS, batch_size=8, callbacks=list(callbacks), verbose=0)
    return model


def largest_error(exported):
    """Return the largest difference between the outputs of a file and those of its model."""
    (output,) = exported.report.agreement.ran[0].outputs
    return output.largest * (output.step if output.unit == "LSB" else 1.0)


def kernel_of(model):
    return keras.ops.convert_to_numpy(model.layers[0].kernel)


@pytest.mark.parametrize("precision", ["float32", "float16", "dynamic", "int8", "int16x8"])
def test_after_training(precision, tmp_path):
    model = convolutional()
    integers = precision in ("int8", "int16x8")
    settings = {"representative_data": IMAGES} if integers else {}
    exported = export_tflite(
        model, tmp_path / "file", precision, validation_data=(IMAGES, LABELS), **settings
    )
    assert largest_error(exported) < 0.01
    assert inspect(exported.path).inputs[0].shape == (1, 8, 8, 3)


@pytest.mark.parametrize("kernels", ["xnnpack", "reference"])
def test_quantization_aware(kernels, tmp_path):
    model = tfc.quantize_aware(convolutional(), tfc.Scheme(kernels=kernels))
    fitted(model, callbacks=[QuantizationSchedule()])
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(
        again.predict(IMAGES, verbose=0), model.predict(IMAGES, verbose=0)
    )
    exported = export_tflite(again, tmp_path / "file", validation_data=IMAGES)
    (run,) = [run for run in exported.report.agreement.ran if run.kernels == kernels]
    assert run.outputs[0].equal == 1.0


@pytest.mark.parametrize("kind", ["recurrent", "attention"])
def test_recurrent_layers_and_attention(kind, tmp_path):
    x = keras.Input((3, 3))
    recurrent = kind == "recurrent"
    y = kl.Bidirectional(kl.LSTM(2))(x) if recurrent else kl.MultiHeadAttention(1, 2)(x, x)
    model = keras.Model(x, kl.Dense(2)(kl.Flatten()(y)))
    exported = export_tflite(
        model, tmp_path / "file", "int8", representative_data=SEQUENCES, validation_data=SEQUENCES
    )
    assert largest_error(exported) < 0.06


def test_pruning():
    schedule = tfc.ConstantSparsity(0.5, begin_step=0, frequency=1)
    callback = MagnitudePruning(schedule, sparsity_distribution="uniform")
    model = fitted(convolutional(), callbacks=[callback])
    assert np.count_nonzero(kernel_of(model)) == kernel_of(model).size // 2


def test_clustering():
    model = fitted(tfc.cluster_weights(convolutional(), 4))
    assert len(np.unique(kernel_of(model))) == 4


def test_distillation():
    teacher = convolutional()
    distiller = tfc.Distiller(convolutional(), teacher, losses=tfc.SoftLabels(temperature=2.0))
    before = kernel_of(distiller.student)
    fitted(distiller)
    assert not np.array_equal(kernel_of(distiller.student), before)
    np.testing.assert_array_equal(kernel_of(teacher), teacher.get_weights()[0])


def test_channels():
    model = convolutional()
    smaller = tfc.remove_channels(model, ratio=0.5)
    assert kernel_of(smaller).shape == (3, 3, 3, 2)
    assert smaller.predict(IMAGES, verbose=0).shape == (32, 2)


def test_mixed_precision(tmp_path):
    before = keras.mixed_precision.dtype_policy()
    keras.mixed_precision.set_dtype_policy("mixed_bfloat16")
    try:
        model = fitted(tfc.quantize_aware(convolutional()))
    finally:
        keras.mixed_precision.set_dtype_policy(before)
    exported = export_tflite(model, tmp_path / "file", validation_data=IMAGES)
    assert exported.report.agreement.within_one == 1.0
