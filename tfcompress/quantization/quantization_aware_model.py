"""Training with the numbers that will be deployed."""

import dataclasses
import functools
from collections.abc import Callable, Iterable
from operator import attrgetter
from typing import Any, Self

import keras
import numpy as np
from keras import ops

from tfcompress.backends import (
    graph_operation,
    outside_step,
    require_tensorflow,
    runs_eagerly,
    runs_on,
    traced,
    without_gradients,
)
from tfcompress.compat.keras_attributes import set_untracked
from tfcompress.compat.keras_layers import all_layers
from tfcompress.compat.keras_logits import logits_behind, with_logits
from tfcompress.compat.keras_steps import reads_stored_values
from tfcompress.compat.keras_training import without_autocast
from tfcompress.data import iterate_inputs
from tfcompress.keras_graph.acceleration import in_accelerated_step
from tfcompress.keras_graph.hooks import HookedCalls, input_point
from tfcompress.keras_graph.inner_tensors import is_inner_role
from tfcompress.keras_graph.inputs import arrange_inputs, in_order, standardized_inputs
from tfcompress.keras_graph.interception import is_intercepted
from tfcompress.keras_graph.pixel_scaling import largest_magnitude, warn_of_scaled_pixels
from tfcompress.keras_graph.selection import walk_layers
from tfcompress.keras_graph.wrapper import ModelWrapper, take_model, unwrap
from tfcompress.on_tensorflow import call_on_tensorflow
from tfcompress.quantization.accumulators import AccumulatorUnits
from tfcompress.quantization.activation_tensors import (
    ActivationTensors,
    TrainingMode,
    are_observed,
    around_singularities,
    first_steps,
    has_singularities,
    require_observed,
    stepped_ranges,
    unseen,
)
from tfcompress.quantization.arithmetic.fake_quantization import (
    fake_quantize_activations,
    fake_quantize_activations_outside_xla,
)
from tfcompress.quantization.arithmetic.observers import (
    MAY_MASK,
    MovingAverage,
    get_observer,
    keeps_within,
)
from tfcompress.quantization.layer_schemes import float_paths, resolve_schemes
from tfcompress.quantization.lowerings import observable_call
from tfcompress.quantization.lowerings.channel_normalization import (
    folded_scale,
    with_moving_statistics,
)
from tfcompress.quantization.placement import Placement, require_in_sight
from tfcompress.quantization.scheme import Scheme
from tfcompress.quantization.weights import QuantizedWeights, stepped_in_the_first_version

if runs_on("tensorflow"):  # other backends ask it for the placement, and export there
    from tfcompress.quantization.deployed_graph import DeployedGraph, lower
    from tfcompress.quantization.deployed_model import DeployedModel
    from tfcompress.quantization.integers import TrainedKernel
    from tfcompress.quantization.lowerings.operations import forms_for

_INFERENCE = TrainingMode(ranges_move=False)


