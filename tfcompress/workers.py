"""Training on several machines at once, with Keras's own ``fit``.

Under ``MultiWorkerMirroredStrategy`` the ``fit`` of Keras 3.15 stops twice. Before the first step
it hands the strategy a whole batch to average, a tuple where the strategy averages one value
(``TensorFlowTrainer._maybe_symbolic_build``). After the step it averages the logs over their first
dimension, and logs are scalars (``reduce_per_replica``). Both are left out here: a model that is
built needs no batch to be built from, and a worker shows what its own replica logged.

Source: https://www.tensorflow.org/tutorials/distribute/multi_worker_with_keras
"""

import types

import keras
import tensorflow as tf


def train_across_workers(model: keras.Model) -> keras.Model:
    """Let ``fit`` and ``evaluate`` of a model run under ``MultiWorkerMirroredStrategy``.

    Args:
        model: a compiled model, built in the strategy's scope. It may be one of
            ``tfc.quantize_aware``, ``tfc.cluster_weights`` or ``tfc.Distiller``.

    Returns:
        The same model. The logs of a step are those of the worker; the logs of an epoch are of all.

    Raises:
        ValueError: the model was not made under the strategy, is not built or compiled, or is
            compiled with ``steps_per_execution`` above 1.

    Example:
    ```python
    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    with strategy.scope():
        model = tfc.quantize_aware(make_model())
        model.compile("adam", "mse", jit_compile=False)
    tfc.train_across_workers(model).fit(dataset, epochs=3)
    ```
    """
    _require_trainable(model)

    def make_train_function(model, force=False):
        if force or model.train_function is None:
            model.train_function = _function(model, model.train_step)
        return model.train_function

    def make_test_function(model, force=False):
        if force or model.test_function is None:
            model.test_function = _function(model, model.test_step)
        return model.test_function

    model.make_train_function = types.MethodType(make_train_function, model)
    model.make_test_function = types.MethodType(make_test_function, model)
    model._maybe_symbolic_build = types.MethodType(_build_nothing, model)
    model.train_function = model.test_function = None
    return model


def _require_trainable(model):
    strategy = model.distribute_strategy
    if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        raise ValueError(
            "A model is trained across workers if it was made in the scope of a "
            f"MultiWorkerMirroredStrategy. Received: one of {type(strategy).__name__}"
        )
    if not model.built or not model.compiled:
        raise ValueError(
            "Build and compile the model in the scope of the strategy first. "
            f"Received: built={model.built}, compiled={model.compiled}"
        )
    if model.steps_per_execution != 1:
        raise ValueError(
            "Workers take one step at a time. "
            f"Received: steps_per_execution={model.steps_per_execution}"
        )


def _build_nothing(model, iterator=None, data_batch=None):
    """Stand in for Keras's building of a model from its first batch."""


def _function(model, step):
    strategy = model.distribute_strategy

    def one_step(iterator):
        logs = strategy.run(step, args=(next(iterator),))
        return {name: strategy.experimental_local_results(logs[name])[0] for name in logs}

    return one_step if model.run_eagerly else tf.function(one_step, reduce_retracing=True)
