"""Training with the numbers that will be deployed."""

import functools
from collections.abc import Iterable

import keras
import numpy as np
import tensorflow as tf

from tfcompress.examples import iterate_inputs
from tfcompress.graph.interception import VariableSwap
from tfcompress.graph.selection import LayerSelector, select_layers, walk_layers
from tfcompress.graph.taps import TappedCalls
from tfcompress.graph.wrapper import ModelWrapper, require_built
from tfcompress.quantization.fake_quantization import (
    fake_quantize_activations,
    moving_range,
    observed_range,
    wider_range,
)
from tfcompress.quantization.layer_calls import observable_call
from tfcompress.quantization.phase import Phase
from tfcompress.quantization.placement import (
    Placement,
    input_point,
    read_placement,
    refuse_float,
)
from tfcompress.quantization.scheme import Scheme
from tfcompress.quantization.weights import QuantizedWeights
from tfcompress.tflite import conversion
from tfcompress.tflite.flatbuffer import read_model
from tfcompress.tflite.precision import float_layers

_INFERENCE = Phase(ranges_move=False)


def _with_moving_statistics(run, inputs, training=None, **kwargs):
    del training
    return run(inputs, training=False, **kwargs)


@keras.saving.register_keras_serializable(package="tfcompress")
class QuantizeAware(ModelWrapper):
    """A model that computes with the rounded weights and activations of its deployed form.

    Made by ``quantize_aware``. It shares the variables of the model that it wraps and adds one of
    its own: the range of each tensor that the device stores.

    Args:
        model: the user's built model.
        scheme: the numerics.
        placement: which tensors have a range.
        layers: paths of the layers whose kernels are rounded; ``None`` for all.
        range_momentum: the weight of the past in the moving average of the ranges, 0 to 1.
        allow_float: paths of the layers that may compute in float on the device.
        name: name of the wrapper.

    Attributes:
        phase: what a training step does; ``QuantizationSchedule`` sets it. A step that is compiled
            already takes no notice of a change.
    """

    def __init__(
        self,
        model,
        scheme,
        placement,
        layers=None,
        range_momentum=0.95,
        allow_float=(),
        name=None,
        **kwargs,
    ):
        super().__init__(model, name=name, **kwargs)
        self.allow_float = tuple(allow_float)
        self.scheme = scheme
        self.placement = placement
        self.range_momentum = range_momentum
        self._layer_paths = layers
        self._rows = placement.rows()
        self._fixed = dict(placement.fixed)
        self._weights = QuantizedWeights(model, scheme, layers)
        self._taps = TappedCalls(model)
        self.phase = Phase()
        self.ranges = self.add_weight(
            shape=(len(placement.learnt), 2),
            initializer="zeros",
            dtype="float32",
            trainable=False,
            autocast=False,
            aggregation="mean",
            name="ranges",
        )
        self._observe = tf.function(self._observed, reduce_retracing=True)

    def call(self, inputs, training=None, mask=None):
        """Run the model on rounded numbers; in training, follow the ranges of its tensors."""
        if not training and tf.executing_eagerly():
            self._require_ranges()
        return self._run(inputs, training, mask, self.phase if training else _INFERENCE)

    def _run(self, inputs, training, mask, phase):
        before = tf.unstack(tf.convert_to_tensor(self.ranges), num=len(self.placement.learnt))
        ranges, seen = list(before), {}

        def round_to_range(point, tensor):
            value_range = self._fixed.get(point)
            row = self._rows.get(point)
            if row is not None:
                if phase.ranges_move:
                    observed = observed_range(tensor)
                    seen[row] = wider_range(seen[row], observed) if row in seen else observed
                    ranges[row] = moving_range(before[row], seen[row], self.range_momentum)
                value_range = ranges[row]
            if value_range is None or not phase.rounding:
                return tensor
            return fake_quantize_activations(tensor, value_range, self.scheme.activation_bits)

        def wrap(layer, call, tap):
            wrapped = self._weights.wrap if phase.rounding else observable_call
            run = wrapped(layer, call, tap)
            if isinstance(layer, keras.layers.BatchNormalization) and not phase.statistics_move:
                return functools.partial(_with_moving_statistics, run)
            return run

        flat = [
            round_to_range(input_point(index), tensor)
            for index, tensor in enumerate(keras.tree.flatten(inputs))
        ]
        inputs = keras.tree.pack_sequence_as(inputs, flat)
        masks = {} if mask is None else {"mask": mask}
        with self._taps.active(round_to_range, wrap):
            outputs = self.model(inputs, training=training, **masks)
        if phase.ranges_move:
            self.ranges.assign(tf.stack(ranges))
        return outputs

    def calibrate(self, data, batch_size=32):
        """Set the ranges from data without training, as post-training quantization does.

        Args:
            data: inputs, with or without labels: whatever ``fit`` takes.
            batch_size: examples per batch where ``data`` is made of arrays.

        Returns:
            The model itself.

        Raises:
            ValueError: ``data`` is empty.
            TypeError: ``data`` is of no kind that ``fit`` takes.
        """
        batches = 0
        for inputs in iterate_inputs(data, batch_size):
            self._observe(inputs)
            batches += 1
        if not batches:
            raise ValueError(
                f"Calibrating model {self.name!r} needs at least one batch. Received: no data"
            )
        return self

    def _observed(self, inputs):
        inputs = keras.tree.map_structure(
            lambda tensor: (
                tf.cast(tensor, self.input_dtype) if tensor.dtype.is_floating else tensor
            ),
            inputs,
        )
        self._run(inputs, training=False, mask=None, phase=Phase())

    @property
    def calibrated(self) -> bool:
        """Whether ranges have been observed: after a training step or ``calibrate``."""
        ranges = keras.ops.convert_to_numpy(self.ranges)
        return bool((ranges[:, 1] > ranges[:, 0]).any())

    def _require_ranges(self):
        if not self.calibrated:
            raise ValueError(
                f"Model {self.name!r} has not seen any data since it was made quantization-aware, "
                "so the ranges of its activations are unknown. Train it with `fit`, or call "
                "`calibrate(data)` on some inputs first."
            )

    def make_test_function(self, force=False):
        """Build the evaluation step, once the ranges are known."""
        self._require_ranges()
        return super().make_test_function(force)

    def make_predict_function(self, force=False):
        """Build the prediction step, once the ranges are known."""
        self._require_ranges()
        return super().make_predict_function(force)

    def get_config(self):
        """Return what rebuilds the model."""
        return {
            **super().get_config(),
            "scheme": self.scheme.get_config(),
            "placement": self.placement.get_config(),
            "layers": self._layer_paths,
            "range_momentum": self.range_momentum,
            "allow_float": list(self.allow_float),
        }

    @classmethod
    def from_config(cls, config):
        """Rebuild the model from ``get_config``'s data."""
        config = dict(config)
        return cls(
            keras.saving.deserialize_keras_object(config.pop("model")),
            Scheme.from_config(config.pop("scheme")),
            Placement.from_config(config.pop("placement")),
            **config,
        )


