"""How the TFLite converter is told what to make."""

import dataclasses
from collections.abc import Callable, Iterator

import numpy as np
import tensorflow as tf

from tfcompress.quantization import QuantizeAware, Scheme
from tfcompress.quantization.deployment import configure, deployment_of

# What the names of exports mean. "float32" has no scheme: nothing is rounded.
SCHEMES = {
    "int8": Scheme.int8(),
    "int16x8": Scheme.int8_weights_int16_activations(),
    "dynamic": Scheme.dynamic_range(),
    "float16": Scheme.float16(),
}
QUANTIZATIONS = (*SCHEMES, "float32")
_INTEGER_KERNELS = {
    8: tf.lite.OpsSet.TFLITE_BUILTINS_INT8,
    16: tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8,
}
IO_DTYPES = {"int8": tf.int8, "uint8": tf.uint8, "float32": tf.float32}


@dataclasses.dataclass(frozen=True)
class Settings:
    """One kind of export.

    Attributes:
        name: its name in reports.
        integer: whether the file may compute nothing in float.
        configure: sets the converter's options.
        finish: takes the converter's file and returns the one to deploy.
    """

    name: str
    integer: bool
    configure: Callable[[tf.lite.TFLiteConverter], None]
    finish: Callable[[bytes], bytes] = lambda file: file


def float32() -> Settings:
    """Weights and activations stay 32-bit floats."""
    return Settings("float32", False, lambda converter: None)


def learnt(model: QuantizeAware, input_dtype: str, output_dtype: str) -> Settings:
    """Make a file of a model that computes with a scheme and has learnt its ranges.

    Args:
        model: what ``quantize_aware`` made.
        input_dtype: a key of ``IO_DTYPES``; for 8-bit activations alone.
        output_dtype: likewise.
    """
    scheme, deployment = model.scheme, deployment_of(model)

    def set_up(converter):
        deployment.configure(converter)
        _set_io_dtypes(converter, scheme, input_dtype, output_dtype)

    name = f"{scheme.name}, quantization-aware"
    return Settings(name, scheme.is_integer, set_up, deployment.finish)


def learnt_by_tfmot(input_dtype: str, output_dtype: str) -> Settings:
    """Make a file of a model whose 8-bit ranges TFMOT's quantization-aware training has learnt.

    Args:
        input_dtype: a key of ``IO_DTYPES``.
        output_dtype: likewise.
    """
    scheme = Scheme.int8()

    def set_up(converter):
        configure(converter, scheme)
        _set_io_dtypes(converter, scheme, input_dtype, output_dtype)

    return Settings("int8, quantization-aware by TFMOT", True, set_up)


def after_training(
    quantization: str,
    samples: Callable[[], Iterator[dict[str, np.ndarray]]] | None,
    input_dtype: str,
    output_dtype: str,
) -> Settings:
    """Quantize a float model, its ranges observed on samples where it needs any.

    Args:
        quantization: a key of ``SCHEMES``.
        samples: one example at a time, by input name; needed where activations are integers.
        input_dtype: a key of ``IO_DTYPES``; for 8-bit activations alone.
        output_dtype: likewise.
    """
    scheme = SCHEMES[quantization]

    def set_up(converter):
        configure(converter, scheme)
        _set_io_dtypes(converter, scheme, input_dtype, output_dtype)
        if scheme.is_integer:
            converter.representative_dataset = samples
            converter.target_spec.supported_ops = [_INTEGER_KERNELS[scheme.activation_bits]]

    name = f"{quantization}, post-training" if scheme.is_integer else quantization
    return Settings(name, scheme.is_integer, set_up)


def _set_io_dtypes(converter, scheme, input_dtype, output_dtype):
    if scheme.activation_bits == 8:
        converter.inference_input_type = IO_DTYPES[input_dtype]
        converter.inference_output_type = IO_DTYPES[output_dtype]
