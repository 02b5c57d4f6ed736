"""How a file answers beside the model that it was made of, or beside a float file."""

import dataclasses
import os
from typing import Any

from exporters.layer_parity import LayerAgreement
from exporters.parity import Agreement
from exporters.validation import file_metric, validate
from tfcompress.tflite.flatbuffer import read_model

Path = str | os.PathLike


@dataclasses.dataclass(frozen=True)
class Comparison:
    """What running a file on examples has shown.

    Attributes:
        metric: the task metric of the file; None without labels.
        baseline_metric: that of the baseline.
        agreement: how the outputs agree with the reference's; None without a reference.
        reference: the name of the reference.
        noise_reference: the name of the float file that the layers were compared with; None if
            none of them was found in it.
    """

    metric: float | None = None
    baseline_metric: float | None = None
    agreement: Agreement | None = None
    reference: str | None = None
    noise_reference: str | None = None

    @property
    def layers(self) -> tuple[LayerAgreement, ...]:
        """How each operation agrees with the float file."""
        return () if self.agreement is None else self.agreement.layers


def compare(
    file: Path, model: Any, baseline: Path | None, examples: Any, kernels, **settings
) -> Comparison:
    """Run a file, its baseline and its model on the same examples.

    Args:
        file: the .tflite file.
        model: the Keras model that it was made of, or None.
        baseline: a float .tflite file, or None.
        examples: inputs, or (inputs, labels).
        kernels: the kernel sets; the first gives the metrics.
        **settings: ``metric`` and ``limits`` of ``validate``.

    Returns:
        The comparison: with the model where there is one, otherwise with the baseline.
    """

    def own_metric(path):
        return file_metric(path, examples, kernels[0], **settings)

    baseline_metric = None if baseline is None else own_metric(baseline)
    if model is None and baseline is None:
        return Comparison(metric=own_metric(file))
    if model is not None:
        against, float_file = model, float_twin(model, file)
        names = f"the Keras model {model.name}", f"{model.name} with its weights in float"
    else:
        against = float_file = baseline
        names = (os.fspath(baseline),) * 2
    agreement = validate(
        file, against, examples, kernels=kernels, float_file=float_file, **settings
    )
    return Comparison(
        metric=agreement.metric,
        baseline_metric=baseline_metric,
        agreement=agreement,
        reference=names[0],
        noise_reference=names[1] if agreement.layers else None,
    )


def float_twin(model: Any, file: Path) -> bytes | None:
    """Convert the weights of a model as they are, in float, for the batch size of its file.

    Args:
        model: the Keras model, or a wrapper around it.
        file: the .tflite file that was made of it.

    Returns:
        The bytes of a float file whose tensors have the names of the file's; None for a model that
        TFMOT has trained with quantization: its ranges are in its graph.

    Raises:
        ConversionError: the TFLite converter refuses the model.
    """
    # A file without a model is examined without TensorFlow.
    from exporters.converting import convert_model
    from tfcompress.keras_graph.wrapper import unwrap
    from tfcompress.legacy.wrappers import has_learned_ranges, is_tf_keras_model
    from tfcompress.tflite.editing import compact

    if is_tf_keras_model(model) and has_learned_ranges(model):
        return None
    main = read_model(file).subgraphs[0]
    sizes = {main.tensors[index].shape_signature[0] for index in main.inputs}
    batch_size = None if -1 in sizes else max(sizes)
    return compact(convert_model(unwrap(model), "float32", batch_size=batch_size).flatbuffer)
