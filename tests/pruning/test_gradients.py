import keras
import numpy as np
import pytest

from tfcompress.keras_graph.kernels import find_kernels
from tfcompress.pruning.criteria import Movement, Taylor
from tfcompress.pruning.pruner import GradientSums

X = np.array([[1.0, 2.0]], dtype="float32")
Y = np.array([[0.0]], dtype="float32")


def make_model(optimizer, **arguments):
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, use_bias=False)])
    model.compile(optimizer, "mse", **arguments)
    model.layers[0].kernel.assign([[3.0], [-1.0]])
    return model


def run(model, criterion, steps=1):
    sums = GradientSums(model, find_kernels(model), criterion)
    sums.attach(model.optimizer)
    data = X.repeat(steps, axis=0), Y.repeat(steps, axis=0)
    model.fit(*data, batch_size=1, verbose=0)
    sums.detach()
    return sums.read()[0].ravel()


# The output is 3 - 2 = 1, its gradient 2, and so the kernel's is (2, 4).
@pytest.mark.parametrize("jit_compile", [False, True])
def test_sums_by_hand(jit_compile):
    model = make_model(keras.optimizers.SGD(0.0), jit_compile=jit_compile)
    np.testing.assert_allclose(run(model, Taylor()), [36.0, 16.0])
    np.testing.assert_allclose(run(make_model(keras.optimizers.SGD(0.0)), Movement()), [-6.0, 4.0])


def test_sums_over_steps():
    model = make_model(keras.optimizers.SGD(0.0), steps_per_execution=2)
    np.testing.assert_allclose(run(model, Movement(), steps=5), [-30.0, 20.0])


def test_sums_what_the_optimizer_applies():
    # Accumulated over four steps and averaged: one update of the same size.
    accumulating = keras.optimizers.SGD(0.0, gradient_accumulation_steps=4)
    np.testing.assert_allclose(run(make_model(accumulating), Taylor(), steps=4), [36.0, 16.0])
    scaled = keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.0))
    np.testing.assert_allclose(run(make_model(scaled), Taylor()), [36.0, 16.0])


def test_leaves_the_optimizer_as_it_was():
    optimizer = keras.optimizers.SGD(0.1)
    before = set(optimizer.__dict__)
    model = make_model(optimizer)
    run(model, Taylor())
    assert "update_step" not in optimizer.__dict__
    assert set(optimizer.__dict__) >= before
    # The update itself was passed on: 3 - 0.1 * 2 and -1 - 0.1 * 4.
    np.testing.assert_allclose(model.layers[0].kernel.numpy().ravel(), [2.8, -1.4])


def test_sparse_gradients_of_an_embedding():
    model = keras.Sequential(
        [keras.Input((1,), dtype="int32"), keras.layers.Embedding(3, 1), keras.layers.Flatten()]
    )
    model.compile(keras.optimizers.SGD(0.0), "mse")
    model.layers[0].embeddings.assign([[5.0], [2.0], [7.0]])
    sums = GradientSums(model, find_kernels(model), Taylor())
    sums.attach(model.optimizer)
    model.fit(np.array([[1]]), Y, verbose=0)
    # The gradient of row 1 is 2 * 2, its product with the weight 8.
    np.testing.assert_allclose(sums.read()[0].ravel(), [0.0, 64.0, 0.0])
