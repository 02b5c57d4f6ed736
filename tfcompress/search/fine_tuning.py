"""From a candidate to a trained model: smaller, sparse, with the numbers of the device."""

import dataclasses
import math
import re
import time
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_callbacks import MagnitudePruning
from tfcompress.clustering import cluster_weights, release_clusters
from tfcompress.distillation import Distiller, SoftLabels
from tfcompress.distillation.heads import detect_heads
from tfcompress.interruption import raise_pending_interruption
from tfcompress.keras_graph.kernels import find_kernels
from tfcompress.pruning import PolynomialDecay
from tfcompress.pruning.channels import remove_channels
from tfcompress.quantization import Scheme, quantize_aware
from tfcompress.search.precision import choose_precisions
from tfcompress.search.sensitivity import Sensitivity
from tfcompress.search.space import Candidate
from tfcompress.search.sparsities import share_out
from tfcompress.search.teaching import Lessons

_TEMPERATURE = 4.0
_WEIGHT_DECAY = 1e-3
# Kernels of XNNPACK take channels in fours at least.
_CHANNELS_TOGETHER = 4
_PRUNED_BY = 0.6  # of the training; the rest is for recovery


class Deadline(keras.callbacks.Callback):
    """Ends a training at a moment.

    Args:
        moment: in seconds of ``time.monotonic``.
    """

    def __init__(self, moment: float):
        super().__init__()
        self._moment = moment

    def on_train_batch_end(self, batch, logs=None):
        """End the training if it is time."""
        del batch, logs
        raise_pending_interruption()
        if time.monotonic() >= self._moment:
            self.model.stop_training = True


@dataclasses.dataclass(frozen=True)
class FineTuning:
    """Makes and trains candidates of one model.

    Attributes:
        inputs: some inputs, to see ranges and channels on.
        labels: some labels, which tell the loss.
        learning_rate: at the beginning; it falls to zero along a cosine.
        loss: the loss of the labels; that of classification by default.
        seed: of the order of examples.
        lessons: the training data; None before the first training.
        table: the sensitivity of the original, likewise.
    """

    inputs: Any
    labels: np.ndarray
    learning_rate: float
    loss: object
    seed: int
    lessons: Lessons | None = None
    table: Sensitivity | None = None

    def make(
        self, start: keras.Model, candidate: Candidate, done: Candidate | None = None
    ) -> keras.Model:
        """Make a candidate's model: smaller, with ranges, not trained yet.

        Args:
            start: the model to make it of; it is not used otherwise.
            candidate: what to make.
            done: how far ``start`` is compressed already; None for the original.

        Returns:
            The quantization-aware model.
        """
        model = release_clusters(start)
        share = 1.0 - (1.0 - candidate.channels) / (1.0 - (done or Candidate()).channels)
        if share > 0:
            model = remove_channels(
                model,
                share,
                round_to=_CHANNELS_TOGETHER,
                data=self.inputs,
                reconstruction=True,
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
        done: Candidate | None,
        epochs: int,
        deadline: float,
        number: int,
    ) -> dict[str, list[float]]:
        """Train what ``make`` made, with the original as the teacher.

        Args:
            quantized: the model.
            candidate: what it is to become.
            done: how far it was compressed before ``make``; None for the original.
            epochs: how many.
            deadline: the moment of ``time.monotonic`` at which the training ends in any case.
            number: of the trial, which gives its examples an order of their own.

        Returns:
            Losses and metrics by epoch.
        """
        model = quantized.model
        callbacks: list = [Deadline(deadline)]
        if candidate.sparsity:
            callbacks.append(self._pruning(model, candidate, done or Candidate(), epochs))
        history = self._fit(quantized, epochs, callbacks, number)
        if candidate.clusters:
            cluster_weights(model, candidate.clusters, _clusterable(model, candidate.clusters))
            more = self._fit(quantized, max(1, epochs // 4), [Deadline(deadline)], number)
            history = {name: values + more.get(name, []) for name, values in history.items()}
        return history

    def pace(self, quantized: keras.Model, deadline: float) -> float:
        """Measure the seconds of an epoch, on the first batches, until a moment at most."""
        clock = _BatchClock(most=12)
        self._fit(quantized, 1, [clock, Deadline(deadline)], 0)
        return clock.seconds_a_batch() * self.lessons.steps

    def _fit(self, quantized, epochs, callbacks, number):
        distiller = Distiller(
            quantized, self.lessons.teacher, losses=SoftLabels(temperature=_TEMPERATURE)
        )
        steps = epochs * self.lessons.steps
        distiller.compile(
            keras.optimizers.AdamW(
                keras.optimizers.schedules.CosineDecay(self.learning_rate, steps),
                weight_decay=_WEIGHT_DECAY,
            ),
            self.loss or classification_loss(quantized, self.labels),
            metrics=["accuracy"],
            jit_compile=False,  # several times slower on a CPU
        )
        batches = self.lessons.batches(self.seed + number)
        history = distiller.fit(
            batches,
            epochs=epochs,
            shuffle=not isinstance(batches, tf.data.Dataset),  # which has an order of its own
            verbose=0,
            callbacks=callbacks,
        ).history
        return {name: [float(value) for value in values] for name, values in history.items()}

    def _pruning(self, model, candidate, done, epochs):
        steps = epochs * self.lessons.steps
        prunable = {kernel.path for kernel in find_kernels(model) if not kernel.depthwise}
        shares = share_out(self.table.only(prunable), candidate.sparsity)
        schedule = PolynomialDecay(
            done.sparsity,
            candidate.sparsity,
            begin_step=0,
            end_step=max(1, math.ceil(_PRUNED_BY * steps)),
            frequency=max(1, steps // 50),
        )
        layers = {path.rpartition("/")[0]: share for path, share in shares.items()}
        return MagnitudePruning(
            schedule, targets={f"^{re.escape(path)}$": share for path, share in layers.items()}
        )


class _BatchClock(keras.callbacks.Callback):
    """Times some batches after the first, which is traced, and ends the training after them."""

    def __init__(self, most: int):
        super().__init__()
        self._most = most
        self._moments: list[float] = []

    def on_train_batch_end(self, batch, logs=None):
        del batch, logs
        self._moments.append(time.monotonic())
        if len(self._moments) > self._most:
            self.model.stop_training = True

    def seconds_a_batch(self) -> float:
        # With a single batch there is nothing but the first, which takes longer than any.
        moments = self._moments
        return max(moments[-1] - moments[0], 1e-4) / max(len(moments) - 1, 1)


def classification_loss(model: keras.Model, labels: np.ndarray) -> keras.Loss:
    """Return the cross entropy that fits a model's last layer and its labels."""
    from_logits = detect_heads(model) != ["softmax"]
    if labels.ndim > 1 and labels.shape[-1] > 1:
        return keras.losses.CategoricalCrossentropy(from_logits=from_logits)
    return keras.losses.SparseCategoricalCrossentropy(from_logits=from_logits)


def _clusterable(model, clusters):
    """Return the layers whose kernels have weights to share."""
    return [
        kernel.layer_path
        for kernel in find_kernels(model)
        if not kernel.depthwise and kernel.size >= 4 * clusters
    ]
