import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_callbacks import MagnitudePruning
from tfcompress.keras_graph.kernels import find_kernels
from tfcompress.pruning import ConstantSparsity, MaskConstraint, PolynomialDecay, remove_masks

STEPS = 10  # an epoch of 80 examples in batches of 8


def evenly(schedule, **arguments):
    """Prune each kernel to the same sparsity."""
    return MagnitudePruning(schedule, sparsity_distribution="uniform", **arguments)


def make_model(optimizer="adam", **compile_arguments):
    model = keras.Sequential(
        [
            keras.layers.Input((8,)),
            keras.layers.Dense(16, activation="tanh", name="hidden"),
            keras.layers.Dense(3, name="head"),
        ]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer, loss, **compile_arguments)
    return model


def fit(model, *callbacks, epochs=3, shape=(8,), **arguments):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(80, *shape)).astype("float32")
    y = rng.integers(0, 3, size=80)
    return model.fit(
        x, y, batch_size=8, epochs=epochs, verbose=0, callbacks=list(callbacks), **arguments
    )


def zeros(model):
    return [int(np.count_nonzero(kernel.variable.numpy() == 0)) for kernel in find_kernels(model)]


def expected(model, sparsity):
    return [round(kernel.size * sparsity) for kernel in find_kernels(model)]


class ZerosPerStep(keras.callbacks.Callback):
    def __init__(self):
        super().__init__()
        self.history = []

    def on_train_batch_end(self, batch, logs=None):
        self.history.append(zeros(self.model))


@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize("steps_per_execution", [1, 4])
def test_hits_the_target_to_the_last_weight(jit_compile, steps_per_execution):
    model = make_model(jit_compile=jit_compile, steps_per_execution=steps_per_execution)
    schedule = PolynomialDecay(0.0, 0.75, begin_step=3, end_step=21, frequency=7)
    fit(model, evenly(schedule))
    assert zeros(model) == [96, 36]


def test_runs_eagerly():
    model = make_model(run_eagerly=True)
    fit(model, evenly(ConstantSparsity(0.75, begin_step=4)), epochs=1)
    assert zeros(model) == [96, 36]


def test_follows_the_schedule_step_by_step():
    model = make_model()
    schedule = PolynomialDecay(0.0, 0.5, begin_step=4, end_step=15, power=1, frequency=5)
    seen = ZerosPerStep()
    fit(model, evenly(schedule), seen, epochs=2)
    updates = {4: 0.0, 9: schedule(9), 14: schedule(14), 15: 0.5}
    sparsity = 0.0
    for step, found in enumerate(seen.history, start=1):
        sparsity = updates.get(step, sparsity)
        assert found == expected(model, sparsity), step


def test_constant_sparsity_from_step_0_masks_before_the_first_batch():
    model = make_model(optimizer=keras.optimizers.SGD(0.0))
    before = model.get_layer("hidden").kernel.numpy()
    fit(model, evenly(ConstantSparsity(0.5, begin_step=0)), epochs=1)
    after = model.get_layer("hidden").kernel.numpy()
    kept = np.abs(before) > np.sort(np.abs(before).ravel())[63]
    np.testing.assert_array_equal(after, np.where(kept, before, 0))


def test_masked_weights_stay_zero_and_the_others_learn():
    model = make_model()
    seen = ZerosPerStep()
    fit(model, evenly(ConstantSparsity(0.5, 0, end_step=0)), seen, epochs=2)
    assert seen.history == [[64, 24]] * 20
    kernel = model.get_layer("head").kernel
    mask = kernel.constraint.mask.numpy()
    before = kernel.numpy()
    fit(model)  # a later fit, without the callback, keeps the masks
    assert not kernel.numpy()[~mask].any()
    assert (kernel.numpy()[mask] != before[mask]).all()


