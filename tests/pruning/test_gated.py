import keras
import numpy as np
import pytest
from keras import layers as kl

import tfcompress as tfc
from tfcompress.keras_graph.channels import read_channels
from tfcompress.pruning.hard_concrete import OPEN


def residual():
    """A residual connection, a depthwise convolution and normalizations, randomly filled."""
    inputs = keras.Input((6, 6, 3))
    x = kl.BatchNormalization()(kl.Conv2D(8, 3, padding="same", name="stem")(inputs))
    y = kl.ReLU()(kl.BatchNormalization()(kl.Conv2D(12, 1, name="wide")(x)))
    y = kl.BatchNormalization()(kl.DepthwiseConv2D(3, padding="same", name="dw")(y))
    x = kl.Add()([x, kl.Conv2D(8, 1, name="narrow")(y)])
    model = keras.Model(inputs, kl.Dense(4, name="head")(kl.GlobalAveragePooling2D()(x)))
    generator = np.random.default_rng(0)
    for variable in model.weights:
        low = 0.5 if variable.name in ("gamma", "moving_variance") else -0.5
        variable.assign(generator.uniform(low, low + 1.0, variable.shape))
    return model


def recurrent():
    inputs = keras.Input((5, 3))
    x = kl.MultiHeadAttention(4, 2, name="heads")(*[kl.Dense(6, name="dense")(inputs)] * 2)
    return keras.Model(inputs, kl.Dense(2, name="head")(kl.LSTM(8, name="lstm")(x)))


def examples(model):
    shape = (4, *model.input_shape[1:])
    return np.random.default_rng(1).normal(size=shape).astype("float32")


def set_gates(wrapped, *logits):
    for variable, values in zip(wrapped._scaled, logits, strict=True):
        variable.assign(np.asarray(values) / wrapped.rate)


@pytest.mark.parametrize("groups", ["channel", "element"])
def test_starts_as_the_model_itself(groups):
    model = residual()
    wrapped = tfc.gated(model, 0.5, groups)
    np.testing.assert_allclose(wrapped(examples(model)), model(examples(model)), rtol=1e-5)
    assert wrapped.closed == 0.0


@pytest.mark.parametrize("make", [residual, recurrent])
def test_the_folded_model_is_smaller_and_computes_what_the_gates_did(make):
    model = make()
    wrapped = tfc.gated(model, 0.5)
    count = wrapped._scaled[0].shape[0]
    logits = np.random.default_rng(2).permutation(np.linspace(-2.0, 2.0, count))
    # Closed in evaluation as they will be when folded.
    logits = np.where(logits < 0, -OPEN, logits)
    set_gates(wrapped, logits)
    smaller = wrapped.fold()
    x = examples(model)
    np.testing.assert_allclose(smaller(x), wrapped(x), rtol=1e-4, atol=1e-5)
    left = sum(map(len, (group for group in read_channels(smaller).groups)))
    assert left == count - round(count / 2)
    assert read_channels(smaller).macs() < 0.6 * read_channels(model).macs()


def test_a_residual_connection_shares_its_gates():
    model = residual()
    wrapped = tfc.gated(model, 0.5)
    assert wrapped._scaled[0].shape == (8 + 12,)  # stem and narrow are tied; head is the output
    assert tfc.gated(model, 0.5, layers="stem")._scaled[0].shape == (8,)


def test_every_layer_keeps_a_channel():
    wrapped = tfc.gated(residual(), 0.85)
    set_gates(wrapped, [-OPEN] * 8 + [OPEN] * 12)
    smaller = wrapped.fold()
    assert smaller.get_layer("stem").filters == 1
    assert smaller.get_layer("wide").filters == 2  # 17 of 20 are gone


def test_folded_elements_are_zero_and_exactly_so_many():
    model = residual()
    wrapped = tfc.gated(model, 0.75, "element")
    logits = [np.random.default_rng(3).normal(size=v.shape) for v in wrapped._scaled]
    set_gates(wrapped, *logits)
    folded = wrapped.fold()
    kernels = [folded.get_layer(n).kernel.numpy() for n in ("stem", "wide", "narrow", "head")]
    size = sum(kernel.size for kernel in kernels)
    zeros = sum(np.count_nonzero(kernel == 0) for kernel in kernels)
    assert zeros == round(0.75 * size)
    np.testing.assert_array_equal(folded.get_layer("dw").kernel, model.get_layer("dw").kernel)
    gate = 1 / (1 + np.exp(-logits[0].max())) * 1.2 - 0.1
    place = np.unravel_index(logits[0].argmax(), logits[0].shape)
    original = model.get_layer("stem").kernel.numpy()[place]
    assert kernels[0][place] == pytest.approx(original * min(gate, 1.0), rel=1e-5)


