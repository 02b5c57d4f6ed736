"""How far the outputs of a file are from those of the float model, and which layer makes it so."""

import dataclasses
import math
import warnings
from collections.abc import Callable

from exporters.layer_parity import LayerParity
from exporters.running.runtime import RunError
from exporters.validation import validate
from tfcompress.tflite.flatbuffer import read_model
from tfcompress.tflite.numerics import SMALLEST_RANGE
from tfcompress.tflite.operations import COPIES, support

# Less says of a file of 8 bits that something besides their rounding is at work.
LEAST_DECIBELS = 15.0
_AS_LOW = 3.0  # dB, half of the noise
# The scale of values that all round to zero allows less.
_NOTHING = 0.1


@dataclasses.dataclass(frozen=True)
class Fidelity:
    """Signal-to-quantization-noise ratio of a file's outputs to those of the float model.

    Attributes:
        decibels: the ratio of each output by its name, in dB; infinite where nothing differs.
        weakest: the first operation with less than 15 dB whose inputs have more; None if there is
            none, or if all outputs have more.
    """

    decibels: dict[str, float]
    weakest: LayerParity | None = None

    @property
    def is_low(self) -> bool:
        """Whether an output has less than 15 dB."""
        return min(self.decibels.values(), default=math.inf) < LEAST_DECIBELS

    def __str__(self) -> str:
        listed = ", ".join(f"{name} {value:.1f} dB" for name, value in self.decibels.items())
        return f"to the float model: {listed}"


def warn_of_noise(
    name: str, found: Fidelity, file: bytes, float_file: Callable[[], bytes], data
) -> Fidelity:
    """Warn of outputs that are far from the float model's, and name the layer that makes them so.

    ``data`` are a few examples, ``float_file`` makes the float file that was filled with integers.
    """
    if not found.is_low:
        return found
    try:
        compared = {"kernels": ("builtin",), "lowest_sqnr": LEAST_DECIBELS}
        parity = validate(file, float_file(), data, **compared)
        found = dataclasses.replace(found, weakest=parity.first_wrong)
        where = _where(parity, read_model(file).subgraphs[0])
    except RunError as error:  # the kernels that show tensors refuse what others run
        where = f"Its layers cannot be compared: {error}."
    listed = ", ".join(
        f"{output!r} {value:.1f} dB"
        for output, value in found.decibels.items()
        if value < LEAST_DECIBELS
    )
    warnings.warn(
        f"The file of model {name!r} computes something else than the float model: signal to "
        f"quantization noise of {listed}, where 8 bits usually leave 30 dB and more. "
        f"{where}",
        stacklevel=4,
    )
    return found


def _where(parity, graph) -> str:
    """Say which layer loses the signal, and what to do."""
    weakest = parity.first_wrong
    advice = "Compute that with other operations."
    if not any(tensor.dtype == "INT16" for tensor in graph.tensors):
        advice = 'Try `quantization="int16x8"`, or compute that with other operations.'
    if weakest is None:
        return f"No single layer makes it so: the roundings of several add up. {advice}"
    operation = graph.operations[weakest.index]
    while operation.name in COPIES and operation.inputs[0] in graph.makers:
        operation = graph.makers[operation.inputs[0]]
    maker = next((each for each in parity.layers if each.index == operation.index), weakest)
    if maker is not weakest:
        return (
            f"Layer {_named(weakest)} takes a part, with {weakest.sqnr:.1f} dB, of what layer "
            f"{_named(maker)} makes with one scale for all. {advice}"
        )
    is_fixed = getattr(support(operation.name), "output", None) == "fixed"
    if maker.cut_off - maker.grid < _AS_LOW and not is_fixed:
        return (
            f"Layer {_named(maker)} is the first that loses it: {maker.sqnr:.1f} dB of "
            f"{maker.inherited:.1f} dB, because its values lie beyond the range that it had in the "
            "data that ranges were observed on. Observe them on more examples, and on such as are "
            "in use: `representative_data`, or what the model is trained or calibrated on."
        )
    if maker.grid < _NOTHING and not is_fixed:
        advice = f"No range is less than {SMALLEST_RANGE}: scale such values up."
    return (
        f"Layer {_named(maker)} is the first that loses it: {maker.sqnr:.1f} dB of "
        f"{maker.inherited:.1f} dB, and the scale of its output allows {maker.grid:.1f} dB. "
        f"{advice}"
    )


def _named(layer: LayerParity) -> str:
    """Return the name of a layer and its operation."""
    return f"{(layer.layer or layer.tensor)!r} ({layer.operation})"
