import keras
import numpy as np
from compat.canary import canary

from tfcompress.compat import keras_training


def compiled(optimizer="sgd"):
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False)])
    model.set_weights([np.ones((1, 1))])
    model.compile(optimizer, "mse")
    return model


@canary("keras", "keras.src.backend.AutocastScope")
def test_without_autocast():
    layer = keras.layers.Dense(1, dtype="mixed_float16")
    layer.build((1, 1))
    seen = []

    def call(x):
        seen.append(keras.ops.convert_to_tensor(layer.kernel).dtype)
        with keras_training.without_autocast():
            seen.append(keras.ops.convert_to_tensor(layer.kernel).dtype)
        return x

    layer.call = call
    layer(np.ones((1, 1)))
    assert seen == ["float16", "float32"]


@canary("keras", "Variable._direct_assign")
def test_assign_directly():
    variable = keras.Variable(0.0)
    with keras.StatelessScope():
        keras_training.assign_directly(variable, keras.ops.convert_to_tensor(2.0))
    assert float(variable) == 2.0


@canary("keras", "Trainer._compile_loss")
def test_has_compiled_loss():
    assert keras_training.has_compiled_loss(compiled())
    model = keras.Sequential([keras.layers.Dense(1)])
    model.compile("sgd")
    assert not keras_training.has_compiled_loss(model)


@canary("keras", "Trainer._compile_loss")
def test_compiled_loss():
    zeros, twos = keras.ops.zeros((2, 1)), 2 * keras.ops.ones((2, 1))
    assert float(keras_training.compiled_loss(compiled(), zeros, twos, None)) == 4.0


@canary("keras", "keras.src.trainers.compile_utils.CompileMetrics")
def test_compute_metrics():
    predictions = np.array([[0.9, 0.1], [0.9, 0.1]])
    results = keras_training.compute_metrics(["accuracy"], np.array([0, 1]), predictions)
    assert {name: float(value) for name, value in results.items()} == {"accuracy": 0.5}


@canary("keras", "Optimizer._var_key")
def test_variable_key():
    optimizer, one, two = keras.optimizers.SGD(), keras.Variable(1.0), keras.Variable(1.0)
    keys = [keras_training.variable_key(optimizer, v) for v in (one, two, one.value)]
    assert keys[0] == keys[2] != keys[1]


@canary("keras", "Trainer._maybe_symbolic_build")
def test_skip_symbolic_build():
    model = keras.Sequential([keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    keras_training.skip_symbolic_build(model)
    model._maybe_symbolic_build(data_batch=(np.ones((1, 1)), np.ones((1, 1))))
    assert not model.built


@canary("keras", "TensorFlowTrainer._maybe_symbolic_build", "CompileMetrics.build")
def test_built_before_tracing():
    calls = []

    class Wrapper(keras_training.BuiltBeforeTracing, keras.Model):
        def __init__(self, model):
            super().__init__()
            self.model = model
            self.built = True

        def call(self, x):
            calls.append(x)
            return self.model(x)

    model = Wrapper(compiled())
    model.compile("adam", "mse", metrics=["accuracy", "mae"], jit_compile=False)
    x = np.ones((4, 1), "float32")
    found = model.fit(x, x + 1, batch_size=2, epochs=2, verbose=0).history
    assert 0.9 < found["mae"][0] <= 1.0
    if keras.backend.backend() == "tensorflow":
        assert len(calls) == 1  # Keras alone would trace the step twice


@canary("keras", "Trainer.train_step")
def test_build_optimizer():
    class Own(keras.Sequential):
        def train_step(self, *args):  # it may update weights that are not the model's
            return super().train_step(*args)

    layers = [keras.Input((1,)), keras.layers.Dense(1)]
    for kind, variables in ((keras.Sequential, 6), (Own, 2)):
        model = kind(layers)
        model.compile("adam", "mse")
        keras_training.build_optimizer(model)
        assert len(model.optimizer.variables) == variables
