"""What the steps of a repair work on: a copy of the model, data, and the model as it is rounded."""

import functools
from collections.abc import Callable, Sequence

import keras
import numpy as np
import tensorflow as tf

from tfcompress.keras_graph.channels import read_channels, rebuild
from tfcompress.keras_graph.interception import float32_computation
from tfcompress.post_training.folding import fold_batch_normalization
from tfcompress.post_training.grids import WeightGrids
from tfcompress.post_training.linear import LinearLayer, linear_layers
from tfcompress.post_training.noise import OUTPUTS, SignalToNoise, outputs_of
from tfcompress.post_training.observing import collect
from tfcompress.quantization import Scheme, quantize_aware
from tfcompress.quantization.arithmetic.observers import MovingAverage
from tfcompress.quantization.quantize_aware import QuantizeAware

_MOST_ROWS = 4096  # positions of a layer at most


class Workbench:
    """A model under repair.

    Args:
        original: the caller's model; it is left as it is.
        batches: inputs.
        scheme: the numerics of the deployed model.
        observer: how the ranges of activations follow from the data.

    Attributes:
        model: the copy that the steps change, batch normalizations folded.
        reference: what the model should compute: it has the weights before any was rounded.
        grids: the grids of the weights.
        linears: the layers that the steps work on.
        others: by the path of each other kernel, why it is left.
    """

    def __init__(
        self,
        original: keras.Model,
        batches: Sequence,
        scheme: Scheme,
        observer: str | MovingAverage,
    ):
        self.original, self.batches, self.scheme = original, batches, scheme
        self._observer = observer
        self.model = fold_batch_normalization(original)
        self.reference = rebuild(self.model, read_channels(self.model))
        self.grids = WeightGrids(self.model, scheme)
        self.linears, self.others = linear_layers(self.model)
        self._reference_linears, _ = linear_layers(self.reference)

    def settle_reference(self) -> None:
        """Let the model compute what it does now, from here on."""
        self.reference.set_weights(self.model.get_weights())

    @functools.cached_property
    def _quantized(self) -> QuantizeAware:
        return quantize_aware(self.model, self.scheme, observer=self._observer)

    def calibrate(self) -> None:
        """Observe the ranges of the activations of the rounded model anew."""
        self._quantized.calibrate(iter(self.batches))

    def noise(self) -> dict[str, float]:
        """Return the signal-to-noise ratios of all linear layers, and of "outputs", in dB."""
        self.calibrate()
        ratios = {path: SignalToNoise() for path in (*(x.path for x in self.linears), OUTPUTS)}
        run_rounded = self._run()
        for batch in self.batches:
            with float32_computation(self.reference):
                wanted = outputs_of(
                    self._reference_linears, lambda x: self.reference(x, training=False), batch
                )
            with float32_computation(self.original):
                wanted |= outputs_of([], lambda x: self.original(x, training=False), batch)
            with float32_computation(self.model):
                found = outputs_of(self.linears, run_rounded, batch)
            for path, ratio in ratios.items():
                for one, other in zip(wanted[path], found[path], strict=True):
                    ratio.add(one, other)
        return {path: ratio.decibels for path, ratio in ratios.items()}

    def reference_outputs(self) -> dict[str, np.ndarray]:
        """Return what each linear layer makes where nothing is rounded, at random positions.

        Activations come after: a float32 array (positions, outputs) by path.
        """

        def run(batch):
            return self.reference(batch, training=False)

        with float32_computation(self.reference):
            return collect(self._reference_linears, self.batches, _MOST_ROWS, run, _outputs)

    def rounded_rows(self, linear: LinearLayer) -> np.ndarray:
        """Return what enters a linear layer where all is rounded, at the same positions.

        Returns:
            float32 array (positions, groups, taps * inputs of a group).
        """
        with float32_computation(self.model):
            return collect([linear], self.batches, _MOST_ROWS, self._run())[linear.path]

    def _run(self) -> Callable:
        quantized = self._quantized
        if not quantized.placement.needs_graph():
            return quantized.simulated

        def run(batch):
            # Traced anew each time: what looks at layers is part of the trace.
            return tf.function(quantized.simulated)(batch)

        return run


def _outputs(linear: LinearLayer, rows):
    kernel = keras.ops.convert_to_numpy(linear.kernel)
    outputs = linear.products(rows, linear.to_matrices(kernel))
    return outputs if linear.bias is None else outputs + tf.convert_to_tensor(linear.bias)
