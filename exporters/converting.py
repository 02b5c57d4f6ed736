"""From a Keras model to the bytes of a .tflite file that keeps its word on integers."""

import dataclasses
from collections.abc import Iterable

import keras
import numpy as np

from exporters import conversion_settings
from tfcompress.examples import iterate_inputs
from tfcompress.graph.selection import walk_layers
from tfcompress.graph.wrapper import ModelWrapper, unwrap
from tfcompress.quantization import QuantizeAware, Scheme, quantize_aware
from tfcompress.quantization.finite_weights import require_finite_weights
from tfcompress.tflite import conversion
from tfcompress.tflite.flatbuffer import read_model
from tfcompress.tflite.model import TFLiteModel
from tfcompress.tflite.precision import float_layers, list_refused


class FloatOperationError(ValueError):
    """An integer export would compute something in float."""


@dataclasses.dataclass(frozen=True)
class ConvertedModel:
    """What the converter made of a model.

    Attributes:
        model: the Keras model that computes what the file should: rounded, if the file's numerics
            are simulated in Keras, otherwise float.
        quantization: the kind of export, for reports.
        flatbuffer: the file's bytes.
        content: what they say.
    """

    model: keras.Model
    quantization: str
    flatbuffer: bytes
    content: TFLiteModel


def convert_model(
    model: keras.Model,
    quantization: str | Scheme | None = None,
    *,
    representative_data=None,
    input_dtype: str = "int8",
    output_dtype: str = "int8",
    batch_size: int | None = 1,
    allow_float: Iterable[str] = (),
) -> ConvertedModel:
    """Convert a model to TFLite in memory; ``export_tflite`` explains the arguments.

    Returns:
        The bytes, and what goes with them.

    Raises:
        ValueError: an argument is not supported, data is missing, empty or not finite, or the model
            is not built, does not declare its inputs, or has never seen data.
        FloatOperationError: an integer export would compute in float; names the Keras layers.
        ConversionError: the TFLite converter refuses the model.
    """
    model = _with_scheme(_deployable(model), quantization, representative_data)
    require_finite_weights(model)
    settings = _settings(model, quantization, representative_data, input_dtype, output_dtype)
    specs = conversion.input_specs(model, batch_size)
    flatbuffer = conversion.convert(
        conversion.freeze(model, specs), specs, _output_names(model), settings.configure
    )
    flatbuffer = settings.finish(flatbuffer)
    content = read_model(flatbuffer)
    if settings.integer:
        _require_integer(model, content, {*allow_float, *getattr(model, "allow_float", ())})
    return ConvertedModel(model, settings.name, flatbuffer, content)


def _deployable(model):
    """Look through wrappers that change how a model trains, but not what it computes."""
    while isinstance(model, ModelWrapper) and not isinstance(model, QuantizeAware):
        model = model.model
    return model


def _with_scheme(model, quantization, representative_data):
    """Turn a request for a scheme into a model that computes with it, its ranges observed."""
    if isinstance(model, QuantizeAware):
        if quantization not in (None, model.scheme.name, model.scheme):
            raise ValueError(
                f"Model {model.name!r} trained with {model.scheme}: it is exported with that. "
                f"Received: quantization={quantization!r}. To export the float model inside, pass "
                "`model.model`."
            )
        return model
    if not isinstance(quantization, Scheme):
        return model
    if not quantization.is_integer:
        return quantize_aware(model, quantization)
    _require_data(quantization, representative_data)
    return quantize_aware(model, quantization).calibrate(representative_data)


def _settings(model, quantization, representative_data, input_dtype, output_dtype):
    for name, dtype in (("input_dtype", input_dtype), ("output_dtype", output_dtype)):
        if dtype not in conversion_settings.IO_DTYPES:
            raise ValueError(
                f"`{name}` must be one of {sorted(conversion_settings.IO_DTYPES)}. "
                f"Received: {name}={dtype!r}"
            )
    if isinstance(model, QuantizeAware):
        return conversion_settings.learnt(model, input_dtype, output_dtype)
    quantization = quantization or "int8"
    if quantization not in conversion_settings.QUANTIZATIONS:
        raise ValueError(
            f"`quantization` must be one of {list(conversion_settings.QUANTIZATIONS)} or a Scheme. "
            f"Received: quantization={quantization!r}"
        )
    if quantization == "float32":
        return conversion_settings.float32()
    samples = None
    if conversion_settings.SCHEMES[quantization].is_integer:
        _require_data(quantization, representative_data)
        _refuse_loops(model)
        samples = _samples(model, representative_data)
    return conversion_settings.after_training(quantization, samples, input_dtype, output_dtype)


def _require_data(quantization, representative_data):
    if representative_data is None:
        raise ValueError(
            f"quantization={quantization!r} observes the ranges of activations on data: pass "
            "`representative_data`, some hundred inputs like those in use. Received: None"
        )


def _refuse_loops(model):
    """Name the recurrent layers on which the converter would end the process."""
    for path, layer in walk_layers(model):
        if isinstance(layer, keras.layers.RNN) and not layer.unroll:
            raise ValueError(
                f"Layer {path!r} is a {type(layer).__name__} that runs as a loop, which the TFLite "
                "converter cannot quantize. Make it with `unroll=True`."
            )


def _samples(model, data):
    """Return the converter's source of samples: one example at a time, by input name."""
    specs = conversion.input_specs(model)

    def samples():
        for inputs in iterate_inputs(data):
            flat = [np.asarray(array) for array in keras.tree.flatten(inputs)]
            for row in range(len(flat[0])):
                yield {
                    spec.name: array[row : row + 1].astype(spec.dtype.as_numpy_dtype)
                    for array, spec in zip(flat, specs, strict=True)
                }

    for sample in _at_least_one(samples()):
        for name, array in sample.items():
            if not np.isfinite(array).all():
                raise ValueError(
                    f"The representative data for input {name!r} of model {model.name!r} holds NaN "
                    "or infinite values, so no range can be observed on it."
                )
    return samples


def _at_least_one(samples):
    empty = True
    for sample in samples:
        empty = False
        yield sample
    if empty:
        raise ValueError("The representative data is empty: some hundred inputs are needed.")


def _output_names(model):
    user_model = unwrap(model)
    functional = getattr(user_model, "_functional", None) or user_model  # of a Sequential
    return list(getattr(functional, "output_names", ["output_0"]))


def _require_integer(model, content, allowed):
    found = float_layers(content, [path for path, _ in walk_layers(model)])
    if listed := list_refused(found, allowed):
        raise FloatOperationError(
            f"Model {model.name!r} was to be exported with integers alone, but these layers would "
            f"compute in float on the device:\n{listed}"
        )
