"""Converting a Keras model to the bytes of a .tflite file."""

import dataclasses
from collections.abc import Iterable, Mapping

import keras
import numpy as np
import tensorflow as tf

from exporters.calibration import data_by_signature, observe_ranges
from exporters.signatures import DEFAULT, entry_models, output_names
from tfcompress.compat.keras_layers import all_layers
from tfcompress.keras_graph.wrapper import (
    ModelWrapper,
    require_final_kernels,
    require_model,
    unwrap,
)
from tfcompress.legacy.conversion import LegacyModel, converted
from tfcompress.quantization import QuantizeAware, Scheme
from tfcompress.quantization.deployed_graph import (
    DeployedGraph,
    deploy_as_it_is,
    first_accepted,
    is_keras_3,
)
from tfcompress.quantization.float_file import ConversionError, float_file
from tfcompress.quantization.integers import GraphIntegers, computed, filling_of, integers_of
from tfcompress.quantization.layer_schemes import require_named
from tfcompress.quantization.lowerings.operations import rewritings
from tfcompress.quantization.lowerings.recurrent import require_no_state
from tfcompress.quantization.planning import NO_RANGE
from tfcompress.quantization.quantization_aware_model import require_whole
from tfcompress.quantization.weights import require_usable_weights
from tfcompress.tflite.editing import Editor, Entry, assemble, shorten_names
from tfcompress.tflite.filling import fill
from tfcompress.tflite.flatbuffer import read_model
from tfcompress.tflite.model import TFLiteModel, list_refused

# The schemes of the named quantizations. "float32" has none: nothing is rounded.
SCHEMES = {
    "int8": Scheme.int8(),
    "int16x8": Scheme.int8_weights_int16_activations(),
    "dynamic": Scheme.dynamic_range(),
    "float16": Scheme.float16(),
}
QUANTIZATIONS = (*SCHEMES, "float32")
IO_DTYPES = ("float32", "int8", "int16", "uint8")


class FloatOperationError(ValueError):
    """An integer export has operations that compute in float."""


@dataclasses.dataclass(frozen=True)
class ConvertedModel:
    """The file of a model, in memory."""

    # The reference for each signature, the main one first: a Keras model that computes with the
    # file's numerics if they are simulated in Keras, otherwise in float.
    models: dict[str, keras.Model]
    quantization: str  # the kind of export, for reports
    flatbuffer: bytes  # the file's bytes
    content: TFLiteModel  # their content
    graph: DeployedGraph  # what the main graph was filled from

    @property
    def model(self) -> keras.Model:
        """The Keras model of the main graph."""
        return self.models[DEFAULT]

    def float_file(self) -> bytes:
        """Return the main graph in float, tensor by tensor what it was filled from."""
        content, model, traced = self.graph.content, self.graph.model, self.graph.traced
        if self.graph.derivations:  # it has made-up weights
            weights = {name: value.numpy() for name, value in traced.weight_values().items()}
            content, model = float_file(traced, weights, self.graph.batch_size)
        return _assembled(self.models, {DEFAULT: (self.graph, Editor(content, model))}).packed()


def convert_model(
    model: keras.Model,
    quantization: str | Scheme | None = None,
    *,
    representative_data=None,
    input_dtype: str = "int8",
    output_dtype: str = "int8",
    batch_size: int | None = 1,
    allow_float: Iterable[str] = (),
    signatures: Mapping[str, str | keras.Model] | None = None,
) -> ConvertedModel:
    """Convert a model in memory; the arguments are those of ``export_tflite``."""
    model = converted(model)
    require_model(model)
    require_final_kernels(model, "an export")
    # Wrappers that change how a model trains do not change what it computes.
    while isinstance(model, ModelWrapper) and not isinstance(model, QuantizeAware | LegacyModel):
        model = model.model
    for name, dtype in (("input_dtype", input_dtype), ("output_dtype", output_dtype)):
        if dtype not in IO_DTYPES:
            raise ValueError(
                f"`{name}` must be one of {sorted(IO_DTYPES)}. Received: {name}={dtype!r}"
            )
    whole = isinstance(batch_size, int | np.integer) and not isinstance(batch_size, bool)
    if batch_size is not None and not (whole and batch_size >= 1):
        raise ValueError(
            "`batch_size` must be a positive integer, or None for a free one. "
            f"Received: batch_size={batch_size!r}"
        )
    scheme = _scheme_of(model, quantization, signatures)
    if is_keras_3(model):
        require_whole(model)
    require_usable_weights(model)
    models = entry_models(model, signatures)
    allow_float = list(allow_float)
    if is_keras_3(model):
        require_named(models.values(), allow_float)
    for entry_model in models.values():
        require_no_state(entry_model)
    if isinstance(model, QuantizeAware):
        model.require_ranges()
        model.deployed.require_right()
        deployed = model.deployed.with_batch_size(batch_size)
        graphs = {DEFAULT: (deployed.graph, deployed.numbers())}
        name = f"{scheme.name}, quantization-aware"
    else:
        samples = None
        learned = isinstance(model, LegacyModel) and model.has_learned_ranges
        integer = scheme is not None and scheme.is_integer
        if integer and not (learned and representative_data is None):
            samples = data_by_signature(models, representative_data, quantization or "int8")
        graphs = {
            key: _post_training(
                entry_model, scheme, batch_size, allow_float, samples and samples[key]
            )
            for key, entry_model in models.items()
        }
        name = "float32" if scheme is None else scheme.name
        if learned:
            name += ", quantization-aware by TFMOT"
        elif samples is not None:
            name += ", post-training"
    filled = {
        key: (graph, _filled(graph, numbers, scheme, input_dtype, output_dtype))
        for key, (graph, numbers) in graphs.items()
    }
    flatbuffer = _assembled(models, filled).packed()
    return ConvertedModel(models, name, flatbuffer, read_model(flatbuffer), graphs[DEFAULT][0])