@pytest.mark.parametrize("step", [1, 12, 20])
def test_end_of_training_is_reached_when_training_stops_early(step):
    class Stop(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            self.model.stop_training = self.model.optimizer.iterations >= step

    model = make_model()
    fit(model, evenly(PolynomialDecay(0.0, 0.75, begin_step=2, frequency=6)), Stop())
    assert zeros(model) == [96, 36]


def test_needs_an_end_when_the_length_is_unknown():
    def batches():
        for _ in range(5):
            yield np.ones((4, 8), "float32"), np.zeros(4, "int32")

    with pytest.raises(ValueError, match=r"`steps_per_epoch`.*`end_step`"):
        make_model().fit(batches(), verbose=0, callbacks=[evenly(PolynomialDecay(0, 0.5, 0))])
    model = make_model()
    model.fit(batches(), verbose=0, callbacks=[evenly(ConstantSparsity(0.5, 2))])
    assert zeros(model) == [64, 24]


def test_warns_when_the_fit_ends_before_the_schedule():
    model = make_model()
    schedule = PolynomialDecay(0.0, 0.8, begin_step=0, end_step=40, power=1, frequency=10)
    pruning = evenly(schedule)
    with pytest.warns(UserWarning, match=r"ends at step 40.*ends at step 20.*0\.4 instead of 0\.8"):
        fit(model, pruning, epochs=2)
    assert zeros(model) == expected(model, 0.4)
    fit(model, pruning, epochs=2)  # the same callback goes on where it stopped
    assert zeros(model) == expected(model, 0.8)


def test_steps_count_from_the_start_of_pruning():
    model = make_model()
    fit(model)  # 30 steps, dense
    pruning = evenly(PolynomialDecay(0.0, 0.75, begin_step=5, end_step=25, frequency=1))
    seen = ZerosPerStep()
    fit(model, pruning, seen)
    assert seen.history[4] == [0, 0]
    assert seen.history[5] != [0, 0]
    assert seen.history[24] == seen.history[-1] == [96, 36]


def test_goes_on_under_a_new_optimizer():
    model = make_model()
    pruning = evenly(PolynomialDecay(0.0, 0.75, 0, end_step=20, frequency=1))
    with pytest.warns(UserWarning, match="ends at step 20"):
        fit(model, pruning, epochs=1)
    model.compile("sgd", model.loss)
    fit(model, pruning, epochs=1)
    assert zeros(model) == [96, 36]


def test_traces_the_step_anew_only_for_new_masks():
    traces = []

    class Traced(keras.Model):
        def train_step(self, data):
            traces.append(1)
            return super().train_step(data)

    inputs = keras.Input((8,))
    model = Traced(inputs, keras.layers.Dense(3, name="head")(inputs))
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    fit(model, epochs=1)
    traces.clear()
    fit(model, evenly(ConstantSparsity(0.5, 0)))
    assert (zeros(model), len(traces)) == ([12], 1)
    fit(model, evenly(ConstantSparsity(0.75, 0)))
    assert (zeros(model), len(traces)) == ([18], 1)


@pytest.mark.parametrize("checkpoint_first", [True, False])
@pytest.mark.parametrize("save_freq", ["epoch", 5])
@pytest.mark.parametrize("extension", [".keras", ".weights.h5"])
def test_every_checkpoint_is_sparse(tmp_path, checkpoint_first, save_freq, extension):
    model = make_model()
    schedule = PolynomialDecay(0.0, 0.75, begin_step=0, end_step=30, frequency=5)
    callbacks = [
        evenly(schedule),
        keras.callbacks.ModelCheckpoint(
            str(tmp_path / ("at_{epoch}_{batch}" if save_freq == 5 else "at_{epoch}")) + extension,
            save_freq=save_freq,
            save_weights_only=extension == ".weights.h5",
        ),
    ]
    fit(model, *callbacks[:: -1 if checkpoint_first else 1])
    names = {
        "epoch": {"at_1": 10, "at_2": 20, "at_3": 30},
        5: {"at_1_5": 5, "at_1_10": 10, "at_2_5": 15, "at_2_10": 20, "at_3_5": 25, "at_3_10": 30},
    }[save_freq]
    assert len(list(tmp_path.iterdir())) == len(names)
    for name, step in names.items():
        path = tmp_path / (name + extension)
        if extension == ".keras":
            saved = keras.saving.load_model(path)
        else:
            saved = make_model()
            saved.optimizer.build(saved.trainable_variables)
            saved.load_weights(path)
        assert zeros(saved) == expected(saved, schedule(step)), name


def test_leaves_nothing_on_the_model_but_the_masks(tmp_path):
    model = make_model()
    fit(model, epochs=1)
    attributes = set(dir(model))
    weights = len(model.weights)
    fit(model, evenly(ConstantSparsity(0.5, 0)), epochs=1)
    assert set(dir(model)) == attributes
    assert len(model.weights) == weights
    model.save(tmp_path / "model.keras")
    copy = keras.saving.load_model(tmp_path / "model.keras")
    assert copy.get_layer("hidden").kernel.constraint is None
    remove_masks(model)
    assert model.get_layer("hidden").kernel.constraint is None
    fit(model, epochs=1)
    assert zeros(model) == [0, 0]


def test_keeps_the_users_constraint():
    model = make_model()
    layer = keras.layers.Dense(3, kernel_constraint="non_neg", name="positive")
    model.add(layer)
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    fit(model, evenly(ConstantSparsity(0.5, 0, frequency=1)), epochs=1)
    kernel = layer.kernel.numpy()
    assert (kernel >= 0).all()
    assert np.count_nonzero(kernel) <= 5
    assert isinstance(layer.kernel.constraint.constraint, keras.constraints.NonNeg)


def test_averaged_weights_are_masked_too():
    optimizer = keras.optimizers.Adam(use_ema=True, ema_momentum=0.5)
    model = make_model(optimizer)
    fit(model, evenly(PolynomialDecay(0.0, 0.75, 0, end_step=25)))
    assert zeros(model) == [96, 36]


@pytest.mark.parametrize("pruning_first", [True, False])
def test_averages_that_are_validated_and_saved_are_sparse(pruning_first, tmp_path):
    model = make_model(keras.optimizers.Adam(use_ema=True, ema_momentum=0.9))
    swap = keras.callbacks.SwapEMAWeights()
    validated = []
    look = keras.callbacks.LambdaCallback()
    look.on_test_batch_begin = lambda batch, logs=None: validated.append(zeros(model))
    callbacks = [evenly(PolynomialDecay(0.0, 0.75, 0, end_step=15)), swap][:: 1 - 2 * pruning_first]
    fit(model, *callbacks, look, validation_split=0.2, epochs=2)
    assert validated[-1] == [96, 36]

    model = make_model(keras.optimizers.Adam(use_ema=True, ema_momentum=0.9))
    swap = keras.callbacks.SwapEMAWeights(swap_on_epoch=True)
    saving = keras.callbacks.ModelCheckpoint(tmp_path / "{epoch}.keras")
    pruning = evenly(PolynomialDecay(0.0, 0.75, 0, end_step=15))
    fit(model, pruning, swap, saving)
    assert zeros(keras.models.load_model(tmp_path / "2.keras")) == [96, 36]


class OwnStep(keras.Sequential):
    """A model whose training step updates weights without the model's optimizer."""

    def train_step(self, data):
        x, _ = data
        with tf.GradientTape() as tape:
            loss = keras.ops.mean(self(x, training=True) ** 2)
        variables = self.trainable_variables
        for variable, gradient in zip(variables, tape.gradient(loss, variables), strict=True):
            variable.assign_sub(0.1 * gradient)
        return {"loss": loss}


def test_an_optimizer_that_counts_no_step_is_an_error():
    model = OwnStep([keras.Input((8,)), keras.layers.Dense(4)])
    model.compile()
    with pytest.raises(ValueError, match=r"counted no step of this epoch.*RMSprop, iterations=0"):
        fit(model, evenly(PolynomialDecay(0.0, 0.75, 0)))


def test_mixed_precision_and_gradient_accumulation():
    keras.config.set_dtype_policy("mixed_float16")
    try:
        optimizer = keras.optimizers.Adam(gradient_accumulation_steps=4)
        model = make_model(keras.optimizers.LossScaleOptimizer(optimizer))
    finally:
        keras.config.set_dtype_policy("float32")
    schedule = PolynomialDecay(0.0, 0.75, begin_step=0, end_step=30, frequency=3)
    fit(model, evenly(schedule))
    assert zeros(model) == [96, 36]


def test_steps_that_loss_scaling_skips_do_not_leave_the_target_unmet():
    inner = keras.optimizers.SGD(0.01)
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = make_model(keras.optimizers.LossScaleOptimizer(inner, initial_scale=2.0**30))
    finally:
        keras.config.set_dtype_policy("float32")
    with pytest.warns(UserWarning, match=r"counted \d+ steps, not the 30.*to 0\.75 at once"):
        fit(model, evenly(PolynomialDecay(0.0, 0.75, begin_step=0, end_step=30)))
    assert inner.iterations < 30
    assert zeros(model) == [96, 36]


def test_progress_is_in_the_logs():
    history = fit(make_model(), evenly(PolynomialDecay(0.0, 0.75, 0, 30, frequency=5)))
    assert history.history["sparsity"][-1] == 0.75
    assert history.history["sparsity"] == sorted(history.history["sparsity"])


class Encoder(keras.layers.Layer):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.project = keras.layers.Dense(6, name="project")

    def call(self, x):
        return self.project(x)


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.encoder = Encoder(name="encoder")
        self.head = keras.layers.Dense(3, name="head")

    def call(self, x):
        return self.head(self.encoder(x))


def test_subclassed_model():
    model = Subclassed()
    model(np.zeros((1, 8), "float32"))
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    fit(model, evenly(ConstantSparsity(0.5, 0), layers="project"), epochs=1)
    assert zeros(model) == [24, 0]


def test_nested_and_shared_layers_are_pruned_once():
    inner_input = keras.Input((6,))
    shared = keras.layers.Dense(6, name="shared")
    inner = keras.Model(inner_input, shared(shared(inner_input)), name="inner")
    inputs = keras.Input((6,))
    model = keras.Model(inputs, keras.layers.Dense(3, name="head")(shared(inner(inputs))))
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    fit(model, evenly(ConstantSparsity(0.75, 0)), shape=(6,), epochs=1)
    assert zeros(model) == [27, 14]  # 13.5 rounds to the even 14


KINDS = {
    "Conv1D": ((6, 4), lambda: [keras.layers.Conv1D(8, 3)]),
    "Conv2D": ((6, 6, 2), lambda: [keras.layers.Conv2D(8, 3)]),
    "Conv3D": ((3, 4, 4, 2), lambda: [keras.layers.Conv3D(4, 2)]),
    "Conv1DTranspose": ((6, 4), lambda: [keras.layers.Conv1DTranspose(8, 3)]),
    "Conv2DTranspose": ((6, 6, 2), lambda: [keras.layers.Conv2DTranspose(8, 3)]),
    "SeparableConv2D": ((6, 6, 4), lambda: [keras.layers.SeparableConv2D(8, 3)]),
    "EinsumDense": ((6, 4), lambda: [keras.layers.EinsumDense("abc,cd->abd", (6, 8))]),
    "MultiHeadAttention": ((6, 4), lambda: [SelfAttention()]),
    "LSTM": ((6, 4), lambda: [keras.layers.LSTM(8)]),
    "GRU": ((6, 4), lambda: [keras.layers.GRU(8)]),
    "SimpleRNN": ((6, 4), lambda: [keras.layers.SimpleRNN(8)]),
    "Bidirectional": ((6, 4), lambda: [keras.layers.Bidirectional(keras.layers.LSTM(4))]),
    "Embedding": ((6,), lambda: [keras.layers.Embedding(10, 8)]),
}


class SelfAttention(keras.layers.Layer):
    def __init__(self):
        super().__init__()
        self.attention = keras.layers.MultiHeadAttention(2, 4)

    def build(self, shape):
        self.attention.build(shape, shape)

    def call(self, x):
        return self.attention(x, x)


@pytest.mark.parametrize("kind", KINDS)
def test_prunes_every_kernel_of_every_kind_of_layer(kind):
    shape, layers = KINDS[kind]
    model = keras.Sequential(
        [keras.Input(shape), *layers(), keras.layers.Flatten(), keras.layers.Dense(3, name="head")]
    )
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    schedule = PolynomialDecay(0.0, 0.75, begin_step=0, end_step=8, frequency=4)
    fit(model, evenly(schedule), shape=shape, epochs=1)
    counts = {
        kernel.path: (np.count_nonzero(kernel.variable.numpy() == 0), kernel.size)
        for kernel in find_kernels(model)
        if not kernel.depthwise
    }
    # Four projections; kernels and recurrent kernels; everything else has one kernel.
    assert len(counts) == {"MultiHeadAttention": 5, "LSTM": 3, "GRU": 3, "SimpleRNN": 3}.get(
        kind, 5 if kind == "Bidirectional" else 2
    )
    for path, (zero, size) in counts.items():
        assert zero == round(size * 0.75), path


@pytest.mark.parametrize("prune_depthwise", [False, True])
def test_depthwise_kernels_are_pruned_on_request(prune_depthwise):
    model = keras.Sequential(
        [
            keras.Input((6, 6, 4)),
            keras.layers.DepthwiseConv2D(3, name="depthwise"),
            keras.layers.Flatten(),
            keras.layers.Dense(3, name="head"),
        ]
    )
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    pruning = evenly(ConstantSparsity(0.5, 0), prune_depthwise=prune_depthwise)
    fit(model, pruning, shape=(6, 6, 4), epochs=1)
    assert zeros(model) == [18 if prune_depthwise else 0, 96]


def test_masks_take_one_byte_a_weight():
    model = make_model()
    fit(model, evenly(ConstantSparsity(0.5, 0)), epochs=1)
    for kernel in find_kernels(model):
        assert isinstance(kernel.variable.constraint, MaskConstraint)
        assert kernel.variable.constraint.mask.value.numpy().nbytes == kernel.size


@pytest.mark.parametrize("end_step", [-1, 20])
def test_weights_that_early_stopping_restores_are_masked(end_step):
    model = make_model()
    stopping = keras.callbacks.EarlyStopping("loss", patience=2, restore_best_weights=True)
    schedule = PolynomialDecay(0.0, 0.75, begin_step=0, end_step=end_step, frequency=5)

    class Worse(keras.callbacks.Callback):
        """Make the first epoch the best, whose weights are denser."""

        def on_epoch_end(self, epoch, logs=None):
            logs["loss"] = float(epoch)

    fit(model, Worse(), stopping, evenly(schedule), epochs=6)
    assert model.optimizer.iterations == 30
    assert all(found >= wanted for found, wanted in zip(zeros(model), [96, 36], strict=True))


class FirstIsBest(keras.callbacks.Callback):
    """Make the first epoch the best, whose weights are denser."""

    def on_epoch_end(self, epoch, logs=None):
        logs["val_loss"] = 1.0 + epoch


@pytest.mark.parametrize("pruning_first", [True, False])
def test_says_that_restored_weights_were_not_trained_at_the_target(pruning_first):
    model = make_model()
    schedule = PolynomialDecay(0.0, 0.75, 0, end_step=25, frequency=1)
    callbacks = [
        evenly(schedule),
        keras.callbacks.EarlyStopping("val_loss", patience=9, restore_best_weights=True),
    ]
    # 0.75 (1 - 0.6^3) = 0.588 of 128 and of 48 weights after epoch 1: 75 and 28 of 176.
    said = r"sparsity of 0\.5852, not 0\.75.*start_from_epoch=2\)"
    with pytest.warns(UserWarning, match=said):
        fit(model, FirstIsBest(), *callbacks[:: 1 if pruning_first else -1], epochs=4)
    assert zeros(model) == [96, 36]


def test_best_weights_from_after_the_target_are_restored_in_silence(recwarn):
    model = make_model()
    stopping = keras.callbacks.EarlyStopping(
        "val_loss", patience=9, restore_best_weights=True, start_from_epoch=2
    )
    pruning = evenly(PolynomialDecay(0.0, 0.75, 0, end_step=25))
    fit(model, pruning, FirstIsBest(), stopping, epochs=4)
    assert zeros(model) == [96, 36]
    assert stopping.best_epoch == 2
    assert not [warning for warning in recwarn if "MagnitudePruning" in str(warning.message)]


@pytest.mark.parametrize("pruning_first", [True, False])
@pytest.mark.parametrize("name", ["best.keras", "best.weights.h5"])
def test_a_best_file_from_before_the_target_is_said_to_be_one(tmp_path, name, pruning_first):
    checkpoint = keras.callbacks.ModelCheckpoint(
        tmp_path / name, save_best_only=True, save_weights_only=name.endswith("h5")
    )
    pruning = evenly(PolynomialDecay(0.0, 0.75, 0, end_step=25, frequency=1))
    backup = keras.callbacks.BackupAndRestore(tmp_path / "backup")
    callbacks = [pruning, FirstIsBest(), checkpoint] if pruning_first else [
        FirstIsBest(), checkpoint, pruning
    ]  # fmt: skip
    said = rf"{name}' was last saved at step 10, at a sparsity of 0\.5852, before .* 0\.75"
    model = make_model()
    with pytest.warns(UserWarning, match=said):
        fit(model, *callbacks, backup, epochs=4)
    assert "save" not in model.__dict__


def test_files_of_every_epoch_are_nothing_to_warn_of(tmp_path, recwarn):
    checkpoint = keras.callbacks.ModelCheckpoint(tmp_path / "at_{epoch}.keras")
    pruning = evenly(PolynomialDecay(0.0, 0.75, 0))
    fit(make_model(), checkpoint, pruning)
    assert not [warning for warning in recwarn if "last saved" in str(warning.message)]


@pytest.mark.parametrize("frequency", [1, 7, 10, 100, None])
def test_a_short_fit_ends_at_the_sparsity_of_its_last_step(frequency):
    model = make_model()
    schedule = PolynomialDecay(0.0, 0.75, 0, end_step=200, frequency=frequency)
    # 0.75 (1 - 0.85^3) = 0.28941
    with pytest.warns(UserWarning, match=r"ends at step 30, at a sparsity of 0\.2894 instead"):
        history = fit(model, evenly(schedule)).history
    assert zeros(model) == [37, 14]
    assert history["sparsity"][-1] == pytest.approx(51 / 176)


def test_a_fit_that_is_stopped_says_at_which_sparsity():
    class Stop(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model.stop_training = True

    model = make_model()
    pruning = evenly(PolynomialDecay(0.0, 0.75, 0, end_step=25, power=1, frequency=9))
    with pytest.warns(UserWarning, match=r"at step 10, at a sparsity of 0\.3 instead of 0\.75"):
        fit(model, pruning, Stop())
    assert zeros(model) == expected(model, 0.3)
    model = make_model()
    pruning = evenly(PolynomialDecay(0.0, 0.75, 0, power=1, frequency=8))
    # The last update before was at step 8 of 30, for 0.2: 26 and 10 of 176 weights.
    with pytest.warns(UserWarning, match=r"stopped at step 10, .* from 0\.2045 to 0\.75 at once"):
        fit(model, pruning, Stop())
    assert zeros(model) == [96, 36]


def test_goes_on_from_the_file_of_a_short_fit(tmp_path):
    schedule = PolynomialDecay(0.0, 0.75, 0, end_step=35, frequency=7)
    model = make_model()
    with pytest.warns(UserWarning, match="ends at step 30"):
        fit(model, evenly(schedule))
    model.save(tmp_path / "short.keras")
    resumed = keras.saving.load_model(tmp_path / "short.keras")
    seen = ZerosPerStep()
    fit(resumed, evenly(schedule), seen, epochs=1)
    assert seen.history[0] == expected(model, schedule(30))
    assert seen.history[4] == seen.history[-1] == [96, 36]
