"""Making a model quantization-aware, and the checks before."""

from collections.abc import Iterable, Sequence

import keras

from tfcompress.backends import runs_on
from tfcompress.compat.keras_layers import all_layers
from tfcompress.keras_graph.inputs import input_specs
from tfcompress.keras_graph.selection import LayerSelector, select_layers
from tfcompress.keras_graph.wrapper import require_built, require_final_kernels
from tfcompress.on_tensorflow import call_on_tensorflow
from tfcompress.quantization.arithmetic.observers import MovingAverage, get_observer
from tfcompress.quantization.layer_schemes import require_named, resolve_schemes
from tfcompress.quantization.placement import Placement, PlacementError
from tfcompress.quantization.quantization_aware_model import QuantizeAware, require_whole
from tfcompress.quantization.scheme import Scheme, require_scheme
from tfcompress.quantization.weights import require_usable_weights

if runs_on("tensorflow"):  # other backends ask it for the placement
    from tfcompress.quantization.deployed_graph import first_accepted, lower
    from tfcompress.quantization.float_file import ConversionError
    from tfcompress.quantization.lowerings.operations import rewritings
    from tfcompress.quantization.lowerings.recurrent import require_no_state

_LEARNABLE = ("weights", "activations")


def quantize_aware(
    model: keras.Model,
    scheme: Scheme | None = None,
    layers: LayerSelector = None,
    *,
    observer: str | MovingAverage = "moving_average",
    learn_steps: Iterable[str] = (),
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
        scheme: the numerics; 8-bit weights and activations when not given. ``Scheme.override``
            gives some layers others.
        layers: the layers that are quantized; see ``select_layers``. All when not given. Others
            that have kernels compute in float, in training and on the device.
        observer: how ranges follow the data: "moving_average" of the extremes of a batch,
            "min_max", "percentile", "mse" (the least squared error), "kl" (the least divergence of
            distributions), or one of the objects of
            ``tfcompress.quantization.arithmetic.observers`` with settings of its own.
        learn_steps: "weights", "activations", or both: their step sizes are trained with the
            weights (LSQ) instead of following the data. Those of activations start from
            ``calibrate``.
        allow_float: paths of layers that may compute in float on the device.

    Returns:
        The model to compile, fit and hand to ``export_tflite``.

    Raises:
        TypeError: ``model`` is no Keras model.
        ValueError: ``model`` is or holds a quantization-aware one, is not built, computes with
            other kernels than its own (``gated``), has weights that are NaN or of 16 bits, keeps
            states between calls, does not declare its inputs or leaves a dimension besides the
            batch unknown; ``layers``, ``allow_float`` or an override matches nothing; the scheme
            cannot leave layers in float; or ``observer`` or ``learn_steps`` names something else,
            or steps that the scheme does not train.
        PlacementError: layers not in ``allow_float`` would compute in float on the device; or, on
            another backend than TensorFlow, store tensors inside their calls.
        ConversionError: the TFLite converter refuses the model.

    Example:
    >>> q = tfc.quantize_aware(model)
    >>> q.compile("adam", loss)
    >>> q.fit(x, y)
    >>> export_tflite(q, "model.tflite")

    Method: Jacob et al., "Quantization and Training of Neural Networks for Efficient
    Integer-Arithmetic-Only Inference", 2018, https://arxiv.org/abs/1712.05877; Esser et al.,
    "Learned Step Size Quantization", 2020, https://arxiv.org/abs/1902.08153.
    """
    if isinstance(model, QuantizeAware):
        raise ValueError(f"Model {model.name!r} is quantization-aware already.")
    require_built(model)
    require_whole(model)
    require_final_kernels(model, "quantize_aware")
    require_usable_weights(model)
    scheme = Scheme.int8() if scheme is None else require_scheme(scheme)
    observer = get_observer(observer)
    learn_steps = tuple(learn_steps)
    _require_learnable(scheme, learn_steps)
    paths = None if layers is None else [path for path, _ in select_layers(model, layers)]
    schemes = resolve_schemes(model, scheme, paths)
    allowed = list(allow_float)
    require_named([model], allowed)
    _require_single_precision(model)
    settings = paths, observer, learn_steps, allowed
    if not runs_on("tensorflow"):
        asked = model, scheme, paths, allowed
        found = call_on_tensorflow(__name__, "find_placement", *asked, shown_as="quantize_aware")
        return QuantizeAware(model, scheme, found, *settings)
    input_specs(model)
    require_no_state(model)
    graph = first_accepted(
        lambda rewritten: lower(model, scheme, schemes, allowed, rewritten),
        rewritings(scheme.activation_bits, all_layers(model)),
        (PlacementError, ConversionError),
    )
    quantized = QuantizeAware(model, scheme, graph.placement, *settings)
    quantized.use_graph(graph)
    quantized.deployed.require_right()
    return quantized


def find_placement(
    model: keras.Model, scheme: Scheme, layers: Sequence[str] | None, allow_float: Sequence[str]
) -> Placement:
    """Find out where training rounds a model, see ``quantize_aware``; for other backends."""
    return quantize_aware(model, scheme, layers, allow_float=allow_float).placement


def _require_single_precision(model):
    """Check that weights have the bits that small steps of training need."""
    halves = {
        variable.path.rpartition("/")[0]: variable.dtype
        for variable in model.weights
        if variable.dtype in ("float16", "bfloat16")
    }
    if halves:
        (layer, dtype), *_ = halves.items()
        raise ValueError(
            f"Layer {layer!r} of model {model.name!r} keeps its weights in {dtype}, in which small "
            "steps of training are lost. Build the model with dtype='mixed_float16' or 'float32', "
            f"and copy the weights: `new.set_weights(model.get_weights())`. Received: {dtype} in "
            f"{', '.join(halves)}"
        )


def _require_learnable(scheme, learn_steps):
    """Check that there are step sizes to train."""
    if any(name not in _LEARNABLE for name in learn_steps):
        raise ValueError(
            f"`learn_steps` lists any of {list(_LEARNABLE)}. Received: learn_steps={learn_steps!r}"
        )
    if learn_steps and scheme.activation_bits is None:
        raise ValueError(
            "Step sizes are trained with integer activations. "
            f"Received: learn_steps={learn_steps!r}, scheme={scheme}"
        )
