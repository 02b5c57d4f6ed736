"""A session of post-training optimization: the model being changed, its reference and its data."""

import functools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence

import keras
import numpy as np
import tensorflow as tf

from tfcompress.keras_graph.channels import read_channels, rebuild
from tfcompress.keras_graph.interception import float32_computation, intercepted_calls
from tfcompress.keras_graph.linear_layers import (
    LinearLayer,
    collect_outputs,
    collect_rows,
    linear_layers,
)
from tfcompress.post_training.batch_normalization import fold_batch_normalization
from tfcompress.quantization import Scheme, quantize_aware
from tfcompress.quantization.arithmetic.observers import MovingAverage
from tfcompress.quantization.layer_schemes import resolve_schemes
from tfcompress.quantization.quantization_aware_model import QuantizeAware
from tfcompress.quantization.tracing import computed_once
from tfcompress.quantization.weights import QuantizedWeights, RoundedKernel
from tfcompress.tflite.numerics import SignalToNoise

OUTPUTS = "outputs"
NOISE_PASSES = 3.0  # that ``Session.noise`` makes
_MAX_ROWS = 4096  # positions per layer


class _Reported:
    """Batches that report, after each, which share of them that was."""

    def __init__(self, batches: Sequence, report: Callable[[float], None]):
        self._batches, self._report = batches, report

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator:
        for batch in self._batches:
            yield batch
            self._report(1 / len(self._batches))


class WeightGrids:
    """The quantization grids of a model's kernels under a scheme."""

    def __init__(self, model: keras.Model, scheme: Scheme):
        weights = QuantizedWeights(model, resolve_schemes(model, scheme))
        self._kernels: Mapping[int, RoundedKernel] = {id(k.variable): k for k in weights.kernels}

    def levels(self, linear: LinearLayer) -> float:
        """Return the largest integer of a layer's grid; infinite if its weights stay float."""
        kernel = self._kernels.get(id(linear.kernel))
        return math.inf if kernel is None else kernel.levels

    def scale_indices(self, linear: LinearLayer) -> np.ndarray:
        """Return the index of the scale of each output channel: an int array (outputs,)."""
        kernel = self._kernels.get(id(linear.kernel))
        one_scale = kernel is None or kernel.scale_axes is None
        return np.zeros(linear.outputs, int) if one_scale else np.arange(linear.outputs)

    def quantized(self, linear: LinearLayer) -> np.ndarray:
        """Return a layer's kernel as deployed, an array of its shape."""
        kernel = self._kernels.get(id(linear.kernel))
        return keras.ops.convert_to_numpy(linear.kernel if kernel is None else kernel.rounded())


class Session:
    """A model under optimization, which the steps change.

    Attributes:
        original: the caller's model; it is not changed.
        batches: the inputs, a sequence; ``tell`` is called with the number of passes over it.
        scheme: the numerics of the deployed model.
        model: a copy of the original with folded batch normalizations, which the steps change.
        reference: what the model should compute: a copy with weights that were never rounded.
        grids: the grids of the weights.
        linears: the layers that the steps change.
        skipped: the reason for each other kernel, by path.
    """

    def __init__(
        self,
        original: keras.Model,
        batches: Sequence,
        scheme: Scheme,
        observer: str | MovingAverage,
        tell: Callable[[float], None] = lambda passes: None,
    ):
        self.original, self.scheme = original, scheme
        self._data, self._passes, self._tell = batches, 0.0, tell
        self.batches = _Reported(batches, self._passed)
        self._observer = observer
        self.model = fold_batch_normalization(original)
        self.reference = rebuild(self.model, read_channels(self.model))
        self.grids = WeightGrids(self.model, scheme)
        self.linears, self.skipped = linear_layers(self.model)
        self._reference_linears, _ = linear_layers(self.reference)

    def _passed(self, share: float) -> None:
        """Count a part of a pass over the data."""
        self._passes += share
        self._tell(self._passes)

    def update_reference(self) -> None:
        """Make the present weights of the model the reference."""
        self.reference.set_weights(self.model.get_weights())

    @functools.cached_property
    def _quantized(self) -> QuantizeAware:
        return quantize_aware(self.model, self.scheme, observer=self._observer)

    def calibrate(self) -> None:
        """Observe the ranges of the quantized model's activations."""
        self._quantized.calibrate(iter(self.batches))

    def noise(self) -> dict[str, float]:
        """Return the signal-to-noise ratios of all linear layers, and of "outputs", in dB."""
        self.calibrate()
        ratios = {path: SignalToNoise() for path in (*(x.path for x in self.linears), OUTPUTS)}
        run_quantized = self._run()
        for batch in _Reported(self._data, lambda share: self._passed(2 * share)):
            with float32_computation(self.reference):
                wanted = _outputs_of(
                    self._reference_linears, lambda x: self.reference(x, training=False), batch
                )
            with float32_computation(self.original):
                wanted |= _outputs_of([], lambda x: self.original(x, training=False), batch)
            with float32_computation(self.model):
                found = _outputs_of(self.linears, run_quantized, batch)
            for path, ratio in ratios.items():
                for reference, values in zip(wanted[path], found[path], strict=True):
                    ratio.add(reference, values)
        return {path: ratio.decibels for path, ratio in ratios.items()}

    def reference_outputs(self) -> dict[str, np.ndarray]:
        """Return the outputs of each linear layer of the reference at random positions.

        They are float32 arrays (positions, outputs) by path, before activations.
        """
        run = functools.partial(self.reference, training=False)
        with float32_computation(self.reference):
            return collect_outputs(self._reference_linears, self.batches, _MAX_ROWS, run)

    def quantized_rows(self, linear: LinearLayer) -> np.ndarray:
        """Return the input rows of a layer in the quantized model, at the same positions.

        They are a float32 array (positions, groups, taps * inputs of a group).
        """
        with float32_computation(self.model):
            # The model is not run behind the layer.
            batches = _Reported(self._data, lambda share: self._passed(share / 2))
            return collect_rows([linear], batches, _MAX_ROWS, self._run())[linear.path]

    def _run(self) -> Callable:
        """Return a function that runs the quantized model on a batch."""
        quantized = self._quantized
        if not quantized.placement.needs_graph():
            return quantized.simulated

        def run(batch):
            # Traced each time: interceptions of layers are part of the trace.
            batch = keras.tree.map_structure(tf.convert_to_tensor, batch)
            return computed_once(lambda: quantized.simulated(batch))

        return run


def _outputs_of(linears: Sequence[LinearLayer], run: Callable, batch) -> dict[str, list]:
    """Run a model on a batch; return the outputs of each call of layers, and of the model."""
    outputs_of: dict[str, list[np.ndarray]] = {linear.path: [] for linear in linears}
    paths = {id(linear.layer): linear.path for linear in linears}

    def wrap(layer, call):
        def record(*args, **kwargs):
            outputs = call(*args, **kwargs)
            tf.numpy_function(outputs_of[paths[id(layer)]].append, [outputs], [])
            return outputs

        return record

    with intercepted_calls([linear.layer for linear in linears], wrap):
        outputs = run(batch)
    return {**outputs_of, OUTPUTS: [np.asarray(tensor) for tensor in keras.tree.flatten(outputs)]}