def _assembled(models, graphs: Mapping[str, tuple[DeployedGraph, Editor]]) -> Editor:
    """Join graphs to a file with a signature for each."""
    entries = {
        key: Entry(
            editor,
            [spec.name for spec in graph.traced.specs],
            output_names(models[key], len(graph.traced.outputs)),
        )
        for key, (graph, editor) in graphs.items()
    }
    editor = assemble(entries)
    shorten_names(editor.tree)
    return editor


def _scheme_of(model, quantization, signatures) -> Scheme | None:
    """Return the requested numerics, None for float32."""
    if isinstance(model, QuantizeAware):
        if quantization not in (None, model.scheme.name, model.scheme):
            raise ValueError(
                f"Model {model.name!r} was trained with {model.scheme} and can only be exported "
                "with it. Leave `quantization` out, or pass `model.model` to export the float "
                f"model. Received: quantization={quantization!r}"
            )
        return model.scheme
    if isinstance(model, LegacyModel):
        _require_unchanged_export(model, quantization, signatures)
    if isinstance(quantization, Scheme):
        return quantization
    quantization = quantization or "int8"
    if quantization not in QUANTIZATIONS:
        raise ValueError(
            f"`quantization` must be one of {list(QUANTIZATIONS)} or a Scheme. "
            f"Received: quantization={quantization!r}"
        )
    return SCHEMES.get(quantization)


def _require_unchanged_export(model, quantization, signatures):
    """Check the arguments for a model that Keras 3 cannot rebuild: its graph is converted as is."""
    names = ("int8",) if model.has_learned_ranges else QUANTIZATIONS
    if quantization not in (None, *names):
        raise ValueError(
            f"The tf_keras model {model.name!r} is converted as it is, to one of {list(names)}, "
            f"because it has {'learned ranges' if model.has_learned_ranges else 'a layer'} that "
            f"Keras 3 does not have. Received: quantization={quantization!r}"
        )
    if signatures:
        raise ValueError(
            f"The tf_keras model {model.name!r} is converted as it is, with its own outputs only: "
            f"make the signatures outputs of the model. Received: signatures={sorted(signatures)}"
        )


def _post_training(
    model, scheme, batch_size, allow_float, samples
) -> tuple[DeployedGraph, GraphIntegers | None]:
    """Return the graph of a float model, and its integers from observed ranges."""
    bits = None if scheme is None else scheme.activation_bits

    def deployed(rewritten):
        graph = deploy_as_it_is(model, scheme, batch_size, rewritten, samples is not None)
        if bits is not None:
            _require_integer(model, graph, {*allow_float, *graph.left_in_float})
        return graph

    layers = all_layers(unwrap(model)) if is_keras_3(model) else ()
    attempts = rewritings(bits, layers)
    graph = first_accepted(deployed, attempts, (FloatOperationError, ConversionError))
    if scheme is None:
        return graph, None
    ranges = np.zeros((0, 2), np.float32)
    if graph.plan.rows:
        ranges = observe_ranges(model.name, graph, samples)
    return graph, computed(lambda: integers_of(graph, tf.constant(ranges)))


def _require_integer(model, graph, allowed):
    """Check that only allowed layers compute in float."""
    if listed := list_refused(graph.float_layers(), allowed):
        message = (
            f"An integer-only export of model {unwrap(model).name!r} is not possible, because "
            f"these layers would compute in float on the device:\n{listed}"
        )
        if NO_RANGE in graph.plan.in_float.values():
            message += " Or pass `representative_data`, to observe the ranges it has not learned."
        raise FloatOperationError(message)


def _filled(graph, numbers, scheme, input_dtype, output_dtype) -> Editor:
    """Write the integers into a graph's float file."""
    editor = Editor(graph.content, graph.model)
    if numbers is None:
        return editor
    filling = filling_of(graph, numbers)
    if scheme.activation_bits == 16:
        # 16-bit files take and return floats unless integers are requested.
        input_dtype, output_dtype = (
            "int16" if dtype == "int16" else "float32" for dtype in (input_dtype, output_dtype)
        )
    fill(editor, filling, input_dtype.upper(), output_dtype.upper())
    return editor