def quantize_aware(
    model: keras.Model,
    scheme: Scheme | None = None,
    layers: LayerSelector = None,
    *,
    range_momentum: float = 0.95,
    allow_float: Iterable[str] = (),
) -> QuantizeAware:
    """Make a model train with the numerics of its deployed form.

    The result computes what the device will compute: kernels rounded as the converter will round
    them, and each tensor that the device stores rounded to a range that follows the data. Which
    tensors those are is read from the converted model, so it fuses and folds as the device does.
    It is a ``keras.Model`` with the inputs and outputs of ``model`` and *shares its variables*:
    training it trains ``model``, and calling ``model`` computes in float as before. Clone the model
    first to keep the float weights.

    Args:
        model: a built Sequential or Functional model, or one nested of them.
        scheme: the numerics; 8-bit weights and activations when not given.
        layers: the layers whose kernels are rounded in training; see ``select_layers``. All when
            not given; the kernels of the others are rounded at export alone.
        range_momentum: the weight of the past in the moving average of the ranges, 0 to 1. The
            average starts from the first batch.
        allow_float: paths of layers that may compute in float on the device.

    Returns:
        The model to compile, fit and hand to ``export_tflite``.

    Raises:
        ValueError: ``model`` is quantization-aware already, is not built, does not declare its
            inputs or leaves a dimension besides the batch unknown; ``layers`` matches nothing;
            ``range_momentum`` is not in [0, 1); or ``allow_float`` names no layer.
        PlacementError: layers that are not in ``allow_float`` would compute in float on the device;
            the message names them.
        ConversionError: the TFLite converter refuses the model.

    Example:
    >>> model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(4)])
    >>> q = tfc.quantize_aware(model)
    >>> q.compile("adam", "mse")
    >>> q.fit(x, y)
    >>> export_tflite(q, "model.tflite")

    Method: Jacob et al., "Quantization and Training of Neural Networks for Efficient
    Integer-Arithmetic-Only Inference", 2018, https://arxiv.org/abs/1712.05877.
    """
    if isinstance(model, QuantizeAware):
        raise ValueError(f"Model {model.name!r} is quantization-aware already.")
    if not 0 <= range_momentum < 1:
        raise ValueError(
            f"`range_momentum` must be in [0, 1). Received: range_momentum={range_momentum!r}"
        )
    require_built(model)
    scheme = scheme or Scheme.int8()
    paths = None if layers is None else [path for path, _ in select_layers(model, layers)]
    allowed = list(allow_float)
    if allowed:
        select_layers(model, allowed)
    placement = read_placement(model, scheme, paths, allowed)
    wrapped = QuantizeAware(model, scheme, placement, paths, range_momentum, allowed)
    _require_integer(wrapped)
    return wrapped


def _require_integer(wrapped):
    """Let the converter say, before any training, whether the ranges are where it needs them."""
    made_up = np.tile(np.float32([-8.0, 8.0]), (wrapped.ranges.shape[0], 1))
    with VariableSwap([(wrapped.ranges, made_up)]):
        frozen = conversion.freeze(wrapped, conversion.input_specs(wrapped))
    content = read_model(conversion.convert_plainly(frozen, _quantized))
    refuse_float(
        wrapped,
        float_layers(content, [path for path, _ in walk_layers(wrapped)]),
        wrapped.allow_float,
    )


def _quantized(converter):
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
