"""What must hold for every model: its files compute what it does, and nothing fails by accident.

Each check takes a `Case` and returns figures, or raises `WrongError`. A documented error counts as
a refusal, which has to be proven: the operation that it names has no integer kernel.
"""

import dataclasses
import functools
import pathlib
import re
import tempfile
import warnings

import keras
import numpy as np
from structure import silence

import tfcompress as tfc
from exporters import load
from exporters.converting import FloatOperationError, convert_model
from exporters.fidelity import Fidelity, warn_of_noise
from keras_callbacks import MagnitudePruning
from random_models.programs import Program, build, examples
from tfcompress.keras_graph.channels import read_channels
from tfcompress.keras_graph.hooks import HookedCalls
from tfcompress.keras_graph.kernels import find_kernels
from tfcompress.pruning.channels.importance import CRITERIA
from tfcompress.pruning.channels.selection import ChannelSelection
from tfcompress.quantization.float_file import ConversionError
from tfcompress.tflite.flatbuffer import read_model
from tfcompress.tflite.model import float_operations
from tfcompress.tflite.operations import runs_with

SEEN, COMPARED = 32, 8
# What float32 rounding explains, relative to the largest value.
ROUNDING = 1e-4
NOTHING = 1e-9
# A rounding of each layer's outputs, how much of it what computes in another order may make, and
# what makes noise of it.
ROUNDED, IN_ANOTHER_ORDER, CHAOTIC = 1e-6, 10, 1e-2
# Fewer may be a fault, and so may as many fewer than another file of 8 bits has.
FEW_DECIBELS, FAR_FEWER = 15, 20
NO_GRADIENTS = ("no finite numbers", "No gradients", "the training has diverged")
REFUSALS = (FloatOperationError, tfc.PlacementError)


class WrongError(Exception):
    """Something that must hold does not."""


class DivergedError(Exception):
    """A model has no gradients, as behind an argmax, or infinite ones, as at the root of 0."""


class Case:
    """A model with its data, made anew for each check as a program says."""

    def __init__(self, program: Program, folder: pathlib.Path):
        self.program, self.folder = program, folder
        self.figures = {}  # of the checks so far

    @functools.cached_property
    def model(self) -> keras.Model:
        """The model; checks that change it build their own."""
        return build(self.program)

    @functools.cached_property
    def seen(self):
        """Inputs to observe ranges on."""
        return _single(examples(self.model, SEEN, 1))

    @functools.cached_property
    def compared(self):
        """Inputs to compare outputs on: some of those seen, as integers end where ranges do."""
        return keras.tree.map_structure(lambda array: array[:COMPARED], self.seen)

    @functools.cached_property
    def expected(self) -> list[np.ndarray]:
        """What the model computes."""
        return outputs(self.model, self.compared)

    @functools.cached_property
    def magnified(self) -> float:
        """What a rounding of each layer's outputs makes of the model's, relative to the largest."""
        generator = np.random.default_rng(3)

        def rounded(_, tensor):
            if not keras.backend.is_float_dtype(tensor.dtype):
                return tensor
            noise = generator.uniform(-ROUNDED, ROUNDED, tensor.shape)
            return tensor * (1 + noise).astype("float32")

        with HookedCalls(self.model).active(rounded):
            found = outputs(self.model, self.compared)
        return max(map(_difference, self.expected, found))


def _difference(one, other):
    """Return the largest difference relative to the largest value."""
    return np.abs(one - other).max() / max(np.abs(one).max(), 1e-3)


def _single(arrays):
    return arrays[0] if len(arrays) == 1 else arrays


def outputs(model, inputs) -> list[np.ndarray]:
    """Return what a model computes at inference, as a list."""
    return [np.asarray(each) for each in keras.tree.flatten(model(inputs, training=False))]


def _of_file(content, inputs):
    with load(content) as loaded:
        return loaded.predict(_by_name(inputs))


def _by_name(inputs):
    arrays = inputs if isinstance(inputs, list) else [inputs]
    return {f"input_{number}": array for number, array in enumerate(arrays)}


def _require(holds, otherwise):
    if not holds:
        raise WrongError(otherwise)


