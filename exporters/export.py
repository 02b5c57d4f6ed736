"""Exporting a Keras model to a .tflite file that is compared with the model."""

import collections
import dataclasses
import functools
import os
import warnings
from collections.abc import Iterable, Mapping
from typing import Any

import keras

from exporters.compatibility import check_target
from exporters.converting import convert_model
from exporters.evidence import EXAMPLES, choose_evidence
from exporters.fidelity import Fidelity, warn_of_noise
from exporters.mediapipe import convert_for_tasks, require_image_interface
from exporters.metadata import Labels, Normalization, ScoreCalibration, with_metadata
from exporters.parity import ParityReport, decibels
from exporters.repair_trial import try_repair
from exporters.report import ExportReport, ExportResult, gzip_size, zstd_size
from exporters.running.tensor_details import input_output_details
from exporters.signatures import DEFAULT, output_names
from exporters.stages import shown_stages
from exporters.validation import validate
from tfcompress.atomic_files import require_writable, write_atomically
from tfcompress.data import reusable
from tfcompress.interruption import reliable_interruption
from tfcompress.keras_graph.inputs import arrange_inputs
from tfcompress.keras_graph.interception import float32_computation
from tfcompress.keras_graph.wrapper import unwrap
from tfcompress.legacy.conversion import LegacyModel
from tfcompress.quantization import QuantizeAware, Scheme
from tfcompress.targets.target import Target, load_target, minimum_runtime
from tfcompress.targets.vela import require_compiler
from tfcompress.tflite.flatbuffer import read_model
from tfcompress.tflite.model import float_operations


@reliable_interruption()
def export_tflite(
    model: keras.Model,
    path: str | os.PathLike,
    quantization: str | Scheme | None = None,
    *,
    target: str | Target | None = None,
    representative_data: Any = None,
    validation_data: Any = None,
    input_dtype: str = "int8",
    output_dtype: str = "int8",
    batch_size: int | None = 1,
    allow_float: Iterable[str] = (),
    signatures: Mapping[str, str | keras.Model] | None = None,
    labels: Labels | None = None,
    normalization: Normalization | Mapping[str, Normalization] | None = None,
    interface: str | None = None,
    score_calibration: ScoreCalibration | None = None,
    repair: bool = True,
    progress: bool = True,
) -> ExportResult:
    """Export a model to a .tflite file that was loaded, run and compared with the model.

    Args:
        model: a built Keras model with declared inputs, or one of this package's wrappers around
            one. A quantization-aware model is exported with the numerics of its training.
        path: where to write the file, which is written completely or not at all.
        quantization: "int8" (8-bit integers throughout), "int16x8" (16-bit activations), "dynamic"
            (8-bit weights), "float16" (16-bit float weights), "float32", or a ``Scheme``. "int8"
            when not given. A quantization-aware model brings its own.
        target: a device of ``tfcompress.targets.list_targets()`` to check compatibility with.
        representative_data: inputs like those in use, to observe ranges on: whatever ``fit`` takes.
            Needed for "int8", "int16x8" and a ``Scheme``. A dict by signature if signatures take
            other inputs than the model.
        validation_data: what the file and the model are compared on: (inputs, labels), inputs, or
            whatever ``fit`` takes. When not given: the first of the representative data, or random
            numbers, which the report says; for a quantization-aware model in the ranges that its
            inputs have learned.
        input_dtype: "int8", "uint8" or "float32" for exports with 8-bit activations, "int16" or
            "float32" (which "int8" means as well) for those with 16. An input that the model
            declares as integers, as pixels by ``keras.Input(shape, dtype="uint8")``, keeps its
            type.
        output_dtype: the same for outputs.
        batch_size: the fixed batch size of the file; ``None`` for a free one.
        allow_float: paths of layers that may compute in float in an integer export.
        signatures: further signatures besides "serving_default", which has the model's outputs:
            {key: the name of a layer, or a Keras model that shares layers with this one}. Shared
            weights are stored once.
        labels: the class names, in the order of the output's last axis, or a dict by output; stored
            in the file as TFLite Metadata.
        normalization: (mean, standard deviation) of the raw input, each one number or one per
            channel, or a dict by input; stored as TFLite Metadata.
        interface: "mediapipe" for a file for MediaPipe's image tasks, which decide the types of
            inputs and outputs; needs ``normalization``.
        score_calibration: how apps make probabilities of an output's scores, stored as TFLite
            Metadata; MediaPipe applies it.
        repair: whether to repair a float model for "int8" first (``tfc.repair``), if that takes
            less than a minute and brings the file nearer to the model for certain, on a third of
            the representative data that is held out for it. It takes 96 examples, 160 without
            ``validation_data``; with ``allow_float`` or ``signatures`` it is not tried.
        progress: whether a terminal shows what is being done, once that takes two seconds.

    Returns:
        The path, the report, and the sizes in bytes.

    Raises:
        ValueError: an argument is none of the above, data is missing, empty, not finite or of the
            wrong shape or type, or the model is not built, does not declare its inputs, or has
            never seen data.
        FloatOperationError: an integer export would compute in float; names the Keras layers.
        ConversionError: the TFLite converter cannot convert the model.
        ImportError: the target's compiler is not installed.
        RunError: the runtime cannot run the exported file.
        OSError: the file cannot be written.

    Example:
    >>> result = export_tflite(model, "model.tflite", "int8", representative_data=x_train[:200])
    >>> print(result.report)
    """
    path = require_writable(path)
    target = load_target(target) if isinstance(target, str) else target
    if target is not None:
        require_compiler(target)
    if interface is not None:
        require_image_interface(interface, model, normalization, batch_size)
    representative_data, validation_data = reusable(representative_data), reusable(validation_data)
    allow_float = tuple(allow_float)

    convert = convert_model
    if interface is not None:
        convert = functools.partial(convert_for_tasks, normalization)
    convert = functools.partial(
        convert,
        representative_data=representative_data,
        input_dtype=input_dtype,
        output_dtype=output_dtype,
        batch_size=batch_size,
        allow_float=allow_float,
        signatures=signatures,
    )

    with shown_stages(progress) as tell:
        tell("converting the model")
        converted, trial = convert(model, quantization), None
        if repair and _may_be_repaired(converted, quantization, allow_float, representative_data):
            converted, trial = try_repair(
                converted,
                lambda repaired: convert(repaired, "int8"),
                _DeployedModel(converted.model),
                representative_data,
                EXAMPLES if validation_data is None else 0,
                tell,
            )
        flatbuffer = with_metadata(
            converted.flatbuffer, model.name, labels, normalization, score_calibration
        )
        described = flatbuffer is not converted.flatbuffer
        content = read_model(flatbuffer) if described else converted.content
        tell("comparing the file with the model")
        # Runs the file: one that no runtime accepts is not written.
        parity, fidelity = {}, None
        for key, signature_model in converted.models.items():
            evidence = choose_evidence(
                signature_model, converted.content, key, validation_data, representative_data
            )
            deployed = _DeployedModel(signature_model)
            found = validate(
                flatbuffer,
                against=deployed,
                data=evidence.data,
                signature=None if key == DEFAULT else key,
            )
            if found.runs[0].error is not None:
                warnings.warn(
                    f"The file of model {model.name!r} does not run with the kernels that "
                    f"{found.runs[0].runtime} uses by default ({found.runs[0].kernels}), only with "
                    f"others: {found.runs[0].error}",
                    stacklevel=3,
                )
            noise = evidence.noise
            parity[key] = dataclasses.replace(found, noise=noise is not None, noise_from=noise)
            if (
                key == DEFAULT
                and noise is None
                and _rounds_to_8_bits(signature_model, quantization)
            ):
                fidelity = warn_of_noise(
                    model.name,
                    deployed.fidelity(found),
                    flatbuffer,
                    converted.float_file,
                    evidence.data,
                )
    operations = [op.name for graph in content.subgraphs for op in graph.operations]
    inputs, outputs = (
        tuple(details.to_json() for details in side) for side in input_output_details(content)
    )
    report = ExportReport(
        quantization=converted.quantization,
        size=len(flatbuffer),
        gzip_size=gzip_size(flatbuffer),
        zstd_size=zstd_size(flatbuffer),
        operations=dict(collections.Counter(operations).most_common()),
        float_operations=tuple(operation.name for operation in float_operations(content)),
        inputs=inputs,
        outputs=outputs,
        min_runtime=minimum_runtime(content),
        agreement=parity.pop(DEFAULT),
        signature_agreements=parity,
        verdict=None if target is None else check_target(flatbuffer, target),
        repair=trial,
        fidelity=fidelity,
    )
    write_atomically(path, flatbuffer)
    return ExportResult(path, report)


