"""How the TFLite converter is told what to make: one function per kind of export."""

import dataclasses
from collections.abc import Callable, Iterator

import numpy as np
import tensorflow as tf

QUANTIZATIONS = ("int8", "int16x8", "dynamic", "float16", "float32")
IO_DTYPES = {"int8": tf.int8, "uint8": tf.uint8, "float32": tf.float32}


@dataclasses.dataclass(frozen=True)
class Settings:
    """One kind of export.

    Attributes:
        name: its name in reports.
        integer: whether the file may compute nothing in float.
        configure: sets the converter's options.
    """

    name: str
    integer: bool
    configure: Callable[[tf.lite.TFLiteConverter], None]


def float32() -> Settings:
    """Weights and activations stay 32-bit floats."""
    return Settings("float32", False, lambda converter: None)


def float16() -> Settings:
    """Weights are stored as 16-bit floats and computed with in float."""

    def configure(converter):
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.target_spec.supported_types = [tf.float16]

    return Settings("float16", False, configure)


def dynamic() -> Settings:
    """Weights are 8-bit integers; activations are quantized while the model runs."""

    def configure(converter):
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        _one_scale_per_dense_kernel(converter)

    return Settings("dynamic", False, configure)


def learnt(input_dtype: str, output_dtype: str) -> Settings:
    """Weights and activations are 8-bit integers with the ranges that the model learnt."""

    def configure(converter):
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        _set_io_dtypes(converter, input_dtype, output_dtype)
        _one_scale_per_dense_kernel(converter)

    return Settings("int8, quantization-aware", True, configure)


def int8(
    samples: Callable[[], Iterator[dict[str, np.ndarray]]], input_dtype: str, output_dtype: str
) -> Settings:
    """Weights and activations are 8-bit integers with ranges observed on samples."""

    def configure(converter):
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = samples
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        _set_io_dtypes(converter, input_dtype, output_dtype)
        _one_scale_per_dense_kernel(converter)

    return Settings("int8, post-training", True, configure)


def int16x8(samples: Callable[[], Iterator[dict[str, np.ndarray]]]) -> Settings:
    """Weights are 8-bit and activations 16-bit integers; the model takes and gives floats."""

    def configure(converter):
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = samples
        converter.target_spec.supported_ops = [
            tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8
        ]
        _one_scale_per_dense_kernel(converter)

    return Settings("int16x8, post-training", True, configure)


def _set_io_dtypes(converter, input_dtype, output_dtype):
    converter.inference_input_type = IO_DTYPES[input_dtype]
    converter.inference_output_type = IO_DTYPES[output_dtype]


def _one_scale_per_dense_kernel(converter):
    # One scale per channel needs FULLY_CONNECTED version 12, which runtimes before 2.17 and the
    # Edge TPU compiler refuse.
    converter._experimental_disable_per_channel_quantization_for_dense_layers = True
