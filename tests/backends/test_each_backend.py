"""What works on every backend of Keras; each test is a line of the table in docs/backends.md."""

import os
import re
import subprocess
import sys

import keras
import numpy as np
import pytest
from backends import own_layer
from keras import layers

import tfcompress as tfc
from keras_callbacks import scheduled
from tfcompress.keras_graph.kernels import find_kernels
from tfcompress.on_tensorflow import call_on_tensorflow
from tfcompress.pruning.criteria import Taylor
from tfcompress.pruning.dynamic_sparse_training import drop_fraction
from tfcompress.pruning.pruner import GradientSums

BACKEND = keras.backend.backend()
RNG = np.random.default_rng(0)
X = RNG.normal(size=(64, 8)).astype("float32")
Y = (X[:, 0] > 0).astype(int) + (X[:, 1] > 0)
LOSS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def compiled(model, optimizer="adam", loss=LOSS, **settings):
    model.compile(optimizer, loss, **settings)
    return model


def classifier(units=16):
    stack = [layers.Dense(units, "relu", name="hidden"), layers.Dense(3, name="logits")]
    return compiled(keras.Sequential([keras.Input((8,)), *stack]))


def line(weights, optimizer=None):
    """A Dense layer without a bias, on one number for each weight, that learns the number 0."""
    model = keras.Sequential([keras.Input((len(weights),)), layers.Dense(1, use_bias=False)])
    model.set_weights([np.array(weights, "float32")[:, None]])
    return compiled(model, optimizer or keras.optimizers.SGD(1.0), "mse")


def step(model, x, callbacks=()):
    x = np.array([x], "float32")
    model.fit(x, np.zeros((1, 1), "float32"), verbose=0, callbacks=list(callbacks))
    return model.get_weights()[0].ravel()


def fit(model, callbacks=(), x=X, y=Y, epochs=2):
    return model.fit(x, y, batch_size=16, epochs=epochs, verbose=0, callbacks=list(callbacks))


def zeros(model):
    kernels = [keras.ops.convert_to_numpy(kernel.variable) for kernel in find_kernels(model)]
    return [int(np.count_nonzero(kernel == 0)) for kernel in kernels]


def rising(final=0.5):
    return tfc.PolynomialDecay(0.0, final, begin_step=1, end_step=6, frequency=2)


def test_pruning_by_magnitude():
    model = classifier()
    history = fit(model, [tfc.MagnitudePruning(rising())]).history
    assert sum(zeros(model)) == 88
    assert history["sparsity"][-1] == 0.5
    assert 0 < history["sparsity"][0] < 0.5
    fit(model)  # the masks stay
    assert sum(zeros(model)) == 88
    tfc.remove_masks(model)
    fit(model)
    assert sum(zeros(model)) == 0


def test_pruning_that_waits_for_no_step(monkeypatch):
    # Where steps run aside, their count is read when an update may be due, and at the ends.
    counts = []
    read = scheduled.batches_seen
    monkeypatch.setattr(scheduled, "batches_seen", lambda m: counts.append(read(m)) or counts[-1])
    model = classifier()
    schedule = tfc.PolynomialDecay(0.0, 0.5, begin_step=4, end_step=12, frequency=4)
    history = fit(model, [tfc.MagnitudePruning(schedule)], epochs=4).history
    if BACKEND == "jax":
        assert counts.count(2) + counts.count(6) + counts.count(10) == 0
    assert {0, 4, 8, 12, 16} <= set(counts)
    assert history["sparsity"] == pytest.approx([0.0, 0.4375, 0.5, 0.5], abs=0.01)


@pytest.mark.parametrize("pattern", ["channel", "2:4", tfc.Block((1, 4))])
def test_pruning_in_patterns(pattern):
    model = classifier()
    fit(model, [tfc.MagnitudePruning(rising(), pattern=pattern, layers=["hidden"])])
    assert zeros(model)[0] == 64


@pytest.mark.parametrize("steps", [{}, {"gradient_accumulation_steps": 2}])
def test_criteria_with_gradients(steps):
    # The output is 3 - 2 = 1, its gradient 2, and so the kernel's is (2, 4).
    model = line([3.0, -1.0], keras.optimizers.SGD(0.0, **steps))
    sums = GradientSums(model, find_kernels(model), Taylor())
    sums.attach(model.optimizer)
    x = np.array([[1.0, 2.0]] * 4, "float32")
    model.fit(x, np.zeros((4, 1)), batch_size=1, verbose=0)
    updates = 4 // steps.get("gradient_accumulation_steps", 1)
    np.testing.assert_allclose(sums.read()[0].ravel(), np.array([36.0, 16.0]) * updates)
    model = classifier()
    fit(model, [tfc.MagnitudePruning(rising(), criterion="movement")])
    assert sum(zeros(model)) == 88