def _may_be_repaired(converted, quantization, allow_float, representative_data) -> bool:
    """Tell whether a file is plain int8, all of it, of one float model."""
    return (
        quantization in (None, "int8")
        and representative_data is not None
        and not allow_float
        and list(converted.models) == [DEFAULT]
        and not isinstance(converted.model, QuantizeAware | LegacyModel)
    )


def _rounds_to_8_bits(model, quantization) -> bool:
    """Tell whether 8 bits, or more, are all that a file's numbers lose."""
    if isinstance(model, LegacyModel) or quantization == "float32":
        return False
    scheme = model.scheme if isinstance(model, QuantizeAware) else quantization
    if not isinstance(scheme, Scheme):
        return True
    return scheme.weight_bits >= 8 and not scheme.overrides


@dataclasses.dataclass(frozen=True)
class _DeployedModel:
    """A model in inference, in float32 as on a device."""

    model: keras.Model
    # Inputs and outputs of the first batch that it has computed.
    first: list = dataclasses.field(default_factory=list)

    @property
    def inputs(self):
        """The model's inputs, in its own order."""
        return unwrap(self.model).inputs

    def __call__(self, inputs):
        if not isinstance(inputs, dict):
            inputs = arrange_inputs(self.model, keras.tree.flatten(inputs))
        with float32_computation(self.model):
            if self._numbers is not None:
                outputs = self.model.deployed.once(inputs, self._numbers)
            else:
                outputs = self.model(inputs, training=False)
        if not self.first:
            self.first.extend([inputs, outputs])
        return outputs

    def fidelity(self, parity: ParityReport) -> Fidelity:
        """Return how far a file that has this parity with the model is from the float model."""
        outputs = parity.ran[0].outputs
        if not isinstance(self.model, QuantizeAware):
            return Fidelity({output.name: output.sqnr for output in outputs})
        given, found = self.first
        with float32_computation(self.model):
            wanted = unwrap(self.model)(given, training=False)
        pairs = zip(*map(keras.tree.flatten, (wanted, found)), strict=True)
        names = output_names(self.model, len(outputs))
        return Fidelity(dict(zip(names, (decibels(*pair) for pair in pairs), strict=True)))

    @functools.cached_property
    def _numbers(self):
        """The integers of a model that computes exactly what the file does, otherwise None."""
        if isinstance(self.model, QuantizeAware) and self.model.deployed.exact:
            return self.model.deployed.numbers()
        return None
