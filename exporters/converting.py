"""From a Keras model to the bytes of a .tflite file that keeps its word on integers."""

import dataclasses
import functools
from collections.abc import Iterable, Mapping

import keras

from exporters import conversion_settings
from exporters.after_training.road import make_settings
from exporters.after_training.settings import AfterTraining
from exporters.integer_calls import integer_calls
from exporters.recurrent_calls import deployable_recurrence, require_no_state
from exporters.representative_data import checked_samples, require_data
from exporters.signatures import DEFAULT, entry_models, output_names
from tfcompress.graph.taps import walk_operations
from tfcompress.graph.wrapper import ModelWrapper, require_final_kernels, unwrap
from tfcompress.guests.guest_model import GuestModel, hosted
from tfcompress.quantization import QuantizeAware, Scheme, quantize_aware
from tfcompress.quantization.finite_weights import require_finite_weights
from tfcompress.quantization.lowerings.operations import first_accepted, rewritings
from tfcompress.tflite import conversion
from tfcompress.tflite.flatbuffer import read_model
from tfcompress.tflite.lstm_scales import repair_lstm_scales
from tfcompress.tflite.model import TFLiteModel
from tfcompress.tflite.precision import float_layers, list_refused


class FloatOperationError(ValueError):
    """An integer export would compute something in float."""


@dataclasses.dataclass(frozen=True)
class ConvertedModel:
    """What the converter made of a model.

    Attributes:
        models: the Keras model of each signature, that computes what the file should: rounded, if
            the file's numerics are simulated in Keras, otherwise float. The main one is first.
        quantization: the kind of export, for reports.
        flatbuffer: the file's bytes.
        content: what they say.
    """

    models: dict[str, keras.Model]
    quantization: str
    flatbuffer: bytes
    content: TFLiteModel

    @property
    def model(self) -> keras.Model:
        """The Keras model of the main graph."""
        return self.models[DEFAULT]


