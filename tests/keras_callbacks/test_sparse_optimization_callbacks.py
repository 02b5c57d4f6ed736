import keras
import numpy as np
import pytest

from keras_callbacks import IterativeHardThresholding, ProximalL1, SparsityRegularization
from tfcompress.pruning import ConstantSparsity, PolynomialDecay

INPUTS = 20


def sparse_problem():
    """Return data that three of twenty inputs explain: the setting of compressed sensing."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, INPUTS)).astype("float32")
    truth = np.zeros((INPUTS, 2), "float32")
    truth[[2, 7, 11]] = [[1.0, -2.0], [-1.5, 1.0], [2.0, 1.5]]
    return x, x @ truth, truth


def make_model(optimizer):
    model = keras.Sequential([keras.Input((INPUTS,)), keras.layers.Dense(2, use_bias=False)])
    model.compile(optimizer, "mse")
    return model


def fit(callback, optimizer=None, epochs=60):
    x, y, truth = sparse_problem()
    model = make_model(optimizer or keras.optimizers.SGD(0.05))
    history = model.fit(x, y, batch_size=20, epochs=epochs, verbose=0, callbacks=[callback])
    return model.layers[0].kernel, truth, history.history["sparsity"]


SCHEDULE = PolynomialDecay(0.0, 0.85, begin_step=0, end_step=150, frequency=5)


@pytest.mark.parametrize(
    "callback",
    [
        IterativeHardThresholding(ConstantSparsity(0.85, 10, end_step=150, frequency=5)),
        ProximalL1(SCHEDULE),
        SparsityRegularization(SCHEDULE, initial_strength=0.01),
    ],
)
def test_recovers_the_sparse_solution_exactly(callback):
    kernel, truth, sparsity = fit(callback)
    np.testing.assert_array_equal(kernel.numpy() != 0, truth != 0)  # 34 of 40 are zero
    np.testing.assert_allclose(kernel.numpy(), truth, atol=1e-3)
    assert sparsity[-1] == pytest.approx(0.85)


def test_hard_thresholding_lets_weights_come_back():
    x, y, truth = sparse_problem()
    model = make_model(keras.optimizers.SGD(0.05))
    # The three rows that matter are the smallest: plain magnitude pruning would mask them for good.
    start = np.where(truth != 0, 0.01, 0.5).astype("float32")
    model.layers[0].kernel.assign(start)
    iht = IterativeHardThresholding(ConstantSparsity(0.85, 0, end_step=150, frequency=10))
    model.fit(x, y, batch_size=20, epochs=60, verbose=0, callbacks=[iht])
    np.testing.assert_allclose(model.layers[0].kernel.numpy(), truth, atol=1e-3)


def test_proximal_steps_make_exact_zeros_inside_the_compiled_step():
    # A large strength and no target to relax it: everything shrinks to zero.
    callback = ProximalL1(ConstantSparsity(0.8, 9, end_step=10**6), initial_strength=100.0)
    with pytest.warns(UserWarning, match="ends at step 10"):
        kernel, _, _ = fit(callback, epochs=1)
    assert not kernel.numpy().any()


def test_controller_lands_near_the_target_before_the_masks_do():
    schedule = ConstantSparsity(0.6, begin_step=0, end_step=10**6, frequency=5)
    with pytest.warns(UserWarning, match="ends at step 400"):
        kernel, _, sparsity = fit(ProximalL1(schedule, initial_strength=1.0), epochs=40)
    # 40 weights: the controller swings by a few of them.
    assert np.mean(sparsity[-10:]) == pytest.approx(0.6, abs=0.1)
    assert kernel.constraint.mask.numpy().all()


def test_group_penalty_silences_whole_channels():
    x, y, _ = sparse_problem()
    model = keras.Sequential(
        [
            keras.Input((INPUTS,)),
            keras.layers.Dense(8, activation="tanh", name="body", kernel_regularizer="l2"),
            keras.layers.Dense(2, name="head"),
        ]
    )
    model.compile(keras.optimizers.SGD(0.01), "mse")
    schedule = PolynomialDecay(0.0, 0.75, begin_step=0, end_step=165, frequency=5)
    lasso = SparsityRegularization(schedule, "body", groups="channel", initial_strength=0.05)
    history = model.fit(x, y, batch_size=20, epochs=20, verbose=0, callbacks=[lasso]).history
    # The penalty alone has landed on the target, at step 160, before the masks make it exact.
    assert history["sparsity"][15] == pytest.approx(0.75, abs=0.125)
    body = model.get_layer("body").kernel
    np.testing.assert_array_equal(
        np.sort(np.count_nonzero(body.numpy(), axis=0)), [0] * 6 + [20] * 2
    )
    # The user's own regularizer is back where it was.
    assert isinstance(body.regularizer, keras.regularizers.L2)
    assert lasso.strength == 0.0


def test_leaves_the_users_constraint():
    callback = ProximalL1(ConstantSparsity(0.5, 0, frequency=100))
    kernel, _, _ = fit(callback, epochs=2)
    assert kernel.constraint.constraint is None
    assert np.count_nonzero(kernel.numpy()) == 20


@pytest.mark.parametrize("jit_compile", [False, True])
def test_steps_per_execution_and_compilation(jit_compile):
    x, y, _ = sparse_problem()
    for callback in (
        ProximalL1(ConstantSparsity(0.5, 0)),
        SparsityRegularization(ConstantSparsity(0.5, 0)),
        IterativeHardThresholding(ConstantSparsity(0.5, 0)),
    ):
        model = make_model("adam")
        model.compile("adam", "mse", steps_per_execution=3, jit_compile=jit_compile)
        model.fit(x, y, batch_size=20, verbose=0, callbacks=[callback])
        assert np.count_nonzero(model.layers[0].kernel.numpy()) == 20


def test_refuses_what_cannot_be():
    schedule = ConstantSparsity(0.5, 0)
    with pytest.raises(ValueError, match="initial_strength=0"):
        ProximalL1(schedule, initial_strength=0)
    with pytest.raises(ValueError, match="gain=-1"):
        ProximalL1(schedule, gain=-1)
    with pytest.raises(ValueError, match="groups='rows'"):
        SparsityRegularization(schedule, groups="rows")
    with pytest.raises(ValueError, match="tolerance=0"):
        SparsityRegularization(schedule, tolerance=0)


SHORT = PolynomialDecay(0.0, 0.75, begin_step=0, end_step=200, frequency=7)


@pytest.mark.parametrize(
    "callback",
    [IterativeHardThresholding(SHORT), ProximalL1(SHORT), SparsityRegularization(SHORT)],
)
def test_a_short_fit_ends_at_the_sparsity_of_its_last_step(callback):
    # 0.75 (1 - 0.9^3) = 0.20325, of 40 weights 8; more by ProximalL1 if it shrank more to zero.
    with pytest.warns(UserWarning, match=r"at a sparsity of 0\.2032 instead of 0\.75"):
        kernel, _, sparsity = fit(callback, epochs=2)
    assert np.count_nonzero(kernel.numpy() == 0) == 8
    assert sparsity[-1] == pytest.approx(0.2)
    assert kernel.constraint.mask.numpy().all()
