"""Pruning a model inside the package's own wrappers prunes the user's kernels, and those alone."""

import keras
import numpy as np

import tfcompress as tfc
from keras_callbacks import MagnitudePruning


def make_model(units, name):
    return keras.Sequential(
        [
            keras.Input((8,)),
            keras.layers.Dense(units, activation="relu", name="hidden"),
            keras.layers.Dense(3, name="head"),
        ],
        name=name,
    )


def fit(model, *callbacks):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(40, 8)).astype("float32"), rng.integers(0, 3, 40)
    model.fit(x, y, batch_size=8, epochs=2, verbose=0, callbacks=list(callbacks))


def sparsities(model):
    return [float(np.mean(layer.kernel.numpy() == 0)) for layer in model.layers]


def compiled(model):
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model


def pruning(**arguments):
    schedule = tfc.PolynomialDecay(0.0, 0.75, begin_step=1, end_step=8, frequency=3)
    return MagnitudePruning(schedule, sparsity_distribution="uniform", **arguments)


def test_quantization_aware_model():
    model = make_model(16, "student")
    fit(compiled(tfc.quantize_aware(model)), pruning())
    assert sparsities(model) == [0.75, 0.75]


def test_distiller_leaves_the_teacher_alone():
    student, teacher = make_model(16, "student"), make_model(32, "teacher")
    before = teacher.get_weights()
    fit(compiled(tfc.Distiller(student, teacher)), pruning(layers="hidden", criterion="taylor"))
    assert sparsities(student) == [0.75, 0.0]
    for found, expected in zip(teacher.get_weights(), before, strict=True):
        np.testing.assert_array_equal(found, expected)


def test_pruned_then_quantized_stays_sparse():
    model = make_model(16, "student")
    fit(compiled(model), pruning())
    fit(compiled(tfc.quantize_aware(model)))
    assert sparsities(model) == [0.75, 0.75]
