"""From a Keras model to a .tflite file, with the evidence that it does what the model does."""

import dataclasses
import functools
import os
from collections.abc import Iterable, Mapping

import keras
import numpy as np

from exporters.compatibility import check_target
from exporters.converting import ConvertedModel, convert_model
from exporters.mediapipe import convert_for_tasks, require_image_interface
from exporters.metadata import Labels, Normalization, with_description
from exporters.parity import Agreement
from exporters.report import ExportReport, ExportResult, describe, gzip_size, zstd_size
from exporters.signatures import DEFAULT
from exporters.validation import validate
from tfcompress.atomic_files import require_writable, write_atomically
from tfcompress.data import gather, reusable
from tfcompress.interruption import reliable_interruption
from tfcompress.keras_graph.inputs import arrange_inputs, input_specs
from tfcompress.keras_graph.interception import float32_computation
from tfcompress.keras_graph.wrapper import unwrap
from tfcompress.quantization import QuantizeAware, Scheme
from tfcompress.targets.target import Target, load_target
from tfcompress.targets.vela import require_compiler
from tfcompress.tflite.flatbuffer import read_model
from tfcompress.tflite.precision import float_operations

_EVIDENCE_EXAMPLES = 64


@reliable_interruption()
def export_tflite(
    model: keras.Model,
    path: str | os.PathLike,
    quantization: str | Scheme | None = None,
    *,
    target: str | Target | None = None,
    representative_data=None,
    validation_data=None,
    input_dtype: str = "int8",
    output_dtype: str = "int8",
    batch_size: int | None = 1,
    allow_float: Iterable[str] = (),
    signatures: Mapping[str, str | keras.Model] | None = None,
    labels: Labels | None = None,
    normalization: Normalization | Mapping[str, Normalization] | None = None,
    interface: str | None = None,
) -> ExportResult:
    """Write a model as a .tflite file that has been loaded, run and compared with the model.

    Args:
        model: a built Keras model with declared inputs, or one of this package's wrappers around
            one. What ``quantize_aware`` made is exported with the numerics that it trained with.
        path: where the file goes; written whole or not at all.
        quantization: "int8" (8-bit integers throughout), "int16x8" (16-bit activations), "dynamic"
            (8-bit weights), "float16" (16-bit float weights), "float32", or a ``Scheme``. "int8"
            when not given. A quantization-aware model brings its own.
        target: a device of ``tfcompress.targets.list_targets()``, whose verdict the report holds.
        representative_data: inputs like those in use, to observe ranges on: whatever ``fit`` takes.
            Needed for "int8", "int16x8" and a ``Scheme``. Where signatures take other inputs than
            the model, a dict of such by signature.
        validation_data: (inputs, labels), inputs, or whatever ``fit`` takes: what the file is
            compared with the model on. The first of the representative data, or random numbers,
            when not given.
        input_dtype: "int8", "uint8" or "float32" for exports with 8-bit activations, "int16" or
            "float32" (which "int8" means as well) for those with 16.
        output_dtype: likewise.
        batch_size: the batch size that the file is fixed to; ``None`` for a free one.
        allow_float: paths of layers that may compute in float in an integer export.
        signatures: what the file can be asked for besides the model's own outputs, which are the
            signature "serving_default": {key: the name of a layer, or a Keras model that shares
            layers with this one}. Weights that signatures share are stored once.
        labels: a name for each class, stored in the file as TFLite Metadata: in the order of the
            output's last axis, or a dict of such by output.
        normalization: (mean, standard deviation) that the raw input is normalized with before it
            is fed, each one number or one a channel, stored likewise; or a dict of such by input.
        interface: "mediapipe" for a file that MediaPipe's tasks for images take: it chooses the
            types of inputs and outputs, and needs ``normalization``.

    Returns:
        The path, the report, and the sizes in bytes.

    Raises:
        ValueError: an argument is none of the above, data is missing, empty, not finite or of the
            wrong shape or type, or the model is not built, does not declare its inputs, or has
            never seen data.
        FloatOperationError: an integer export would compute in float; names the Keras layers.
        ConversionError: the TFLite converter refuses the model.
        ImportError: the target's compiler is not installed.
        RunError: the runtime refuses the file that was made.
        OSError: the file cannot be written.

    Example:
    >>> result = export_tflite(model, "model.tflite", "int8", representative_data=x_train[:200])
    >>> print(result.report)
    """
    path = require_writable(path)
    target = load_target(target) if isinstance(target, str) else target
    if target is not None:
        require_compiler(target)
    representative_data, validation_data = reusable(representative_data), reusable(validation_data)
    told = {
        "representative_data": representative_data,
        "batch_size": batch_size,
        "allow_float": allow_float,
        "signatures": signatures,
    }
    if interface is None:
        told |= {"input_dtype": input_dtype, "output_dtype": output_dtype}
        converted = convert_model(model, quantization, **told)
    else:
        require_image_interface(interface, model, normalization, batch_size)
        converted = convert_for_tasks(model, quantization, normalization, **told)
    flatbuffer = with_description(converted.flatbuffer, model.name, labels, normalization)
    described = flatbuffer is not converted.flatbuffer
    content = read_model(flatbuffer) if described else converted.content
    # Loads and runs the file: what no runtime accepts is not written.
    agreements = {
        key: _agreement(converted, flatbuffer, key, validation_data, representative_data)
        for key in converted.models
    }
    report = ExportReport(
        quantization=converted.quantization,
        size=len(flatbuffer),
        gzip_size=gzip_size(flatbuffer),
        zstd_size=zstd_size(flatbuffer),
        float_operations=tuple(operation.name for operation in float_operations(content)),
        agreement=agreements.pop(DEFAULT),
        signature_agreements=agreements,
        verdict=None if target is None else check_target(flatbuffer, target),
        **describe(content),
    )
    write_atomically(path, flatbuffer)
    return ExportResult(path, report)