@keras.saving.register_keras_serializable(package="tfcompress")
class QuantizeAware(ModelWrapper):
    """A model that computes with the rounded weights and activations of its deployed form.

    Made by ``quantize_aware``. It shares the variables of the model that it wraps and adds its own:
    the range of each tensor that the device stores, and step sizes where they are trained.

    Args:
        model: the user's built model.
        scheme: the numerics.
        placement: which tensors have a range.
        layers: paths of the layers that are quantized; ``None`` for all.
        observer: how ranges follow the data.
        learn_steps: what has trained step sizes: "weights", "activations", both or none.
        allow_float: paths of the layers that may compute in float on the device.
        stepped: paths of the kernels with trained step sizes, where "weights" have some; all when
            not given.
        name: name of the wrapper.

    Attributes:
        training_mode: what a training step does; see ``set_training_mode``.
        float_layers: paths of the layers that compute in float, by ``scheme`` or ``layers``.
        allow_float: paths of these, and of others that may compute in float.
    """

    __module__ = "tfcompress.quantization.quantize_aware"  # saved files name it

    def __init__(
        self,
        model: keras.Model,
        scheme: Scheme,
        placement: Placement,
        layers: Any = None,
        observer: Any = "moving_average",
        learn_steps: Iterable[str] = (),
        allow_float: Iterable[str] = (),
        stepped: Any = None,
        name: str | None = None,
        **kwargs: Any,
    ):
        super().__init__(model, name=name, **kwargs)
        self.scheme = scheme
        self.placement = placement
        self.observer = get_observer(observer)
        self.learn_steps = tuple(learn_steps)
        self._layer_paths = layers
        self._allowed = tuple(allow_float)
        schemes = self._schemes = resolve_schemes(model, scheme, layers)
        self.float_layers = tuple(float_paths(schemes))
        self.allow_float = (*self._allowed, *self.float_layers, *placement.beside_float)
        self._weights = QuantizedWeights(model, schemes)
        if runs_on("tensorflow"):
            self._taps = HookedCalls(model, forms_for(placement.rewritten))
        else:
            self._taps = HookedCalls(model)
            require_in_sight(model, placement, _points_in_sight(model, self._taps))
            self._weights.factors = _folded_scales(model, self._weights, placement.scaled)
        self._traced, self._observe = traced(self._rounded), traced(self._observed)
        self.training_mode = TrainingMode()
        self._deployed: DeployedModel | None = None
        # A compiled step looks here whether ranges follow, if it can do without: ``_can_freeze``.
        self._ranges_move = None
        moving = keras.Variable(True, dtype="bool", trainable=False)
        set_untracked(self, "_ranges_move", moving)  # no weight
        self._can_freeze = False
        self.ranges = self.add_weight(
            shape=(len(placement.learned), 2),
            initializer=unseen,
            dtype="float32",
            trainable=False,
            autocast=False,
            aggregation="mean",
            name="ranges",
        )
        self.activation_steps = None
        if "activations" in self.learn_steps:
            self.activation_steps = self._add_steps("activation_steps", (len(placement.learned),))
        self._stepped = []
        if "weights" in self.learn_steps:
            for kernel in self._weights.kernels:
                if stepped is not None and kernel.kernel.path not in stepped:
                    continue
                self._stepped.append(kernel.kernel.path)
                name = kernel.kernel.path.replace("/", "_") + "_steps"
                steps = self._add_steps(name, kernel.first_steps().shape)
                self._weights.steps[id(kernel.variable)] = steps
            self._weights.start_steps()

    def _add_steps(self, name, shape):
        """Make a variable of step sizes."""
        return self.add_weight(
            shape=tuple(shape), initializer="ones", dtype="float32", autocast=False, name=name
        )

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        """Run the model on rounded numbers; in training, follow the ranges of its tensors."""
        if not training and reads_stored_values():
            self.require_ranges()
        if training and self.activation_steps is not None:  # steps start from ranges
            with outside_step():
                if reads_stored_values():
                    self.require_ranges()
        # The deployed graph calls no layers; who looks at them is shown fake quantization.
        watched = is_intercepted(self._taps.operations)
        inputs = standardized_inputs(self, inputs)
        if all(each is None for each in keras.tree.flatten(mask)):  # Keras gives one for each input
            mask = None
        else:
            mask = arrange_inputs(self, in_order(self, mask))
        exactly = runs_on("tensorflow") and not training and mask is None and not watched
        if exactly and self.deployed.exact:
            return self.deployed(inputs)
        mode = self.training_mode if training else _INFERENCE
        return with_logits(*self._run_in_sight(inputs, training, mask, mode))

    def _run_in_sight(self, inputs, training, mask, mode):
        """Run the model on rounded numbers, in a graph if only that shows all of its tensors."""
        at_once = runs_on("tensorflow") and runs_eagerly()
        hidden = at_once and (
            self.placement.needs_graph() or has_singularities(self.deployed.operation_types)
        )
        run = self._traced if hidden else self._rounded
        return run(inputs, training=training, mask=mask, mode=mode)

    # What the wrapped model takes and gives.
    inputs = property(attrgetter("model.inputs"))
    outputs = property(attrgetter("model.outputs"))
    input_shape = property(attrgetter("model.input_shape"))
    output_shape = property(attrgetter("model.output_shape"))
    output_names = property(attrgetter("model.output_names"))

    @property
    def input_names(self) -> list[str]:
        """The names of what the wrapped model takes, in order."""
        return [tensor.name for tensor in self.model.inputs]

    def get_layer(self, name: str | None = None, index: int | None = None) -> keras.Layer:
        """Return a layer of the wrapped model, see ``keras.Model.get_layer``."""
        return self.model.get_layer(name, index)

    @property
    def deployed(self) -> "DeployedModel":
        """The model as a device runs it: its file, and inference with the device's integers."""
        if self._deployed is None:
            require_tensorflow("The model as a device runs it")
            with outside_step():
                self.use_graph(
                    lower(
                        self.model,
                        self.scheme,
                        self._schemes,
                        self.allow_float,
                        self.placement.rewritten,
                        self.placement.rows(),
                    )
                )
        return self._deployed

    def __dir__(self) -> list[str]:
        """List the attributes without ``deployed``.

        Keras gets all that are listed when it saves or loads a model: before its weights are there,
        by which the tensors of the file are told apart.
        """
        return [name for name in super().__dir__() if name != "deployed"]

    def use_graph(self, graph: "DeployedGraph") -> None:
        """Take a deployed graph, of the model as it is here, for that of the model."""
        trained = {
            name: kernel
            for name, variable in graph.traced.weights.items()
            for kernel in self._weights.kernels
            if kernel.variable is variable
        }
        with_one_scale = {
            name: kernel
            for name, kernel in graph.kernels_with_one_scale().items()
            if name in trained and trained[name].scale_axes is None
        }
        self._weights.factors = {
            id(trained[name].variable): functools.partial(graph.factor_of, kernel)
            for name, kernel in with_one_scale.items()
        }
        self.placement = dataclasses.replace(
            self.placement,
            probabilities=graph.placement.probabilities,
            scaled=tuple(
                (trained[name].kernel.path, graph.normalization_behind(kernel, self.model))
                for name, kernel in with_one_scale.items()
                if not graph.is_scaled_alike(kernel)
            ),
        )

        def state():
            with without_autocast():  # stored float32 values, also under mixed precision
                ranges = self._present_ranges()
                kernels = {
                    name: TrainedKernel(kernel, self._weights.steps.get(id(kernel.variable)))
                    for name, kernel in trained.items()
                }
                return ranges, graph.traced.weight_values(), kernels

        graph = dataclasses.replace(graph, placement=self.placement)
        deployed = DeployedModel(graph, self.model, self.scheme.kernels, state)
        set_untracked(self, "_deployed", deployed)  # Keras would track a callable object of ours

    def simulated(self, inputs: Any) -> Any:
        """Run the model at inference with its tensors in sight: fake quantization in float.

        Args:
            inputs: what the model takes.

        Returns:
            What it gives; that of the device but for roundings that fall on the other side.
        """
        inputs = standardized_inputs(self, inputs)
        inputs = keras.tree.map_structure(ops.convert_to_tensor, inputs)
        with without_gradients():
            return self._run_in_sight(inputs, False, None, _INFERENCE)[0]

    def predict_exactly(self, x: Any, batch_size: int = 32) -> Any:
        """Predict what the file gives, to the bit, from any backend.

        On TensorFlow that is ``predict``. Other backends predict by fake quantization in float;
        for this, the model travels to a process with TensorFlow, whose start takes some seconds.

        Args:
            x: inputs, as ``predict`` takes them.
            batch_size: examples per batch.

        Returns:
            The model's outputs, as arrays.
        """
        return call_on_tensorflow(
            __name__, "predicted", self, x, batch_size, shown_as="predict_exactly"
        )

    def export(
        self,
        filepath: Any,
        format: str = "tf_saved_model",
        verbose: bool | None = None,
        input_signature: Any = None,
        **kwargs: Any,
    ) -> None:
        """Export inference as Keras does, for servers: the same integers as in the file.

        Args:
            filepath: where to write.
            format: see ``keras.Model.export``; files for devices come from ``export_tflite``.
            verbose: see ``keras.Model.export``.
            input_signature: that of the wrapped model when not given.
            **kwargs: see ``keras.Model.export``.

        Raises:
            ValueError: ``format`` is "litert".
        """
        if format == "litert":
            raise ValueError(
                "Keras's converter cannot read the integers of a quantization-aware model: "
                "`export_tflite(model, path)` writes its file. Received: format='litert'"
            )
        if input_signature is None:
            specs = [
                keras.InputSpec(shape=(None, *x.shape[1:]), dtype=x.dtype, name=x.name)
                for x in self.inputs
            ]
            input_signature = [arrange_inputs(self, specs)]
        super().export(filepath, format, verbose, input_signature, **kwargs)

    def set_training_mode(self, mode: TrainingMode) -> bool:
        """Set what training steps do.

        Returns:
            Whether a step that is compiled already has to be traced again.
        """
        before, self.training_mode = self.training_mode, mode
        if mode == before:
            return False
        freezes = mode == dataclasses.replace(before, ranges_move=False)
        held = freezes and self._can_freeze
        self._ranges_move.assign(not held)
        return not held

    def _rounded(self, inputs, training, mask, mode):
        """Run the model on rounded numbers; return its outputs, and the logits behind each."""
        steps = self.activation_steps
        outside_xla = in_accelerated_step()
        if training:
            # XLA wants to know the shapes of what is observed; trained steps have other gradients.
            can_freeze = outside_xla and mode.ranges_move and not self.learn_steps
            self._can_freeze = can_freeze
            self._read_graph()
        stored = ActivationTensors(
            self.placement,
            self.scheme,
            ops.convert_to_tensor(self.ranges),
            mode,
            self.observer,
            None if steps is None else ops.convert_to_tensor(steps),
            fake_quantize_activations_outside_xla if outside_xla else fake_quantize_activations,
            self.placement.probabilities if training else (),
            ops.convert_to_tensor(self._ranges_move) if training and can_freeze else None,
            self._known_ranges() if training and outside_xla else None,
        )
        outputs = self._run(inputs, training, mask, mode, stored.tap, stored.grid_of)
        stored.require_met(self)
        if mode.ranges_move and steps is None and stored.ranges:
            self.ranges.assign(ops.stack(stored.ranges))
        # Beside them: what leaves a tf.function loses its attributes.
        return outputs, [logits_behind(output) for output in keras.tree.flatten(outputs)]

    def _known_ranges(self):
        """Return the ranges as numbers while a step is traced, None if they may go anywhere."""
        if self.learn_steps or not keeps_within(self.observer):
            return None
        with outside_step():
            return ops.convert_to_numpy(self.ranges)

    def _run(self, inputs, training, mask, mode, tap, grid_of=None):
        """Run the model with rounded weights, its tensors offered to a tap."""
        weights = self._weights.for_one_run()
        units = None if grid_of is None else AccumulatorUnits(grid_of, weights.step_of)
        if mode.rounding:
            tap = around_singularities(tap, self.placement.rows())

        def wrap(layer, call, tap):
            if mode.rounding:
                learning = bool(training) and mode.ranges_move
                run = weights.wrap(layer, call, tap, learning)
                if units is not None:
                    run = units.wrap(layer, run, bool(training) and mode.statistics_move)
            else:
                run = observable_call(layer, call, tap)
            if isinstance(layer, keras.layers.BatchNormalization) and not mode.statistics_move:
                return with_moving_statistics(run)
            return run

        flat = [
            tap(input_point(index), _as_declared(tensor, declared.dtype))
            for index, (tensor, declared) in enumerate(
                zip(keras.tree.flatten(inputs), unwrap(self).inputs, strict=True)
            )
        ]
        inputs = keras.tree.pack_sequence_as(inputs, flat)
        masks = {} if mask is None else {"mask": mask}
        with self._taps.active(tap, wrap):
            return self.model(inputs, training=training, **masks)

    def calibrate(
        self, data: Any, batch_size: int = 32, observer: str | MovingAverage | None = None
    ) -> Self:
        """Set the ranges from data without training, as post-training quantization does.

        All batches count alike: the ranges are the mean of what they ask for.

        Step sizes that are trained start anew: from these ranges, and from the present weights.

        Args:
            data: inputs, with or without labels: whatever ``fit`` takes.
            batch_size: examples per batch where ``data`` is made of arrays.
            observer: how ranges follow from the data, see ``quantize_aware``; the model's own when
                not given.

        Returns:
            The model itself.

        Raises:
            ValueError: ``data`` is empty, or a tensor holds NaN or infinite values on it; the
                message names the layer where they begin.
            TypeError: ``data`` is of no kind that ``fit`` takes.
        """
        observer = self.observer if observer is None else get_observer(observer)
        none, asked, largest = unseen(self.ranges.shape, "float32"), [], 0.0
        for batch in iterate_inputs(data, batch_size):
            inputs = standardized_inputs(self, batch, "data of `calibrate`")
            with without_gradients():
                ranges, finite = self._observe(inputs, none, observer)
            self._require_finite(ops.convert_to_numpy(finite))
            largest = max(largest, largest_magnitude(inputs))
            asked.append(ops.convert_to_numpy(ranges))
        if not asked:
            raise ValueError(
                f"Calibrating model {self.name!r} needs at least one batch. Received: no data"
            )
        warn_of_scaled_pixels(self.model, largest, "data of `calibrate`")
        self.ranges.assign(observer.over_batches(asked))
        if self.activation_steps is not None:
            steps = first_steps(ops.convert_to_tensor(self.ranges.value), self.scheme)
            self.activation_steps.assign(steps)
        self._weights.start_steps()
        return self

    def _observed(self, inputs, ranges, observer):
        """Follow the ranges of a batch, and tell of each tensor whether it is finite."""
        stored = ActivationTensors(self.placement, self.scheme, ranges, TrainingMode(), observer)
        finite = {}
        placed = self.placement.rows()

        def tap(point, tensor, **how):
            # Inside a layer an infinite root of zero may be limited, or not chosen.
            counts = point in placed or not is_inner_role(point.role)
            dtype = keras.backend.standardize_dtype(tensor.dtype)
            if keras.backend.is_float_dtype(dtype) and counts:
                is_known = ops.isfinite(tensor)
                operation = graph_operation(tensor)
                if operation is not None and operation.type in MAY_MASK:
                    is_known |= ops.equal(tensor, -np.inf)
                finite.setdefault(point, ops.all(is_known))
            return stored.tap(point, tensor, **how)

        inputs = keras.tree.map_structure(ops.convert_to_tensor, inputs)
        self._run(inputs, training=False, mask=None, mode=TrainingMode(), tap=tap)
        self._checked = list(finite)
        moved = ops.stack(stored.ranges) if stored.ranges else ranges
        return moved, ops.stack(list(finite.values()))

    def _require_finite(self, finite):
        """Check what ``_observed`` tells of each tensor."""
        if not finite.all():
            point = self._checked[int(np.argmin(finite))]
            where = f"layer {point.path!r}" if point.path else "an input"
            raise ValueError(
                f"Model {self.name!r} cannot be calibrated: the values of {where} ({point}) are "
                "NaN or infinite on this data. Look at the data, and at the weights before it."
            )

    def input_ranges(self) -> list[tuple[float, float] | None]:
        """Return the smallest and the largest value of each input that has a range, else None."""
        ranges = ops.convert_to_numpy(self._present_ranges()).tolist()
        rows = self.placement.rows()
        found = [rows.get(input_point(index)) for index in range(len(self.inputs))]
        return [None if row is None else tuple(ranges[row]) for row in found]

    def _present_ranges(self):
        """Return the ranges as they are now, float32 (rows, 2), with steps that are trained."""
        ranges = ops.convert_to_tensor(self.ranges.value)
        if self.activation_steps is None:
            return ranges
        return stepped_ranges(
            ranges, ops.convert_to_tensor(self.activation_steps.value), self.scheme
        )

    @property
    def calibrated(self) -> bool:
        """Whether ranges have been observed: after a training step or ``calibrate``."""
        return are_observed(keras.ops.convert_to_numpy(self.ranges))

    def require_ranges(self) -> None:
        """Raise a ValueError unless all ranges are known; it names those that are not."""
        ranges = keras.ops.convert_to_numpy(self.ranges)
        steps_follow = self.activation_steps is not None
        require_observed(self.name, self.placement.learned, ranges, steps_follow)

    def make_train_function(self, force: bool = False) -> Callable:
        """Build the training step, once the deployed graph is read."""
        self._read_graph()
        if self.activation_steps is not None:
            self.require_ranges()
        return super().make_train_function(force)

    def _read_graph(self):
        """Read the deployed graph, which says how kernels fold; not while a step is traced."""
        if runs_on("tensorflow"):
            self.deployed  # noqa: B018 - it is kept

    def make_test_function(self, force: bool = False) -> Callable:
        """Build the evaluation step, once the ranges are known."""
        self.require_ranges()
        return super().make_test_function(force)

    def make_predict_function(self, force: bool = False) -> Callable:
        """Build the prediction step, once the ranges are known."""
        self.require_ranges()
        return super().make_predict_function(force)

    def load_own_variables(self, store: Any) -> None:
        """Load the ranges, which weights of a float model lack."""
        if not store.keys():
            raise ValueError(
                f"The file holds no ranges for the quantization-aware model {self.name!r}: load "
                "weights of the float model into its `.model`."
            )
        super().load_own_variables(store)

    def get_config(self) -> dict[str, Any]:
        """Return what rebuilds the model."""
        return {
            **super().get_config(),
            "scheme": self.scheme.get_config(),
            "placement": self.placement.get_config(),
            "layers": self._layer_paths,
            "observer": keras.saving.serialize_keras_object(self.observer),
            "learn_steps": list(self.learn_steps),
            "allow_float": list(self._allowed),
            "stepped": list(self._stepped),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """Rebuild the model from ``get_config``'s data."""
        config = dict(config)
        model, scheme = take_model(config), Scheme.from_config(config.pop("scheme"))
        if "stepped" not in config:  # a file of the first version
            config["stepped"] = stepped_in_the_first_version(model, scheme)
        return cls(
            model,
            scheme,
            Placement.from_config(config.pop("placement")),
            observer=keras.saving.deserialize_keras_object(config.pop("observer")),
            **config,
        )


def require_whole(model: keras.Model) -> None:
    """Check that no part of a model is quantization-aware by itself."""
    for layer in all_layers(unwrap(model), include_self=False):
        if isinstance(layer, QuantizeAware):
            raise ValueError(
                f"Only a whole model can be quantization-aware, but {layer.name!r} of model "
                f"{unwrap(model).name!r} is so by itself. Build the model on what is inside, "
                f"`{layer.name}.model`, which has the trained weights, and pass that model to "
                "`quantize_aware`. Received: a QuantizeAware inside a model"
            )


def predicted(model: keras.Model, x: Any, batch_size: int) -> Any:
    """Return the predictions of a model, where it computes."""
    return model.predict(x, batch_size, verbose=0)


def _points_in_sight(model, taps):
    """Return the points at which a run of a model hands out its tensors."""
    points = {input_point(index) for index in range(len(model.inputs))}

    def note(point, tensor, **how):
        points.add(point)
        return tensor

    class Run(keras.Operation):
        def call(self, inputs):
            with taps.active(note, observable_call):
                return model(inputs, training=False)

    one = [keras.KerasTensor((1, *tensor.shape[1:]), tensor.dtype) for tensor in model.inputs]
    Run().compute_output_spec(arrange_inputs(model, one))
    return points


def _as_declared(tensor, dtype):
    """Cast what was fed to the type of a float input, such as images of integers."""
    given = keras.backend.standardize_dtype(tensor.dtype)
    if keras.backend.is_float_dtype(dtype) and not keras.backend.is_float_dtype(given):
        return ops.cast(tensor, dtype)
    return tensor


def _folded_scales(model, weights, scaled):
    """Return, by the id of a kernel's variable, what computes what its channels are scaled by."""
    layers = dict(walk_layers(model))
    variables = {kernel.kernel.path: kernel.variable for kernel in weights.kernels}
    return {
        id(variables[kernel]): functools.partial(folded_scale, layers[normalization])
        for kernel, normalization in scaled
    }