def problem(outputs=2):
    """Three of twenty inputs explain the outputs."""
    generator = np.random.default_rng(0)
    x = generator.normal(size=(200, 20)).astype("float32")
    truth = np.zeros((20, outputs), "float32")
    truth[[2, 7, 11]] = generator.choice([-2.0, -1.5, 1.5, 2.0], (3, outputs))
    return x, x @ truth, truth


def test_learns_which_weights_matter():
    x, y, truth = problem()
    model = keras.Sequential([keras.Input((20,)), kl.Dense(2, use_bias=False)])
    # As dense training leaves it: all weights are there, few matter.
    model.set_weights([truth + np.random.default_rng(4).normal(size=truth.shape) / 4])
    wrapped = tfc.gated(model, 0.85, "element")
    wrapped.compile(keras.optimizers.Adam(0.003), "mse")
    wrapped.fit(x, y, 20, epochs=80, verbose=0)
    assert wrapped.closed == pytest.approx(0.85, abs=0.05)  # the controller, before folding
    folded = wrapped.fold()
    np.testing.assert_array_equal(folded.layers[0].kernel.numpy() != 0, truth != 0)


def test_learns_which_channels_matter_and_goes_on_training():
    x, y, _ = problem()
    model = keras.Sequential(
        [keras.Input((20,)), kl.Dense(16, activation="tanh", name="body"), kl.Dense(2)]
    )
    wrapped = tfc.gated(model, 0.75, gain=0.1)
    wrapped.compile(keras.optimizers.Adam(0.01), "mse", steps_per_execution=5)
    wrapped.fit(x, y, 20, epochs=60, verbose=0)
    # 16 gates: the controller stays within two of them.
    assert wrapped.closed == pytest.approx(0.75, abs=0.13)
    smaller = wrapped.fold()
    assert smaller.get_layer("body").units == 4
    smaller.compile("adam", "mse")
    smaller.fit(x, y, verbose=0)


def test_saved_and_loaded(tmp_path):
    x, y, _ = problem()
    model = keras.Sequential([keras.Input((20,)), kl.Dense(6, name="body"), kl.Dense(2)])
    wrapped = tfc.gated(model, 0.5, layers="body")
    wrapped.compile("adam", "mse")
    wrapped.fit(x, y, verbose=0)
    wrapped.save(tmp_path / "gated.keras")
    loaded = keras.saving.load_model(tmp_path / "gated.keras")
    np.testing.assert_allclose(loaded.predict(x, verbose=0), wrapped.predict(x, verbose=0))
    np.testing.assert_array_equal(loaded.fold()(x), wrapped.fold()(x))
    loaded.fit(x, y, verbose=0)


def test_works_in_a_step_that_xla_compiles():
    model = residual()
    wrapped = tfc.gated(model, 0.5, initial_strength=3.0)
    wrapped.compile(keras.optimizers.Adam(0.01), "mse", jit_compile=True)
    x = np.random.default_rng(1).normal(size=(32, 6, 6, 3)).astype("float32")
    wrapped.fit(x, np.zeros((32, 4)), 4, 4, verbose=0)
    assert wrapped.closed > 0.1
    assert read_channels(wrapped.fold()).macs() < read_channels(model).macs()


def test_works_in_mixed_precision():
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = residual()
        wrapped = tfc.gated(model, 0.5)
        wrapped.compile("sgd", "mse")
        wrapped.fit(examples(model), np.zeros((4, 4)), verbose=0)
        assert wrapped.fold().get_layer("stem").kernel.dtype == "float32"
    finally:
        keras.config.set_dtype_policy("float32")


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"sparsity": 1.0}, "sparsity=1.0"),
        ({"groups": "rows"}, "groups='rows'"),
        ({"rate": 0}, "rate=0"),
        ({"gain": -1}, "gain=-1"),
        ({"initial_strength": 0}, "initial_strength=0"),
        ({"layers": "nothing"}, "matches no layer"),
        ({"layers": "head"}, "their channels are the model's outputs"),
    ],
)
def test_refuses_what_cannot_be(how, message):
    with pytest.raises(ValueError, match=message):
        tfc.gated(residual(), **{"sparsity": 0.5, **how})


def test_refuses_a_subclassed_model_and_a_second_wrapper():
    class Own(keras.Model):
        def call(self, x):
            return x

    with pytest.raises(ValueError, match="subclassed"):
        tfc.gated(Own(), 0.5)
    with pytest.raises(ValueError, match="gates already"):
        tfc.gated(tfc.gated(residual(), 0.5), 0.5)