def convert_model(
    model: keras.Model,
    quantization: str | Scheme | AfterTraining | None = None,
    *,
    representative_data=None,
    input_dtype: str = "int8",
    output_dtype: str = "int8",
    batch_size: int | None = 1,
    allow_float: Iterable[str] = (),
    signatures: Mapping[str, str | keras.Model] | None = None,
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
    trained = _deployable(hosted(model))
    if isinstance(trained, GuestModel):
        _require_plain_request(trained, quantization, signatures)
    model = _with_scheme(trained, quantization, representative_data)
    require_finite_weights(model)
    models = entry_models(model, signatures)
    for entry_model in models.values():
        require_no_state(entry_model)
    if isinstance(quantization, AfterTraining):
        dtypes = {"INPUT": input_dtype, "OUTPUT": output_dtype}
        settings = make_settings(quantization, models, trained, representative_data, dtypes)
    else:
        settings = _settings(models, quantization, representative_data, input_dtype, output_dtype)
    flatbuffer, content = first_accepted(
        functools.partial(_convert, models, batch_size, quantization, settings, allow_float),
        _rewritings(model, quantization),
        (FloatOperationError, conversion.ConversionError),
    )
    return ConvertedModel(models, settings.name, flatbuffer, content)


def _rewritings(model, quantization):
    """List which operations to give other forms, until nothing is left in float."""
    if isinstance(model, QuantizeAware | GuestModel) or isinstance(quantization, AfterTraining):
        return [()]
    scheme = conversion_settings.SCHEMES.get(quantization or "int8")
    bits = None if scheme is None else scheme.activation_bits
    return rewritings(bits, by_converter=True)


def _convert(models, batch_size, quantization, settings, allow_float, rewritten):
    entries = {
        key: _entry(model, batch_size, quantization, settings, rewritten)
        for key, model in models.items()
    }
    try:
        flatbuffer = repair_lstm_scales(conversion.convert(entries, settings.configure))
    except conversion.MissingKernelError as error:
        raise conversion.MissingKernelError(str(error) + _advice(quantization)) from error
    flatbuffer = settings.finish(flatbuffer)
    content = read_model(flatbuffer)
    if settings.integer:
        model = models[DEFAULT]
        allowed = {*allow_float, *getattr(model, "allow_float", ())}
        _require_integer(model, content, allowed, quantization)
    return flatbuffer, content


def _deployable(model):
    """Look through wrappers that change how a model trains, but not what it computes."""
    require_final_kernels(model, "an export")
    while isinstance(model, ModelWrapper) and not isinstance(model, QuantizeAware | GuestModel):
        model = model.model
    return model


def _require_plain_request(guest, quantization, signatures):
    """Check what is asked of a model that cannot be rebuilt: its graph goes to the converter."""
    names = ("int8",) if guest.has_learnt_ranges else conversion_settings.QUANTIZATIONS
    if quantization not in (None, *names):
        raise ValueError(
            f"The tf_keras model {guest.name!r} is converted as it is, to one of {list(names)}, "
            f"because it has {'learnt ranges' if guest.has_learnt_ranges else 'a layer'} that "
            f"Keras 3 does not have. Received: quantization={quantization!r}"
        )
    if signatures:
        raise ValueError(
            f"The tf_keras model {guest.name!r} is converted as it is, with its own outputs alone: "
            f"make them outputs of the model. Received: signatures={sorted(signatures)}"
        )


def _with_scheme(model, quantization, representative_data):
    """Turn a request for a scheme into a model that computes with it, its ranges observed."""
    if isinstance(quantization, AfterTraining):
        return unwrap(model)
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
    require_data(quantization, representative_data)
    return quantize_aware(model, quantization).calibrate(representative_data)


def _entry(model, batch_size, quantization, settings, rewritten):
    specs = conversion.input_specs(model, batch_size)
    if isinstance(model, QuantizeAware):  # it has its own calls of recurrent layers
        function = conversion.freeze(model, specs)
        return conversion.Entry(function, specs, output_names(model, len(function.outputs)))
    # The converter has no 16-bit LSTM operation, and needs to know the size of the state.
    fuse = batch_size is not None and quantization != "int16x8"
    unroll = batch_size is None or settings.integer
    with (
        integer_calls(model, rewritten),
        deployable_recurrence(model, fuse=fuse, unroll=unroll) as fused,
    ):
        freeze = conversion.freeze_keeping_functions if fused else conversion.freeze
        function = freeze(model, specs)
    return conversion.Entry(function, specs, output_names(model, len(function.outputs)))


def _settings(models, quantization, representative_data, input_dtype, output_dtype):
    for name, dtype in (("input_dtype", input_dtype), ("output_dtype", output_dtype)):
        if dtype not in conversion_settings.IO_DTYPES:
            raise ValueError(
                f"`{name}` must be one of {sorted(conversion_settings.IO_DTYPES)}. "
                f"Received: {name}={dtype!r}"
            )
    model = models[DEFAULT]
    if isinstance(model, QuantizeAware):
        return conversion_settings.learnt(model, input_dtype, output_dtype)
    if isinstance(model, GuestModel) and model.has_learnt_ranges:
        return conversion_settings.learnt_by_tfmot(input_dtype, output_dtype)
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
        require_data(quantization, representative_data)
        samples = checked_samples(models, representative_data)
    return conversion_settings.after_training(quantization, samples, input_dtype, output_dtype)


# What quantizes with ranges that this package observes, where the converter's do not reach.
_BY_OUR_RANGES = {
    "int8": "tfc.Scheme.int8()",
    "int16x8": "tfc.Scheme.int8_weights_int16_activations()",
}


def _require_integer(model, content, allowed, quantization):
    found = float_layers(content, [path for path, _ in walk_operations(model)])
    if listed := list_refused(found, allowed):
        message = (
            f"Model {model.name!r} was to be exported with integers alone, but these layers would "
            f"compute in float on the device:\n{listed}"
        )
        if not isinstance(model, QuantizeAware | GuestModel):
            message += _advice(quantization)
        raise FloatOperationError(message)


def _advice(quantization):
    ours = _BY_OUR_RANGES.get(quantization or "int8")
    return f" Or try quantization={ours}, which reaches more." if ours else ""
