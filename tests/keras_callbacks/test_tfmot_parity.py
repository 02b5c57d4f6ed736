"""The same weights, pruned by TFMOT on tf_keras and by MagnitudePruning on Keras 3."""

import keras
import numpy as np
import pytest
import tfmot_masks
from started_script import run_script

from keras_callbacks import MagnitudePruning
from tfcompress.pruning import Block, ConstantSparsity, PolynomialDecay

pytestmark = pytest.mark.process

RNG = np.random.default_rng(0)
KERNELS = {
    "dense": RNG.normal(size=(24, 16)).astype("float32"),
    "conv": RNG.normal(size=(3, 3, 5, 8)).astype("float32"),
}


@pytest.fixture(scope="module")
def theirs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tfmot")
    np.savez(folder / "in.npz", **KERNELS)
    result = run_script(tfmot_masks.__file__, folder / "in.npz", folder / "out.npz")
    assert result.returncode == 0, result.stderr[-2000:]
    with np.load(folder / "out.npz") as arrays:
        return dict(arrays)


def ours(kernel, sparsity, pattern="element"):
    if kernel.ndim == 2:
        shape, layer = kernel.shape[:1], keras.layers.Dense(kernel.shape[1], use_bias=False)
    else:
        shape = kernel.shape[:3]
        layer = keras.layers.Conv2D(kernel.shape[3], kernel.shape[:2], use_bias=False)
    model = keras.Sequential([keras.Input(shape), layer])
    model.set_weights([kernel])
    model.compile(keras.optimizers.SGD(0.0), "mse")
    x = np.ones((1, *shape), "float32")
    pruning = MagnitudePruning(ConstantSparsity(sparsity, begin_step=0), pattern=pattern)
    model.fit(x, model.predict(x, verbose=0), verbose=0, callbacks=[pruning])
    return layer.kernel.numpy()


# Where the sparsity times the weights is a whole number; halves are rounded differently.
@pytest.mark.parametrize("sparsity", [0.5, 0.75])
@pytest.mark.parametrize("kernel", KERNELS)
def test_single_weights(theirs, kernel, sparsity):
    np.testing.assert_array_equal(ours(KERNELS[kernel], sparsity), theirs[f"{kernel} {sparsity}"])


def test_rounding(theirs):
    # 0.9 of 384 is 345.6.
    found = ours(KERNELS["dense"], 0.9)
    np.testing.assert_array_equal(found, theirs["dense 0.9"])
    assert np.count_nonzero(found == 0) == 346


@pytest.mark.parametrize(("pooling", "name"), [("average", "AVG"), ("max", "MAX")])
def test_blocks(theirs, pooling, name):
    found = ours(KERNELS["dense"], 0.5, Block((1, 4), pooling))
    np.testing.assert_array_equal(found, theirs[f"block {name}"])


def test_two_of_four(theirs):
    np.testing.assert_array_equal(ours(KERNELS["dense"], 0.5, "2:4"), theirs["2:4"])


def test_their_schedules_are_accepted(theirs):
    expected = ours(KERNELS["dense"], 0.75)
    np.testing.assert_array_equal(theirs["their constant"], expected)
    np.testing.assert_array_equal(theirs["their polynomial"], expected)


def test_our_schedule_gives_their_values(theirs):
    schedule = PolynomialDecay(0.25, 0.75, begin_step=2, end_step=9, power=2)
    values = [schedule(step) for step in range(2, 12)]
    np.testing.assert_allclose(values, theirs["their values"], rtol=1e-6)
