"""Multi-worker training with Keras's own ``fit``, resumed after a failure.

Under ``MultiWorkerMirroredStrategy`` the ``fit`` of Keras 3.15 stops twice. Before the first step
it hands the strategy a whole batch to average, a tuple where the strategy averages one value
(``TensorFlowTrainer._maybe_symbolic_build``). After the step it averages the logs over their first
dimension, and logs are scalars (``reduce_per_replica``). Both are skipped here: a model that is
built needs no batch, and a worker shows the logs of its own replica.

Source: https://www.tensorflow.org/tutorials/distribute/multi_worker_with_keras
"""

import os
import types
from typing import Any

import keras
import tensorflow as tf

from tfcompress.compat.keras_training import skip_symbolic_build


def train_across_workers(model: keras.Model) -> keras.Model:
    """Make ``fit`` and ``evaluate`` of a model run under ``MultiWorkerMirroredStrategy``.

    Args:
        model: a compiled model, built in the strategy's scope. It may be one of
            ``tfc.quantize_aware``, ``tfc.cluster_weights`` or ``tfc.Distiller``.

    Returns:
        The same model. The logs of a step are the worker's own; the logs of an epoch are of all.

    Raises:
        ValueError: the model was not created under the strategy, is not built or compiled, or is
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
    skip_symbolic_build(model)
    model.train_function = model.test_function = None
    return model


class BackupAcrossWorkers(keras.callbacks.Callback):
    """``BackupAndRestore`` for workers: all of them resume from the backup of the first one.

    When a worker dies the others cannot continue: restart all of them. Keras's own callback would
    create the optimizer's variables outside of the strategy's scope, which is an error; and with a
    backup for each, one that was ahead would resume in another epoch with other weights.

    Args:
        directory: a folder that all workers can access. Each saves in its own subfolder, as saving
            may involve all of them, and removes it after the training.
        **settings: further arguments of ``keras.callbacks.BackupAndRestore``. By default the
            previous backup is kept as well, in case a worker is killed while it saves.

    Example:
    ```python
    model.fit(dataset, epochs=30, callbacks=[tfc.BackupAcrossWorkers("/shared/backup")])
    ```

    Source: https://www.tensorflow.org/tutorials/distribute/multi_worker_with_keras
    """

    def __init__(self, directory: str | os.PathLike, **settings: Any):
        super().__init__()
        self._directory = os.fspath(directory)
        self._settings = {"double_checkpoint": True, **settings}

    def set_model(self, model: keras.Model) -> None:
        """Set the model, and with it the worker's backup and that of the first worker."""
        super().set_model(model)
        first, own = _names(model.distribute_strategy)
        self._first, self._own = self._backup(first), self._backup(own)

    def _backup(self, name):
        backup = keras.callbacks.BackupAndRestore(
            os.path.join(self._directory, name), **self._settings
        )
        backup.set_model(self.model)
        return backup

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Load the backup of the first worker."""
        with self.model.distribute_strategy.scope():  # the optimizer's variables are made here
            self._first.on_train_begin(logs)

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Save, if it is time."""
        self._own.on_train_batch_end(batch, logs)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Save, if it is time."""
        self._own.on_epoch_end(epoch, logs)

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Remove the backup."""
        self._own.on_train_end(logs)


def _names(strategy) -> tuple[str, str]:
    """Return names for the first worker and for this one."""
    resolver = getattr(strategy, "cluster_resolver", None)
    if resolver is None:
        return "worker_0", "worker_0"
    first = "chief_0" if "chief" in resolver.cluster_spec().jobs else "worker_0"
    return first, f"{resolver.task_type}_{resolver.task_id}"


def _require_trainable(model):
    strategy = model.distribute_strategy
    if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        raise ValueError(
            "The model must be created in the scope of a "
            f"MultiWorkerMirroredStrategy. Received: one of {type(strategy).__name__}"
        )
    if not model.built or not model.compiled:
        raise ValueError(
            "Build and compile the model in the scope of the strategy first. "
            f"Received: built={model.built}, compiled={model.compiled}"
        )
    if model.steps_per_execution != 1:
        raise ValueError(
            "Training across workers needs `steps_per_execution=1`. "
            f"Received: steps_per_execution={model.steps_per_execution}"
        )


def _function(model, step):
    strategy = model.distribute_strategy

    def one_step(iterator):
        logs = strategy.run(step, args=(next(iterator),))
        return {name: strategy.experimental_local_results(logs[name])[0] for name in logs}

    if model.run_eagerly:
        return one_step
    return tf.function(one_step, autograph=False, reduce_retracing=True)