def _require_near(case, expected, found, what):
    allowed = max(ROUNDING, IN_ANOTHER_ORDER * case.magnified)
    _require(len(expected) == len(found), f"{what}: {len(found)} outputs")
    for number, (one, other) in enumerate(zip(expected, found, strict=True)):
        _require(one.shape == other.shape, f"{what}: output {number} has shape {other.shape}")
        error = _difference(one, other)
        _require(error < allowed, f"{what}: output {number} differs by {error:.0e} of the largest")


def float_file(case):
    """The float file computes what the model does."""
    content = convert_model(case.model, "float32").flatbuffer
    _require_near(case, case.expected, _of_file(content, case.compared), "the float file")


def saved(case):
    """A model that is saved and loaded computes the same, to the bit."""
    case.model.save(case.folder / "model.keras")
    found = outputs(keras.models.load_model(case.folder / "model.keras"), case.compared)
    same = all(map(np.array_equal, case.expected, found))
    _require(same, "a loaded model computes something else")


def signal(expected, found) -> float:
    """Return the smallest signal-to-noise ratio of several outputs, in dB; 100 at most."""
    ratios = []
    for exact, given in zip(expected, found, strict=True):
        power, noise = np.square(exact).mean(), np.square(exact - given).mean()
        if power > NOTHING:  # a difference of equal numbers has no signal
            ratios.append(10 * np.log10(power / (noise + NOTHING)))
    return float(min(100.0, *ratios, 100.0))


def after_training(case):
    """The int8 file of a float model is integer throughout, and near it or warned of by layer."""
    converted = convert_model(case.model, "int8", representative_data=case.seen)
    content = converted.flatbuffer
    _require_integer(content)
    decibels = signal(case.expected, _of_file(content, case.compared))
    if decibels < FEW_DECIBELS and not _is_named(case, converted, decibels):
        _require_better_with_16_bits(case, decibels)
    return {"after training": decibels}


def _is_named(case, converted, decibels):
    """Tell whether an export warns of the layer that loses the signal."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = warn_of_noise(
            "random",
            Fidelity({"": decibels}),
            converted.flatbuffer,
            converted.float_file,
            _by_name(case.compared),
        )
    return found.weakest is not None


def _require_better_with_16_bits(case, decibels):
    """Tell a fault from the rounding of 8 bits: more bits cure that."""
    try:
        content = convert_model(case.model, "int16x8", representative_data=case.seen).flatbuffer
    except (*REFUSALS, ConversionError):
        return
    more = signal(case.expected, _of_file(content, case.compared))
    _require(more > decibels + 10, f"{decibels:.0f} dB, and {more:.0f} dB with 16 bits")


def _require_integer(content):
    floats = [operation.name for operation in float_operations(read_model(content))]
    _require(not floats, f"in float: {', '.join(floats)}")


def quantization_aware(case):
    """The file of a quantization-aware model equals it to the last bit; saved, it is the same."""
    quantized = tfc.quantize_aware(build(case.program))
    zeros = _compiled(quantized, case)
    quantized.calibrate(case.seen)
    _trained(quantized, case, zeros)
    content = convert_model(quantized).flatbuffer
    _require_integer(content)
    _require(quantized.deployed.exact, "inference is not that of the device")
    expected = outputs(quantized, case.compared)
    for number, (one, other) in enumerate(
        zip(expected, _of_file(content, case.compared), strict=True)
    ):
        differing = np.count_nonzero(one != other)
        _require(not differing, f"output {number}: {differing} of {one.size} differ from the file")
    quantized.save(case.folder / "aware.keras")
    loaded = keras.models.load_model(case.folder / "aware.keras")
    same = all(map(np.array_equal, expected, outputs(loaded, case.compared)))
    _require(same, "a loaded quantization-aware model computes something else")
    decibels = signal(outputs(quantized.model, case.compared), expected)
    before = case.figures.get("after training", -np.inf)
    _require(
        decibels > FEW_DECIBELS or decibels > before - FAR_FEWER,
        f"{decibels:.0f} dB with training, {before:.0f} dB without",
    )
    return {"quantization-aware": decibels}


def _compiled(model, case):
    """Compile a model that was not called yet, and return what its outputs are to become."""
    model.compile(keras.optimizers.SGD(0.0), "mse", jit_compile=False)
    zeros = _single([np.zeros((SEEN, *each.shape[1:]), "float32") for each in case.expected])
    model.compute_loss(y=zeros, y_pred=zeros)  # made in the step, it would be traced again
    return zeros


def _trained(model, case, zeros, callbacks=()):
    """Run one step that moves statistics, ranges and masks, and no weight."""
    try:
        model.fit(case.seen, zeros, SEEN, 1, 0, list(callbacks))
    except ValueError as error:
        if any(words in str(error) for words in NO_GRADIENTS):
            raise DivergedError from error
        raise
    if not all(np.isfinite(values).all() for values in model.get_weights()):
        raise DivergedError


def pruned(case):
    """Half of each kernel's weights are zero after a step, and stay so."""
    model = build(case.program)
    kernels = [each.variable for each in find_kernels(model) if not each.depthwise]
    if not kernels:
        return
    schedule = tfc.ConstantSparsity(0.5, 0, frequency=1)
    pruning = MagnitudePruning(schedule, sparsity_distribution="uniform")
    _trained(model, case, _compiled(model, case), [pruning])
    for kernel in kernels:
        values = keras.ops.convert_to_numpy(kernel)
        count = int(np.count_nonzero(values == 0))
        _require(
            abs(count - values.size / 2) <= 0.5, f"{kernel.path}: {count} zeros of {values.size}"
        )


