"""The road from a Keras model through a float file to ai-edge-quantizer."""

from collections.abc import Mapping

import keras

from exporters.after_training.calibration import learnt_ranges
from exporters.after_training.quantizing import quantize_file, require_quantizer
from exporters.after_training.settings import AfterTraining
from exporters.conversion_settings import Settings
from exporters.representative_data import checked_samples, require_data
from tfcompress.quantization import QuantizeAware


def make_settings(
    settings: AfterTraining,
    models: Mapping[str, keras.Model],
    trained: keras.Model,
    representative_data,
    dtypes: Mapping[str, str],
) -> Settings:
    """Tell the converter to make a float file, and what becomes of it.

    Args:
        settings: what ai-edge-quantizer is asked for.
        models: the float model of the one signature.
        trained: that model, or the quantization-aware one around it, whose ranges are used.
        representative_data: as in ``export_tflite``; not needed where all ranges are learnt.
        dtypes: "int8" or "float32" by port, "INPUT" and "OUTPUT".

    Returns:
        The settings for the converter.

    Raises:
        ImportError: ai-edge-quantizer is not installed.
        ValueError: there are several signatures, a dtype is not supported, or data is missing.
    """
    require_quantizer()
    if len(models) > 1:
        raise ValueError(
            "`AfterTraining` makes files with one signature. "
            f"Received: signatures={list(models)[1:]}"
        )
    for port, dtype in dtypes.items():
        if dtype not in ("int8", "float32"):
            raise ValueError(
                f"`AfterTraining` makes files whose {port.lower()} is int8 or float32. "
                f"Received: {port.lower()}_dtype={dtype!r}"
            )
    quantized = trained if isinstance(trained, QuantizeAware) else None
    if settings.gptq or (settings.integer and quantized is None):
        require_data(settings, representative_data)
    samples = None
    if representative_data is not None:
        samples = checked_samples(models, representative_data)
    in_float = dtypes if settings.activation_bits == 16 else _float(dtypes)

    def finish(content: bytes) -> bytes:
        learnt = {} if quantized is None else learnt_ranges(quantized, content)
        return quantize_file(content, settings, samples() if samples else (), learnt, in_float)

    return Settings(str(settings), settings.integer, lambda converter: None, finish)


def _float(dtypes: Mapping[str, str]) -> list[str]:
    return [port for port, dtype in dtypes.items() if dtype == "float32"]
