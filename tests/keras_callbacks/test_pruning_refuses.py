"""Bad input is refused before the first training step, with the layer and the value."""

import keras
import numpy as np
import pytest

from keras_callbacks import MagnitudePruning
from tfcompress.pruning import Block, ConstantSparsity, OneCycle, PolynomialDecay

HALF = ConstantSparsity(0.5, begin_step=1)


class StepCounter(keras.callbacks.Callback):
    steps = 0

    def on_train_batch_begin(self, batch, logs=None):
        StepCounter.steps += 1


def make_model():
    model = keras.Sequential(
        [
            keras.Input((6,)),
            keras.layers.Dense(8, name="body"),
            keras.layers.BatchNormalization(name="norm"),
            keras.layers.Dense(4, name="head"),
        ]
    )
    model.compile("sgd", "mse")
    return model


def refused(model, *callbacks):
    """Return the error that fit raises, after checking that no step was made."""
    StepCounter.steps = 0
    before = [weight.copy() for weight in model.get_weights()]
    with pytest.raises((ValueError, TypeError)) as raised:
        model.fit(
            np.ones((4, 6), "float32"),
            np.ones((4, 4), "float32"),
            verbose=0,
            callbacks=[*callbacks, StepCounter()],
        )
    assert StepCounter.steps == 0
    for found, expected in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(found, expected)
    return str(raised.value)


@pytest.mark.parametrize("sparsity", [-0.1, 1.0, float("nan")])
def test_sparsity_outside_the_range(sparsity):
    with pytest.raises(ValueError, match=rf"`target_sparsity`.*\[0, 1\).*{sparsity}"):
        ConstantSparsity(sparsity, begin_step=0)


def test_begin_after_end():
    with pytest.raises(ValueError, match="begin_step=20, end_step=10"):
        PolynomialDecay(0.0, 0.5, begin_step=20, end_step=10)
    late = MagnitudePruning(PolynomialDecay(0.0, 0.5, begin_step=20))
    assert "ends at step 1, before PolynomialDecay begins" in refused(make_model(), late)


@pytest.mark.parametrize("layers", ["tail", ["body", "tail"], lambda layer: False])
def test_selector_that_matches_nothing(layers):
    message = refused(make_model(), MagnitudePruning(HALF, layers=layers))
    assert "tail" in message or "matches no layer" in message
    assert "Received: layers=" in message


def test_selector_of_layers_without_kernels():
    message = refused(make_model(), MagnitudePruning(HALF, layers="norm"))
    assert "selects no kernel" in message
    assert "layers='norm'" in message


def test_n_of_m_that_does_not_divide_the_axis():
    message = refused(make_model(), MagnitudePruning(HALF, pattern="2:4"))
    assert "axis 0 of kernel 'body/kernel' has 6 weights" in message


def test_n_of_m_at_another_sparsity():
    schedule = ConstantSparsity(0.6, begin_step=1)
    message = refused(make_model(), MagnitudePruning(schedule, layers="head", pattern="2:4"))
    assert "a sparsity of 0.5" in message
    assert "final sparsity of 0.6" in message


def test_block_with_too_many_axes():
    message = refused(make_model(), MagnitudePruning(HALF, pattern=Block((3, 3, 1, 1))))
    assert "'body/kernel' has 2 axes" in message


def test_unbuilt_model():
    model = keras.Sequential([keras.layers.Dense(4, name="head")], name="student")
    model.compile("sgd", "mse")
    message = refused(model, MagnitudePruning(HALF))
    assert "Model 'student' is not built" in message


def test_frozen_layer():
    model = make_model()
    model.get_layer("body").trainable = False
    model.compile("sgd", "mse")
    message = refused(model, MagnitudePruning(HALF))
    assert "Layer 'body' is frozen" in message
    assert "Received: trainable=False" in message
    message = refused(model, MagnitudePruning(HALF, layers=["body"]))
    assert "Layer 'body' is frozen" in message


def test_layer_in_a_frozen_model():
    inner = keras.Sequential([keras.Input((6,)), keras.layers.Dense(4, name="body")], name="inner")
    model = keras.Sequential([keras.Input((6,)), inner, keras.layers.Dense(4, name="head")])
    inner.trainable = False
    inner.get_layer("body").trainable = True
    model.compile("sgd", "mse")
    message = refused(model, MagnitudePruning(HALF))
    assert "Layer 'inner/body' is frozen within 'inner'" in message


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers(value):
    model = make_model()
    kernel = model.get_layer("head").kernel.numpy()
    kernel[1, 2] = value
    model.get_layer("head").kernel.assign(kernel)
    message = refused(model, MagnitudePruning(HALF))
    assert "Kernel 'head/kernel' holds 1 NaN or infinite weights" in message
    assert f"Received: {value}" in message


