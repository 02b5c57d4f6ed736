"""From a Keras model to a .tflite file, with the evidence that it does what the model does."""

import gzip
import os
from collections.abc import Iterable

import keras
import numpy as np

from exporters.comparing.validation import validate
from exporters.converting import convert_model
from exporters.report import ExportReport, ExportResult, describe
from exporters.whole_file import require_writable, write_whole
from tfcompress.graph.interception import float32_computation
from tfcompress.quantization import Scheme
from tfcompress.tflite.conversion import input_specs
from tfcompress.tflite.precision import float_operations

_EVIDENCE_EXAMPLES = 64


def export_tflite(
    model: keras.Model,
    path: str | os.PathLike,
    quantization: str | Scheme | None = None,
    *,
    representative_data=None,
    validation_data=None,
    input_dtype: str = "int8",
    output_dtype: str = "int8",
    batch_size: int | None = 1,
    allow_float: Iterable[str] = (),
) -> ExportResult:
    """Write a model as a .tflite file that has been loaded, run and compared with the model.

    Args:
        model: a built Keras model with declared inputs, or one of this package's wrappers around
            one. What ``quantize_aware`` made is exported with the numerics that it trained with.
        path: where the file goes; written whole or not at all.
        quantization: "int8" (8-bit integers throughout), "int16x8" (16-bit activations), "dynamic"
            (8-bit weights), "float16" (16-bit float weights), "float32", or a ``Scheme``. "int8"
            when not given. Not for quantization-aware models, which bring their own.
        representative_data: inputs like those in use, to observe ranges on: whatever ``fit`` takes.
            Needed for "int8", "int16x8" and a ``Scheme``.
        validation_data: (inputs, labels), inputs, or whatever ``fit`` takes: what the file is
            compared with the model on. The representative data, or random numbers, when not given.
        input_dtype: "int8", "uint8" or "float32", for integer exports.
        output_dtype: likewise.
        batch_size: the batch size that the file is fixed to; ``None`` for a free one.
        allow_float: paths of layers that may compute in float in an integer export.

    Returns:
        The path, the report, and the sizes in bytes.

    Raises:
        ValueError: an argument is none of the above, data is missing, empty or not finite, or the
            model is not built, does not declare its inputs, or has never seen data.
        FloatOperationError: an integer export would compute in float; names the Keras layers.
        ConversionError: the TFLite converter refuses the model.
        RunError: the runtime refuses the file that was made.
        OSError: the file cannot be written.

    Example:
    >>> result = export_tflite(model, "model.tflite", "int8", representative_data=x_train[:200])
    >>> print(result.report)
    """
    path = require_writable(path)
    converted = convert_model(
        model,
        quantization,
        representative_data=representative_data,
        input_dtype=input_dtype,
        output_dtype=output_dtype,
        batch_size=batch_size,
        allow_float=allow_float,
    )
    floats = float_operations(converted.content)
    report = ExportReport(
        quantization=converted.quantization,
        size=len(converted.flatbuffer),
        gzip_size=len(gzip.compress(converted.flatbuffer, mtime=0)),
        float_operations=tuple(operation.name for operation in floats),
        # Loads and runs the file: what no runtime accepts is not written.
        agreement=validate(
            converted.flatbuffer,
            against=lambda inputs: _infer(converted.model, inputs),
            data=_evidence(converted.model, validation_data, representative_data),
        ),
        **describe(converted.content),
    )
    write_whole(path, converted.flatbuffer)
    return ExportResult(path, report)


def _infer(model, inputs):
    with float32_computation(model):
        return model(inputs, training=False)


def _evidence(model, validation_data, representative_data):
    """Choose the examples that the file and the model are compared on."""
    for data in (validation_data, representative_data):
        if data is not None:
            return data
    generator = np.random.default_rng(0)
    inputs = [
        generator.standard_normal((_EVIDENCE_EXAMPLES, *spec.shape[1:])).astype(
            spec.dtype.as_numpy_dtype
        )
        for spec in input_specs(model)
    ]
    return inputs[0] if len(inputs) == 1 else inputs