def removed(case):
    """The smaller model computes what the model does where nothing reads the removed channels."""
    model = build(case.program)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # nothing to remove
        smaller = tfc.remove_channels(model, ratio=0.5)
    flow = read_channels(model)
    silence(
        model, flow, ChannelSelection(flow, flow.groups, CRITERIA["l1"](model, flow)).by_ratio(0.5)
    )
    expected, found = (outputs(each, case.compared) for each in (model, smaller))
    _require_near(case, expected, found, "channel removal")
    return {"channels left": smaller.count_params() / max(1, model.count_params())}


CHECKS = {
    "float file": float_file,
    "saved": saved,
    "after training": after_training,
    "quantization-aware": quantization_aware,
    "pruned": pruned,
    "channels": removed,
}


@dataclasses.dataclass(frozen=True)
class Failure:
    """What does not hold for a model.

    Attributes:
        check: the key of ``CHECKS``.
        what: the error, in short.
    """

    check: str
    what: str

    @property
    def kind(self) -> str:
        """The failure without the numbers and names of one model: what shrinking must keep."""
        words = re.sub(r"'[^']*'|\[[^]]*\]|\([^)]*\)|\S*[\d/]\S*", "", self.what)
        return f"{self.check}: {' '.join(words.split())[:100]}"


def unproven(message: str) -> str | None:
    """Return why a refusal counts as a fault; None if it names only kernels that are missing."""
    names = re.findall(r"\b[A-Z][A-Z0-9]+(?:_[A-Z0-9]+)*\b", message.partition("device:")[2])
    if not names:
        return "refused for no operation"
    present = sorted({name for name in names if runs_with(name, "INT8")})
    return f"refused for {', '.join(present)}" if present else None


def check(program: Program, names=tuple(CHECKS)) -> tuple[list[Failure], dict]:
    """Check all that must hold for a model.

    Args:
        program: the model.
        names: keys of ``CHECKS``.

    Returns:
        (failures, figures): among the figures are the reasons of refusals, by check.
    """
    failures, figures = [], {}
    with tempfile.TemporaryDirectory() as folder:
        case = Case(program, pathlib.Path(folder))
        try:
            unusable = None
            if not all(np.isfinite(each).all() for each in case.expected):
                unusable = "not finite"
            elif not case.magnified < CHAOTIC:
                unusable = "magnifies roundings"
        except (TypeError, ValueError) as error:  # of Keras: a mask that does not fit, say
            return [], {"unusable": str(error)}
        if unusable:
            return [], {"unusable": unusable}
        for name in names:
            try:
                case.figures = figures = figures | (CHECKS[name](case) or {})
            except DivergedError:
                figures[f"diverged, {name}"] = "no finite gradients"
            except REFUSALS as error:
                if fault := unproven(str(error)):
                    failures.append(Failure(name, f"{fault}: {error}"))
                else:
                    figures[f"refused, {name}"] = str(error)
            except Exception as error:
                failures.append(Failure(name, f"{type(error).__name__}: {error}"))
    return failures, figures
