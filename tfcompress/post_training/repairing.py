"""Repairing a trained model before it is rounded, on a few hundred inputs and without labels."""

from collections.abc import Iterable

import keras

from tfcompress.interruption import reliable_interruption
from tfcompress.keras_graph.channels.flow import require_functional
from tfcompress.keras_graph.wrapper import require_built, require_final_kernels, unwrap
from tfcompress.post_training.biases import CorrectBiases
from tfcompress.post_training.equalizing import Equalize
from tfcompress.post_training.noise import OUTPUTS
from tfcompress.post_training.report import LayerNoise, RepairReport
from tfcompress.post_training.rounding import RoundWeights
from tfcompress.post_training.sample_data import sample_batches
from tfcompress.post_training.workbench import Workbench
from tfcompress.quantization import QuantizeAware, Scheme
from tfcompress.quantization.arithmetic.observers import MovingAverage
from tfcompress.quantization.weights import require_finite_weights

Step = Equalize | RoundWeights | CorrectBiases
STEPS: dict[str, type[Step]] = {
    "equalize": Equalize,
    "round": RoundWeights,
    "correct_biases": CorrectBiases,
}


@reliable_interruption()
def repair(
    model: keras.Model,
    representative_data,
    steps: Iterable[str | Step] = ("equalize", "round", "correct_biases"),
    *,
    scheme: Scheme | None = None,
    observer: str | MovingAverage = "min_max",
    most: int = 256,
) -> keras.Model:
    """Make a copy of a model that loses less when it is rounded to integers.

    The copy has the inputs, outputs and layer names of the model and float weights of its own, so
    that it is saved, run and exported like any other. Batch normalizations are folded into the
    layers before them. What was done, layer by layer, is in its attribute ``repair_report``.

    Args:
        model: a built Functional or Sequential model; nested ones inside are repaired too. It is
            left as it is.
        representative_data: some hundred inputs like those in use, whatever ``fit`` takes; labels
            are not needed.
        steps: what is done, in this order: "equalize" scales channels between layers, so that
            weights and activations that share a scale are of a size; "round" chooses the integers
            of the weights by what layers compute; "correct_biases" puts the mean of each layer
            back. Or ``Equalize``, ``RoundWeights`` and ``CorrectBiases`` with settings of their
            own.
        scheme: the numerics of the file; ``Scheme.int8()`` when not given.
        observer: how the ranges of activations will follow from the data: "min_max" as
            ``export_tflite`` does after training, or another that the model is calibrated with;
            see ``quantize_aware``.
        most: how many of the inputs are used at most.

    Returns:
        The repaired model; not compiled.

    Raises:
        TypeError: ``representative_data`` is of no kind that ``fit`` takes.
        ValueError: the model is subclassed, not built, quantization-aware already, computes with
            other kernels than its own (``gated``), or has weights that are NaN; there is no data,
            or it does not fit or is not finite; a step or the observer is unknown; "equalize"
            comes after "round"; or ``scheme`` stores activations as floats.
        PlacementError: layers of the model would compute in float on the device.
        ConversionError: the TFLite converter refuses the model.

    Example:
    >>> repaired = tfc.repair(model, x_train[:200])
    >>> print(repaired.repair_report)
    >>> export_tflite(repaired, "model.tflite", "int8", representative_data=x_train[:200])

    Method: each step names its own; the order is that of Nagel et al., "A White Paper on Neural
    Network Quantization", 2021, https://arxiv.org/abs/2106.08295, section 3.
    """
    model = _repairable(model)
    steps = _checked_steps([steps] if isinstance(steps, str) else steps)
    scheme = scheme or Scheme.int8()
    if not scheme.is_integer:
        raise ValueError(
            "A repair is for files that compute with integers. "
            f"Received: scheme={scheme!r}, whose activations are floats"
        )
    batches = sample_batches(model, representative_data, most)
    bench = Workbench(model, batches, scheme, observer)
    before = bench.noise()
    reports = tuple(step.apply(bench) for step in steps)
    after = bench.noise()
    noises = {path: LayerNoise(path, before[path], after[path]) for path in before}
    outputs = noises.pop(OUTPUTS)
    bench.model.repair_report = RepairReport(reports, tuple(noises.values()), outputs)
    return bench.model


def equalize(model: keras.Model, representative_data, **settings) -> keras.Model:
    """Scale channels between layers, so that what shares a scale is of a size.

    Args:
        model: see ``repair``.
        representative_data: see ``repair``.
        **settings: further arguments of ``repair``.

    Returns:
        A copy that computes the same in float; see ``repair``.

    Raises:
        TypeError: see ``repair``.
        ValueError: see ``repair``.

    Example:
    >>> equalized = tfc.equalize(model, x_train[:200])
    """
    return repair(model, representative_data, ("equalize",), **settings)


def round_weights(model: keras.Model, representative_data, **settings) -> keras.Model:
    """Choose the integers of the weights by what layers compute, not by what is nearest.

    Args:
        model: see ``repair``.
        representative_data: see ``repair``.
        **settings: further arguments of ``repair``.

    Returns:
        A copy whose weights lie on the grid of the file; see ``repair``.

    Raises:
        TypeError: see ``repair``.
        ValueError: see ``repair``.

    Example:
    >>> rounded = tfc.round_weights(model, x_train[:200], scheme=tfc.Scheme.int4_weights())
    """
    return repair(model, representative_data, ("round",), **settings)


def correct_biases(model: keras.Model, representative_data, **settings) -> keras.Model:
    """Put the mean of what each layer computes back where rounding has moved it.

    Args:
        model: see ``repair``.
        representative_data: see ``repair``.
        **settings: further arguments of ``repair``.

    Returns:
        A copy with other biases; see ``repair``.

    Raises:
        TypeError: see ``repair``.
        ValueError: see ``repair``.

    Example:
    >>> corrected = tfc.correct_biases(model, x_train[:200])
    """
    return repair(model, representative_data, ("correct_biases",), **settings)


def _repairable(model: keras.Model) -> keras.Model:
    if isinstance(model, QuantizeAware):
        raise ValueError(
            f"Model {model.name!r} is quantization-aware: it is trained, not repaired. To repair "
            "the float model inside, pass `model.model`. Received: model of type QuantizeAware"
        )
    require_final_kernels(model, "a repair")
    model = unwrap(model)
    require_built(model)
    require_functional(model)
    require_finite_weights(model)
    return model


def _checked_steps(steps) -> list[Step]:
    steps = [_step(step) for step in steps]
    kinds = [type(step) for step in steps]
    if Equalize in kinds and RoundWeights in kinds[: len(kinds) - kinds[::-1].index(Equalize)]:
        raise ValueError(
            'Scales that move after "round" take the weights off their grid: put "equalize" before '
            f"it. Received: {[kind.__name__ for kind in kinds]}"
        )
    return steps


def _step(step) -> Step:
    if isinstance(step, Step):
        return step
    if step not in STEPS:
        kinds = ", ".join(kind.__name__ for kind in STEPS.values())
        raise ValueError(
            f"`steps` are some of {list(STEPS)}, or objects of {kinds}. Received: {step!r}"
        )
    return STEPS[step]()