def _agreement(
    converted: ConvertedModel, flatbuffer: bytes, key: str, validation_data, representative_data
) -> Agreement:
    """Compare one signature of the file with the Keras model that it was made of."""
    model = converted.models[key]
    return validate(
        flatbuffer,
        against=_Deployed(model),
        data=_evidence(model, key, validation_data, representative_data),
        signature=None if key == DEFAULT else key,
    )


@dataclasses.dataclass(frozen=True)
class _Deployed:
    """What a model computes on a device: inference in float32."""

    model: keras.Model

    @property
    def inputs(self):
        """The inputs' names, in the model's own order."""
        return unwrap(self.model).inputs

    def __call__(self, inputs):
        if not isinstance(inputs, dict):
            inputs = arrange_inputs(self.model, keras.tree.flatten(inputs))
        with float32_computation(self.model):
            if self._numbers is not None:
                return self.model.deployed.once(inputs, self._numbers)
            return self.model(inputs, training=False)

    @functools.cached_property
    def _numbers(self):
        """The integers of a model that computes with them to the last bit, else None."""
        if isinstance(self.model, QuantizeAware) and self.model.deployed.exact:
            return self.model.deployed.numbers()
        return None


def _evidence(model, key, validation_data, representative_data):
    """Choose the examples that a signature and its model are compared on."""
    for data, most in ((validation_data, None), (representative_data, _EVIDENCE_EXAMPLES)):
        if data is not None:
            own = data[key] if isinstance(data, Mapping) and key in data else data
            inputs, labels = gather(own, most)
            # Labels belong to the model's own outputs.
            return inputs if labels is None or key != DEFAULT else (inputs, labels)
    generator = np.random.default_rng(0)
    inputs = [
        generator.standard_normal((_EVIDENCE_EXAMPLES, *spec.shape[1:])).astype(
            spec.dtype.as_numpy_dtype
        )
        if spec.dtype.is_floating
        else generator.integers(0, 2, (_EVIDENCE_EXAMPLES, *spec.shape[1:])).astype(
            spec.dtype.as_numpy_dtype
        )  # indices that any table has
        for spec in input_specs(model)
    ]
    return inputs[0] if len(inputs) == 1 else inputs
