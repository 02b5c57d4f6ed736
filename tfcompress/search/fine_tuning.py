"""Makes a candidate's model: smaller, sparse, trained with the numbers of the device."""

import dataclasses
import math
import re
import time
import warnings
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_callbacks import MagnitudePruning
from tfcompress.clustering import cluster_weights, release_clusters
from tfcompress.distillation import Distiller
from tfcompress.distillation.signals import detect_heads
from tfcompress.interruption import raise_pending_interruption
from tfcompress.keras_graph.kernels import find_kernels
from tfcompress.pruning import PolynomialDecay
from tfcompress.pruning.channels import remove_channels
from tfcompress.quantization import Scheme, quantize_aware
from tfcompress.recipes import WEIGHT_DECAY, decaying_adamw, distillation_losses, ramp
from tfcompress.search.candidates import Candidate
from tfcompress.search.precision import choose_precisions
from tfcompress.search.sensitivity import Sensitivity, distribute_sparsity
from tfcompress.search.training_data import TrainingData

# Kernels of XNNPACK take channels in fours at least.
_CHANNELS_TOGETHER = 4
_TIMED_BATCHES = 12


class _Deadline(keras.callbacks.Callback):
    """Ends a training at a moment of ``time.monotonic``, or after some batches."""

    def __init__(self, moment: float, batches: float = math.inf):
        super().__init__()
        self._moment, self._batches = moment, batches
        self.times: list[float] = []  # at the end of each batch

    def on_train_batch_end(self, batch, logs=None):
        raise_pending_interruption()
        self.times.append(time.monotonic())
        if self.times[-1] >= self._moment or len(self.times) > self._batches:
            self.model.stop_training = True


@dataclasses.dataclass(frozen=True)
class FineTuning:
    """Makes and trains candidates of one model."""

    inputs: Any  # some, to observe ranges and channels on
    labels: np.ndarray | None  # some, which determine the default loss; None where one is given
    learning_rate: float  # the initial one; it decays to zero along a cosine
    loss: object  # of the labels; None for the cross entropy that fits
    seed: int  # of the order of examples
    data: TrainingData | None = None  # None before the first training
    table: Sensitivity | None = None  # of the original, likewise

    def make(self, start: keras.Model, candidate: Candidate, done: Candidate) -> keras.Model:
        """Make a candidate's quantization-aware model, not trained yet, of one that is compressed.

        ``done`` says how far ``start`` is compressed; it is consumed.
        """
        model = release_clusters(start)
        share = 1.0 - (1.0 - candidate.channels) / (1.0 - done.channels)
        if share > 0:
            with warnings.catch_warnings():
                # The line about the trial says so.
                warnings.filterwarnings("ignore", ".*removed no channel")
                model = remove_channels(
                    model, share, round_to=_CHANNELS_TOGETHER, data=self.inputs, reconstruction=True
                )
        scheme = Scheme.int8()
        if candidate.precision < 1:
            scheme = choose_precisions(self.table, candidate.precision).scheme
        quantized = quantize_aware(model, scheme)
        quantized.calibrate(self.inputs)
        return quantized

    def train(
        self,
        quantized: keras.Model,
        candidate: Candidate,
        done: Candidate,
        epochs: int,
        deadline: float,
        number: int,
    ) -> dict[str, list[float]]:
        """Train what ``make`` made with the original as the teacher; return metrics by epoch.

        The trial's number gives its examples an order of their own; the training ends at the
        deadline, a moment of ``time.monotonic``, in any case.
        """
        model = quantized.model
        callbacks: list = [_Deadline(deadline)]
        if candidate.sparsity:
            callbacks.append(self._pruning(model, candidate, done, epochs))
        history = self._fit(quantized, epochs, callbacks, number)
        if candidate.clusters:
            kernels = [k for k in find_kernels(model) if not k.depthwise]
            large = [k.layer_path for k in kernels if k.size >= 4 * candidate.clusters]
            cluster_weights(model, candidate.clusters, large)
            more = self._fit(quantized, max(1, epochs // 4), [_Deadline(deadline)], number)
            history = {name: values + more.get(name, []) for name, values in history.items()}
        return history

    def measure_epoch(self, quantized: keras.Model, deadline: float) -> float:
        """Measure the seconds of an epoch on its first batches, until a moment at most."""
        timer = _Deadline(deadline, _TIMED_BATCHES)
        self._fit(quantized, 1, [timer], 0)
        # The first batch, which is traced, takes longer than any other: it counts if it is alone.
        first, last, count = timer.times[0], timer.times[-1], len(timer.times)
        return max(last - first, 1e-4) / max(count - 1, 1) * self.data.steps

    def _fit(self, quantized, epochs, callbacks, number):
        loss = self.loss or _cross_entropy(quantized, self.labels)
        losses = distillation_losses(quantized, loss)
        distiller = Distiller(quantized, self.data.teacher, losses)
        distiller.compile(
            decaying_adamw(self.learning_rate, WEIGHT_DECAY, epochs * self.data.steps),
            loss,
            metrics=None if self.labels is None else ["accuracy"],
            jit_compile=False,  # several times slower on a CPU
        )
        batches = self.data.batches(self.seed + number)
        history = distiller.fit(
            batches,
            epochs=epochs,
            shuffle=not isinstance(batches, tf.data.Dataset),  # which has an order of its own
            verbose=0,
            callbacks=callbacks,
        ).history
        return {name: [float(value) for value in values] for name, values in history.items()}

    def _pruning(self, model, candidate, done, epochs):
        prunable = {kernel.path for kernel in find_kernels(model) if not kernel.depthwise}
        shares = distribute_sparsity(self.table.only(prunable), candidate.sparsity)
        end_step, frequency = ramp(epochs * self.data.steps)
        schedule = PolynomialDecay(
            done.sparsity, candidate.sparsity, 0, end_step, frequency=frequency
        )
        layers = {path.rpartition("/")[0]: share for path, share in shares.items()}
        layers = {f"^{re.escape(path)}$": share for path, share in layers.items()}
        return MagnitudePruning(schedule, layer_sparsity=layers)


def _cross_entropy(model: keras.Model, labels: np.ndarray) -> keras.Loss:
    """Return the cross entropy that fits a model's last layer and its labels."""
    from_logits = detect_heads(model) != ["softmax"]
    if labels.ndim > 1 and labels.shape[-1] > 1:
        return keras.losses.CategoricalCrossentropy(from_logits=from_logits)
    return keras.losses.SparseCategoricalCrossentropy(from_logits=from_logits)