def test_pruning_with_a_scaled_loss():
    model = classifier()
    scaled = keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam())
    fit(compiled(model, scaled), [tfc.MagnitudePruning(rising(), criterion="taylor")])
    assert sum(zeros(model)) == 88


def test_pruning_resumed_from_a_file(tmp_path):
    path = tmp_path / "half.keras"
    model = classifier()
    saving = keras.callbacks.ModelCheckpoint(path, save_freq=4)
    fit(model, [tfc.MagnitudePruning(rising()), saving], epochs=1)
    own = len(compiled(classifier()).optimizer.variables)
    loaded = keras.saving.load_model(path)
    assert len(loaded.optimizer.variables) - own == 2 * len(loaded.trainable_variables)
    assert 0 < sum(zeros(loaded)) < 88
    fit(loaded, [tfc.MagnitudePruning(rising())], epochs=1)
    assert sum(zeros(loaded)) == 88


@pytest.mark.parametrize("technique", [tfc.RigL, tfc.SET])
def test_dynamic_sparse_training(technique):
    model = classifier()
    masks = []

    class Watch(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            masks.append(keras.ops.convert_to_numpy(self.model.layers[0].kernel) != 0)

    fit(model, [technique(0.5, end_step=8, frequency=2, drop=0.5), Watch()])
    masked = [kernel.variable.constraint.masked for kernel in find_kernels(model)]
    assert sum(masked) == 88 <= sum(zeros(model))  # some may just have grown, from zero
    moved = np.count_nonzero(masks[0] & ~masks[2])
    assert 0 < moved <= round(drop_fraction(0.5, 0.25) * np.count_nonzero(masks[0]))


def test_iterative_hard_thresholding():
    model = classifier()
    fit(model, [tfc.IterativeHardThresholding(tfc.ConstantSparsity(0.5, 0, frequency=2))])
    assert sum(zeros(model)) == 88


def constant(steps):
    return tfc.ConstantSparsity(0.5, begin_step=steps, end_step=steps)


def test_proximal_steps():
    # The gradient is 2 * (0.5 * 1) * 1; then each weight moves by 0.25 * 1 towards zero.
    proximal = tfc.ProximalL1(constant(9), initial_strength=0.25)
    np.testing.assert_allclose(step(line([0.5, 3.0]), [1.0, 0.0], [proximal]), [-0.25, 2.75])


def test_regularized_sparsity():
    # No weight is near zero: the strength, 0.25, doubles before each step.
    schedule = tfc.ConstantSparsity(0.5, begin_step=0, end_step=8, frequency=1)
    gain = float(np.log(2) / 0.5)
    lasso = tfc.SparsityRegularization(schedule, initial_strength=0.25, gain=gain)
    model = line([4.0, 5.0])
    zero = np.zeros((3, 2), "float32"), np.zeros((3, 1), "float32")
    model.fit(*zero, batch_size=1, verbose=0, callbacks=[lasso])
    moved = 0.5 + 1.0 + 2.0
    weights = model.get_weights()[0].ravel()
    np.testing.assert_allclose(weights, [4.0 - moved, 5.0 - moved], rtol=1e-6)


def test_network_slimming():
    model = keras.Sequential([keras.Input((8,)), layers.BatchNormalization(), layers.Dense(3)])
    compiled(model, keras.optimizers.SGD(1.0), lambda y, p: keras.ops.sum(p) * 0.0)
    history = fit(model, [tfc.NetworkSlimming(0.125)], epochs=1).history
    np.testing.assert_allclose(keras.ops.convert_to_numpy(model.layers[0].gamma), 0.5)
    assert history["small_scales"] == [0.0]


def test_the_summary_of_each_epoch():
    model = classifier()
    callbacks = [tfc.MagnitudePruning(constant(1)), tfc.CompressionSummary()]
    assert fit(model, callbacks, epochs=1).history["sparsity/all"] == [0.5]


def test_clustered_weights():
    # Values 1 and 3 move by the mean updates of the weights that share them.
    model = line([1.0, 1.0, 3.0, 3.0], keras.optimizers.SGD(0.5))
    tfc.cluster_weights(model, 2)
    compiled(model, keras.optimizers.SGD(0.5), lambda y, p: keras.ops.sum(p))
    np.testing.assert_allclose(step(model, [0.25, 0.75, 0.75, 1.25]), [0.75, 0.75, 2.5, 2.5])
    np.testing.assert_allclose(step(model, [0.25, 0.25, 0.25, 0.25]), [0.625, 0.625, 2.375, 2.375])
    model = tfc.cluster_weights(classifier(), 4, granularity="channel")
    fit(compiled(model))
    kernel = model.get_weights()[0]
    assert max(len(np.unique(channel)) for channel in kernel.T) <= 4


def test_differentiable_clusters():
    model = classifier()
    wrapper = tfc.cluster_weights(model, 4, method="differentiable")
    fit(compiled(wrapper))
    assert set(tfc.unique_weights(wrapper.settle()).values()) == {4}


@pytest.mark.parametrize("groups", ["channel", "element"])
def test_gates(groups):
    model = classifier()
    learning = tfc.gated(model, 0.5, groups, gain=1.0)
    before = float(keras.ops.convert_to_numpy(learning.strength))
    fit(compiled(learning))
    assert float(keras.ops.convert_to_numpy(learning.strength)) > before
    smaller = learning.fold()
    if groups == "channel":
        assert smaller.layers[0].kernel.shape == (8, 8)
    else:
        assert sum(zeros(smaller)) == 88


def soft_labels(teacher, student, temperature):
    teacher, student = (values / temperature for values in (teacher, student))
    teacher, student = (v - np.log(np.exp(v).sum(-1, keepdims=True)) for v in (teacher, student))
    return np.mean(np.sum(np.exp(teacher) * (teacher - student), -1)) * temperature**2


def test_distillation():
    teacher, student = classifier(32), classifier()
    wanted = soft_labels(*(m.predict(X, verbose=0) for m in (teacher, student)), 2.0)
    falling = keras.optimizers.schedules.PiecewiseConstantDecay([0], [1.0, 0.0])
    losses = [(tfc.SoftLabels(2.0), falling), tfc.Features("hidden", "hidden")]
    distiller = compiled(tfc.Distiller(student, teacher, losses), metrics=["accuracy"])
    logs = distiller.fit(X, Y, batch_size=64, epochs=2, verbose=0, validation_data=(X, Y)).history
    np.testing.assert_allclose(logs["soft_labels_loss"][0], wanted, rtol=1e-4)
    parts = [logs[f"{name}_loss"][1] for name in ("task", "features")]
    np.testing.assert_allclose(logs["loss"][1], sum(parts), rtol=1e-5)  # the weight is 0 by now
    assert len(logs["val_accuracy"]) == 2
    fit(distiller, [tfc.MagnitudePruning(rising())])
    assert sum(zeros(student)) == 88


def test_distillation_with_losses_of_keras():
    teacher, student = classifier(32), classifier()
    distiller = tfc.Distiller(student, teacher, [keras.distillation.LogitsDistillation(2.0)])
    wanted = soft_labels(*(m.predict(X, verbose=0) for m in (teacher, student)), 2.0)
    logs = compiled(distiller).fit(X, Y, batch_size=64, verbose=0).history
    np.testing.assert_allclose(logs["logits_distillation_loss"], wanted, rtol=1e-3)


def test_teachers_of_other_kinds():
    teachers, student = [classifier(8), classifier(32)], classifier()
    logits = [model.predict(X, verbose=0) for model in (*teachers, student)]
    distiller = tfc.Distiller(student, teachers)
    logs = compiled(distiller).fit(X, Y, batch_size=64, verbose=0).history
    wanted = soft_labels((logits[0] + logits[1]) / 2, logits[2], tfc.SoftLabels().temperature)
    np.testing.assert_allclose(logs["soft_labels_loss"], wanted, rtol=1e-3)
    distiller.set_teacher(lambda batch: teachers[0](batch, training=False))
    assert fit(compiled(distiller), epochs=1).history["soft_labels_loss"][0] > 0


def test_a_cached_teacher(tmp_path):
    teacher = classifier(32)
    cache = tfc.cache_teacher(teacher, X, tmp_path / "cache", progress=False)
    logits = teacher.predict(X, verbose=0)
    student = classifier()
    wanted = soft_labels(logits, student.predict(X, verbose=0), tfc.SoftLabels().temperature)
    distiller = compiled(tfc.Distiller(student, cache))
    logs = distiller.fit(cache.attach(X, Y, batch_size=64), verbose=0).history
    np.testing.assert_allclose(logs["soft_labels_loss"], wanted, rtol=1e-3)


def test_removed_channels():
    model = classifier()
    kernel, bias = model.get_weights()[:2]
    smaller = tfc.remove_channels(model, ratio=0.5)
    kept = np.sort(np.argsort(np.abs(kernel).mean(0), kind="stable")[8:])
    np.testing.assert_array_equal(smaller.get_weights()[0], kernel[:, kept])
    outputs = np.maximum(X @ kernel[:, kept] + bias[kept], 0) @ model.get_weights()[2][kept]
    np.testing.assert_allclose(smaller.predict(X, verbose=0), outputs, rtol=1e-4, atol=1e-5)


def test_removed_channels_by_gradients():
    model = classifier()
    hidden, _, last, _ = model.get_weights()
    before = X @ hidden
    active = np.maximum(before, 0)
    logits = active @ last
    odds = np.exp(logits) / np.exp(logits).sum(1, keepdims=True) - np.eye(3)[Y]
    total = np.zeros(16)
    for rows in (slice(0, 32), slice(32, 64)):
        gradient = X[rows].T @ ((odds[rows] @ last.T) * (before[rows] > 0)) / 32
        total += np.square((gradient * hidden).sum(0))
    smaller = tfc.remove_channels(model, ratio=0.5, criterion="taylor", data=(X, Y))
    kept = np.sort(np.argsort(total, kind="stable")[8:])
    np.testing.assert_array_equal(smaller.get_weights()[0], hidden[:, kept])


def test_removed_blocks():
    inputs = x = keras.Input((8,))
    for number in range(3):
        x = layers.Add(name=f"sum_{number}")([x, layers.Dense(8, name=f"branch_{number}")(x)])
    model = keras.Model(inputs, x)
    model.get_layer("branch_1").kernel.assign(np.zeros((8, 8)))
    smaller = tfc.remove_blocks(model, 1, data=X)
    assert [layer.name for layer in smaller.layers if "sum" in layer.name] == ["sum_0", "sum_2"]
    np.testing.assert_allclose(*(m.predict(X, verbose=0) for m in (model, smaller)), rtol=1e-5)


@pytest.mark.process
def test_exported_and_validated(tmp_path):
    model = classifier()
    fit(model, [tfc.MagnitudePruning(rising())])
    path = tmp_path / "model.tflite"
    settings = {"representative_data": X, "repair": False, "progress": False}
    result = tfc.export_tflite(model, path, "int8", **settings)
    assert result.report.float_operations == ()
    agreement = tfc.validate(path, model, (X, Y))
    assert agreement.examples == 64
    assert min(output.same_class for run in agreement.ran for output in run.outputs) >= 0.9
    findings = tfc.examine(path, model=model, data=(X, Y), targets=(), runs=0)
    assert findings.file.metric == agreement.metric
    assert any(layer.sqnr is not None for layer in findings.layers)


@pytest.mark.process
def test_the_accuracy_of_the_deployed_model():
    deployed = tfc.DeployedAccuracy((X, Y), quantization="int8", representative_data=X)
    logs = fit(classifier(), [deployed], epochs=1).history
    assert logs["val_deployed_agreement"][0] > 0.9
    assert 0 <= logs["val_deployed_accuracy"][0] <= 1


@pytest.mark.process
def test_errors_name_the_layers(tmp_path):
    inputs = keras.Input((8,))
    model = keras.Model(inputs, own_layer.Cosine(name="wave")(inputs))
    with pytest.raises(ValueError, match="representative_data"):
        tfc.export_tflite(model, tmp_path / "model.tflite", "int8", progress=False)
    settings = {"representative_data": X, "repair": False, "progress": False}
    with pytest.raises(ValueError, match="wave"):
        tfc.export_tflite(model, tmp_path / "model.tflite", "int8", **settings)
    assert not (tmp_path / "model.tflite").exists()


def test_what_to_do_without_tensorflow(tmp_path, monkeypatch):
    monkeypatch.setattr("tfcompress.on_tensorflow.runs_here", lambda: False)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"export_tflite needs .*pip install tensorflow"):
        call_on_tensorflow("exporters.export", "export_tflite", classifier(), tmp_path / "x.tflite")
    if BACKEND != "tensorflow":
        with pytest.raises(ImportError, match=r"quantize_aware needs .*pip install tensorflow"):
            tfc.quantize_aware(classifier())


