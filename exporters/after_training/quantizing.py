"""Handing a float file to ai-edge-quantizer."""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping

import numpy as np

from exporters.after_training.calibration import (
    Ranges,
    complete_ranges,
    observe,
    second_moments,
)
from exporters.after_training.settings import AfterTraining
from tfcompress.tflite.flatbuffer import read_model

_EVERYWHERE = ".*"
_NEAREST = "min_max_uniform_quantize"
# Operations that have a 4-bit kernel, for integer and for float activations.
_FOUR_BITS = {True: ("FULLY_CONNECTED", "CONV_2D")}
_FOUR_BITS[False] = (*_FOUR_BITS[True], "EMBEDDING_LOOKUP")


def require_quantizer():
    """Import ai-edge-quantizer.

    Returns:
        Its module ``quantizer``.

    Raises:
        ImportError: it is not installed; the message says how to install it.
    """
    try:
        from ai_edge_quantizer import quantizer
    except ImportError as error:
        raise ImportError(
            "Quantizing with `AfterTraining` needs ai-edge-quantizer: pip install 'tfcompress[ptq]'"
        ) from error
    return quantizer


def quantize_file(
    content: bytes,
    settings: AfterTraining,
    samples: Iterable[Mapping[str, np.ndarray]] = (),
    learnt: Ranges | None = None,
    float_ports: Collection[str] = (),
) -> bytes:
    """Quantize a float file.

    Args:
        content: the file, with one signature; this process has made it.
        settings: what to make of it.
        samples: inputs by name, to observe ranges on, and for GPTQ.
        learnt: ranges by tensor name that go before observed ones; without samples they must be
            all.
        float_ports: "INPUT", "OUTPUT" or both, where an integer file takes or gives floats.

    Returns:
        The quantized file.

    Raises:
        ImportError: ai-edge-quantizer is not installed.
        ValueError: a tensor has neither been observed nor has a learnt range; names it. Or GPTQ has
            no samples.
    """
    module = require_quantizer()
    samples = list(samples)
    if settings.gptq and not samples:
        raise ValueError("GPTQ weighs errors on data: pass `representative_data`. Received: none")
    quantizer = module.Quantizer(bytearray(content))
    for regex, operation, bits, granularity, algorithm in _recipe(content, settings):
        if settings.integer:
            quantizer.add_static_config(
                regex, operation, settings.activation_bits, bits, granularity, algorithm
            )
        else:
            quantizer.add_dynamic_config(regex, operation, bits, granularity, algorithm)
    for port in float_ports:
        quantizer.update_quantization_recipe(_EVERYWHERE, port, algorithm_key="no_quantize")
    calibration = _calibration(content, settings, samples, learnt or {})
    result = quantizer.quantize(calibration, enable_progress_report=False)
    return bytes(result.quantized_model)


def _recipe(content: bytes, settings: AfterTraining) -> Iterator[tuple[str, str, int, str, str]]:
    """Yield (output name, operation, weight bits, granularity, algorithm); the last match wins."""
    bits = settings.weight_bits
    yield _EVERYWHERE, "*", 8, "CHANNELWISE", _NEAREST
    if bits == 4:
        for operation in _FOUR_BITS[settings.integer]:
            yield _EVERYWHERE, operation, bits, "CHANNELWISE", _NEAREST
    algorithm = "GPTQ" if settings.gptq else _NEAREST
    if settings.gptq or settings.block_size:
        blocks = f"BLOCKWISE_{settings.block_size}" if settings.block_size else "CHANNELWISE"
        yield _EVERYWHERE, "FULLY_CONNECTED", bits, blocks, algorithm
    for name in _no_whole_blocks(content, settings.block_size) if settings.block_size else ():
        yield f"^{re.escape(name)}", "FULLY_CONNECTED", bits, "CHANNELWISE", algorithm


def _no_whole_blocks(content: bytes, block_size: int) -> list[str]:
    """Name the outputs of fully connected layers whose inputs are no multiple of a block."""
    graph = read_model(content).subgraphs[0]
    return [
        graph.tensors[operation.outputs[0]].name
        for operation in graph.operations
        if operation.name == "FULLY_CONNECTED"
        and graph.tensors[operation.inputs[1]].shape[-1] % block_size
    ]


def _calibration(content, settings, samples, learnt) -> dict[str, dict] | None:
    """Say what ai-edge-quantizer has to know about each tensor."""
    if not settings.needs_data:
        return None
    ranges = observe(content, samples) if samples else {}
    ranges = complete_ranges(content, ranges | learnt)
    shapes = {tensor.name: tensor.shape for tensor in read_model(content).subgraphs[0].tensors}
    calibration = {
        name: {
            end: np.full((1,) * len(shapes[name]), value, np.float32)
            for end, value in zip(("min", "max"), ends, strict=True)
        }
        for name, ends in ranges.items()
    }
    if settings.gptq:
        for name, (moments, rows) in second_moments(content, samples).items():
            calibration[name] |= {"hessian": moments, "num_samples": rows}
    return calibration
