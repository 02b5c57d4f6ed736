import keras
import numpy as np
import pytest
from compat.canary import canary

from tfcompress.backends import runs_on
from tfcompress.compat import keras_steps


def compiled(optimizer="sgd"):
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False)])
    model.set_weights([np.ones((1, 1))])
    model.compile(optimizer, "mse")
    return model


@canary("keras", "LossScaleOptimizer.inner_optimizer")
def test_innermost_optimizer():
    inner = keras.optimizers.SGD()
    scaled = keras.optimizers.LossScaleOptimizer(inner)
    assert keras_steps.innermost_optimizer(scaled) is inner


@canary("keras", "Optimizer._iterations")
def test_batches_seen():
    model = compiled(keras.optimizers.SGD(gradient_accumulation_steps=2))
    model.fit(np.ones((6, 1)), np.ones((6, 1)), batch_size=2, verbose=0)
    assert keras_steps.batches_seen(model) == 3


@canary("keras", "Optimizer.update_step")
def test_watch_updates():
    model, seen = compiled(), []
    keras_steps.watch_updates(model.optimizer, lambda *given: seen.append(given))
    model.optimizer.apply([keras.ops.ones((1, 1))], model.trainable_variables)
    ((gradient, variable),) = seen
    assert float(gradient[0, 0]) == 1.0
    assert tuple(variable.shape) == (1, 1)
    assert float(model.layers[0].kernel[0, 0]) == np.float32(0.99)


@canary("keras", "Optimizer.update_step")
def test_unwatch_updates():
    optimizer, seen = keras.optimizers.SGD(), []
    keras_steps.watch_updates(optimizer, lambda *given: seen.append(given))
    keras_steps.unwatch_updates(optimizer)
    optimizer.apply([keras.ops.ones(1)], [keras.Variable([1.0])])
    assert seen == []


class Counting(keras.constraints.Constraint):
    """Counts the steps of a variable, in a variable of its own."""

    def __init__(self):
        self.steps = keras.Variable(0.0, trainable=False)

    @property
    def state(self):
        return {"steps": self.steps}

    def __call__(self, w):
        keras_steps.assign_in_step(self.steps, self.steps + 1.0)
        return w


def fitted(model, count=3):
    data = np.ones((count, 1)), np.ones((count, 1))
    model.fit(*data, batch_size=1, verbose=0)


@canary("keras", "Optimizer._variables", "JAXTrainer.make_train_function")
def test_carry_state(tmp_path):
    model = compiled()
    own = len(model.optimizer.variables)
    model.layers[0].kernel.constraint = counting = Counting()
    keras_steps.carry_state(model)
    fitted(model)
    assert float(counting.steps) == 3.0
    store = {}
    model.optimizer.save_own_variables(store)
    assert len(store) == own
    model.layers[0].kernel.constraint = None
    model.make_train_function(force=True)
    fitted(model)
    assert len(model.optimizer.variables) == own


@canary("keras", "keras.src.backend.common.stateless_scope")
def test_assign_in_step():
    model = compiled()
    model.layers[0].kernel.constraint = counting = Counting()
    if not runs_on("jax"):
        fitted(model)
        assert float(counting.steps) == 3.0
        return
    with pytest.raises(RuntimeError, match="Compress the model that you call `fit` on"):
        fitted(model)


@canary("keras", "JAXTrainer._jax_state", "JAXTrainer.jax_state_sync")
def test_bring_up_to_date():
    seen = []

    class Look(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            model = self._model
            keras_steps.bring_up_to_date(model)
            seen.append(float(model.layers[0].kernel[0, 0]))
            model.layers[0].kernel.assign([[2.0]])

    model = compiled(keras.optimizers.SGD(0.5))
    model.fit(np.ones((3, 1)), np.zeros((3, 1)), batch_size=1, verbose=0, callbacks=[Look()])
    assert seen == [0.0, 0.0, 0.0]


@canary("keras", "JAXTrainer.train_step")
def test_iterations_in():
    model = compiled()
    assert int(keras_steps.iterations_in(model, [])) == 0
    values = [keras.ops.convert_to_tensor(v) for v in model.optimizer.variables]
    place = [v is model.optimizer.iterations for v in model.optimizer.variables].index(True)
    values[place] = values[place] + 7
    assert int(keras_steps.iterations_in(model, [([], [], values, [])])) == 7


@canary("keras", "Layer._seed_generators")
def test_carry_in_loss():
    model, strength = compiled(keras.optimizers.SGD(1.0)), keras.Variable(0.0, trainable=False)
    model.layers[0].kernel.regularizer = lambda w: keras.ops.sum(w) * strength
    weights, before = len(model.weights), len(model.non_trainable_variables)
    keras_steps.carry_in_loss(model, strength)
    assert len(model.weights) == weights
    for value in (0.25, 0.5):
        strength.assign(value)
        model.layers[0].kernel.assign([[1.0]])
        model.fit(np.zeros((1, 1)), np.zeros((1, 1)), verbose=0)
        assert float(model.layers[0].kernel[0, 0]) == 1.0 - value
    keras_steps.drop_from_loss(model, strength)
    assert len(model.non_trainable_variables) == before


@canary("keras", "LossScaleOptimizer.inner_optimizer")
def test_skips_steps():
    plain = keras.optimizers.SGD(0.1)
    assert not keras_steps.skips_steps(plain)
    assert keras_steps.skips_steps(keras.optimizers.LossScaleOptimizer(plain))


@canary("keras", "Optimizer._model_variables_moving_average", "Optimizer._trainable_variables")
def test_averages_of():
    model = compiled(keras.optimizers.SGD(1.0, use_ema=True, ema_momentum=0.5))
    model.fit(np.ones((1, 1)), np.zeros((1, 1)), verbose=0)
    kernel = model.layers[0].kernel
    average = keras_steps.averages_of(model)[id(kernel)]
    assert tuple(average.shape) == tuple(kernel.shape)
    assert keras_steps.averages_of(compiled(keras.optimizers.SGD(1.0))) == {}


@canary("keras", "Optimizer._iterations", "JAXTrainer._jax_state")
def test_updates_made():
    seen = []

    class Look(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            seen.append(keras_steps.updates_made(self.model))

    model = compiled(keras.optimizers.SGD(0.1, gradient_accumulation_steps=2))
    model.fit(np.ones((4, 1)), np.zeros((4, 1)), batch_size=1, verbose=0, callbacks=[Look()])
    assert seen == [0, 1, 1, 2]


@canary("keras", "JAXTrainer._jax_state_synced")
def test_waits_to_count():
    seen = []

    class Look(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            seen.append(keras_steps.waits_to_count(self._model))

    model = compiled()
    assert not keras_steps.waits_to_count(model)
    model.fit(np.ones((2, 1)), np.zeros((2, 1)), batch_size=1, verbose=0, callbacks=[Look()])
    assert seen == [runs_on("jax")] * 2
    assert not keras_steps.waits_to_count(model)


@canary("keras", "get_stateless_scope")
def test_reads_stored_values():
    assert keras_steps.reads_stored_values()
    with keras.StatelessScope():
        assert not keras_steps.reads_stored_values()