@pytest.mark.process
def test_what_to_do_without_the_backend():
    program = (
        "import sys, importlib.abc\n"
        "class Missing(importlib.abc.MetaPathFinder):\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] == 'jax':\n"
        "            raise ModuleNotFoundError(f'No module named {name!r}', name='jax')\n"
        "sys.meta_path.insert(0, Missing())\n"
        "import tfcompress\n"
        "tfcompress.Distiller\n"
    )
    command, environment = [sys.executable, "-c", program], {**os.environ, "KERAS_BACKEND": "jax"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert re.match(r"ImportError: KERAS_BACKEND=jax needs .*pip install", last_line(done.stderr))


def last_line(text):
    return text.strip().splitlines()[-1]


@pytest.mark.process
def test_tensorflow_is_not_imported():
    program = (
        "import sys, keras, numpy as np, tfcompress as tfc\n"
        "model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(4)])\n"
        "model.compile('sgd', 'mse')\n"
        "prune = tfc.MagnitudePruning(tfc.ConstantSparsity(0.5, 0))\n"
        "model.fit(np.ones((4, 2)), np.ones((4, 4)), verbose=0, callbacks=[prune])\n"
        "for name in dir(tfc):\n"
        "    getattr(tfc, name)\n"
        "print('tensorflow' in sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.stdout.split() == [str(BACKEND == "tensorflow")], done.stderr[-2000:]