def test_training_that_diverges_says_so():
    model = make_model()
    model.compile(keras.optimizers.SGD(1e30), "mse")
    with pytest.raises(ValueError, match="the training has diverged"):
        model.fit(
            np.ones((80, 6)),
            np.ones((80, 4)),
            batch_size=4,
            verbose=0,
            callbacks=[MagnitudePruning(ConstantSparsity(0.5, 0, frequency=5))],
        )


def test_two_callbacks_on_one_kernel():
    callbacks = [MagnitudePruning(HALF, layers=name) for name in ("body", "body|head")]
    message = refused(make_model(), *callbacks)
    assert "Two callbacks cannot set the sparsity of the same kernel" in message
    assert "body/kernel" in message


def test_gradients_before_the_first_batch():
    with pytest.raises(ValueError, match=r"Taylor.*begin_step=0"):
        MagnitudePruning(ConstantSparsity(0.5, begin_step=0), criterion="taylor")


@pytest.mark.parametrize(
    ("arguments", "fragments"),
    [
        ({"scope": "model"}, ["'layer', 'global'", "scope='model'"]),
        ({"sparsity_distribution": "even"}, ["'uniform', 'erk', 'lamp'", "distribution='even'"]),
        ({"layer_sparsity": {"tail": 0.5}}, ["matches no layer", "'tail'"]),
        (
            {"layer_sparsity": {"norm": 0.5}},
            ["selects no pruned kernel", "body/kernel, head/kernel"],
        ),
        ({"layer_sparsity": {"head": 1.0}}, ["`layer_sparsity` must lie in [0, 1)", "1.0"]),
        ({"layer_sparsity": [0.5]}, ["`layer_sparsity` must be a number or a mapping", "list"]),
        ({"min_sparsity": 0.5}, ["scope='global'", "min_sparsity=0.5"]),
        (
            {"scope": "global", "layer_sparsity": 0.5},
            ["`min_sparsity` and", "layer_sparsity=0.5"],
        ),
        (
            {"scope": "global", "sparsity_distribution": "erk"},
            ["scope='layer'", "distribution='erk'"],
        ),
        ({"scope": "global", "min_sparsity": 0.6}, ["from 0.6 to 1", "ends at 0.5"]),
        ({"scope": "global", "max_sparsity": 0.4}, ["from 0 to 0.4", "peaks at 0.5"]),
        (
            {"scope": "global", "min_sparsity": {"head": 0.5}, "max_sparsity": {"head": 0.4}},
            ["'head/kernel'", "min_sparsity=0.5, max_sparsity=0.4"],
        ),
        (
            {"sparsity_distribution": "lamp", "layer_sparsity": 0.5},
            ["'lamp' computes it: use one of them", "layer_sparsity=0.5"],
        ),
        (
            {"sparsity_distribution": "erk", "pattern": "1:2"},
            ["sparsity_distribution='uniform'", "NofM(n=1, m=2"],
        ),
    ],
)
def test_arguments_that_do_not_go_together(arguments, fragments):
    message = refused(make_model(), MagnitudePruning(HALF, **arguments))
    for fragment in fragments:
        assert fragment in message


def test_target_that_a_peak_scales_beyond_1():
    cycle = OneCycle(0.0, 0.9, 0.5, begin_step=0)
    message = refused(make_model(), MagnitudePruning(cycle, layer_sparsity={"head": 0.6}))
    assert "'head/kernel'" in message
    assert "a sparsity of 1.08" in message


def test_model_without_an_optimizer():
    class Custom(keras.Model):
        def __init__(self):
            super().__init__(name="custom")
            self.head = keras.layers.Dense(4)

        def call(self, x):
            return self.head(x)

        def train_step(self, data):
            return {}

    model = Custom()
    model(np.ones((1, 6)))
    model.compile(optimizer=None, loss="mse")
    message = refused(model, MagnitudePruning(HALF))
    assert "Model 'custom' is compiled without an optimizer" in message


def test_kernels_of_lora_and_of_keras_quantization():
    model = make_model()
    model.get_layer("body").enable_lora(2)
    assert "Layer 'body' has LoRA enabled" in refused(model, MagnitudePruning(HALF))
    model = make_model()
    model.get_layer("head").quantize("int8")
    assert "Layer 'head' was quantized by Keras" in refused(model, MagnitudePruning(HALF))
