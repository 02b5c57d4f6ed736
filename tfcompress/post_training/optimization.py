"""Post-training optimization of a model that will be quantized, on a few hundred inputs."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import keras
from rich.progress import Progress

from tfcompress.deprecation import renamed_arguments
from tfcompress.interruption import reliable_interruption
from tfcompress.keras_graph.channels.flow import require_functional
from tfcompress.keras_graph.wrapper import require_built, require_final_kernels, unwrap
from tfcompress.post_training.adaptive_rounding import RoundWeights
from tfcompress.post_training.bias_correction import CorrectBiases
from tfcompress.post_training.cross_layer_equalization import Equalize
from tfcompress.post_training.report import LayerNoise, RepairReport
from tfcompress.post_training.representative_data import input_batches
from tfcompress.post_training.session import NOISE_PASSES, OUTPUTS, Session
from tfcompress.quantization import QuantizeAware, Scheme
from tfcompress.quantization.arithmetic.observers import MovingAverage
from tfcompress.quantization.scheme import require_scheme
from tfcompress.quantization.weights import require_usable_weights

Step = Equalize | RoundWeights | CorrectBiases
STEPS: dict[str, type[Step]] = {
    "equalize": Equalize,
    "round": RoundWeights,
    "correct_biases": CorrectBiases,
}


@renamed_arguments(most="max_examples")
@reliable_interruption()
def repair(
    model: keras.Model,
    representative_data: Any,
    steps: Iterable[str | Step] = ("equalize", "round", "correct_biases"),
    *,
    scheme: Scheme | None = None,
    observer: str | MovingAverage = "min_max",
    max_examples: int = 256,
    progress: bool = True,
) -> keras.Model:
    """Make a copy of a model that loses less when it is quantized after training.

    The copy has the inputs, outputs and layer names of the model and its own float weights, so that
    it is saved, run and exported like any other. Batch normalizations are folded into the layers
    before them. Its attribute ``repair_report`` lists the changes layer by layer.

    Args:
        model: a built Functional or Sequential model, nested ones included; it is not changed.
        representative_data: a few hundred inputs like those in use, in any form that ``fit``
            accepts; labels are not needed.
        steps: the optimizations, in this order: "equalize" scales channels between layers so that
            weights and activations with a common scale are similar in magnitude; "round" chooses
            the integers of the weights by the outputs of layers; "correct_biases" restores the mean
            output of each layer. Or ``Equalize``, ``RoundWeights`` and ``CorrectBiases`` objects
            with settings.
        scheme: the numerics of the deployed model; ``Scheme.int8()`` by default.
        observer: how the ranges of activations will be observed: "min_max" as ``export_tflite``
            does after training, or the observer that the model will be calibrated with; see
            ``quantize_aware``.
        max_examples: the maximum number of inputs to use.
        progress: whether to show a progress bar.

    Returns:
        The optimized model; not compiled.

    Raises:
        TypeError: ``representative_data`` has no form that ``fit`` accepts.
        ValueError: the model is subclassed, not built, quantization-aware, computes with other
            weights than its kernels (``gated``), or has NaN weights; there is no data, or it does
            not fit the model or is not finite; a step or the observer is unknown; "equalize"
            follows "round"; or ``scheme`` stores activations as floats.
        PlacementError: some layers would compute in float on the device.
        ConversionError: the TFLite converter rejects the model.

    Example:
    >>> repaired = tfc.repair(model, x_train[:200])
    >>> print(repaired.repair_report)
    >>> export_tflite(repaired, "model.tflite", "int8", representative_data=x_train[:200])

    Method: each step names its own; the order is that of Nagel et al., "A White Paper on Neural
    Network Quantization", 2021, https://arxiv.org/abs/2106.08295, section 3.
    """
    model = require_optimizable(model)
    steps = _checked_steps([steps] if isinstance(steps, str) else steps)
    scheme = Scheme.int8() if scheme is None else require_scheme(scheme)
    if not scheme.is_integer:
        raise ValueError(
            "Post-training optimization requires a scheme that computes with integers, such as "
            f"Scheme.int8(). Received: scheme={scheme!r}, whose activations are floats"
        )
    batches = input_batches(model, representative_data, max_examples)
    with Progress(disable=not progress, transient=True) as bar:
        work = bar.add_task("repair", total=1.0)

        def show(share: float) -> None:
            bar.update(work, completed=share)

        return optimized(model, batches, steps, scheme, observer, show)


def optimized(
    model: keras.Model,
    batches: Sequence,
    steps: Sequence[Step],
    scheme: Scheme,
    observer: str | MovingAverage = "min_max",
    tell: Callable[[float], None] = lambda share: None,
) -> keras.Model:
    """Optimize a model on checked batches.

    ``tell`` takes the share of the work that is done, after each batch; it may raise to end it.
    """
    session = Session(model, batches, scheme, observer, lambda passes: tell(passes / cost))
    cost = 2 * NOISE_PASSES + sum(step.cost(session) for step in steps)
    before = session.noise()
    reports = tuple(step.apply(session) for step in steps)
    after = session.noise()
    noises = {path: LayerNoise(path, before[path], after[path]) for path in before}
    outputs = noises.pop(OUTPUTS)
    session.model.repair_report = RepairReport(reports, tuple(noises.values()), outputs)
    return session.model


def equalize(model: keras.Model, representative_data: Any, **settings: Any) -> keras.Model:
    """Scale channels between layers so that values with a common scale are similar in magnitude.

    Args:
        model: see ``repair``.
        representative_data: see ``repair``.
        **settings: further arguments of ``repair``.

    Returns:
        A copy that computes the same in float; see ``repair``.

    Raises:
        TypeError, ValueError: see ``repair``.

    Example:
    >>> equalized = tfc.equalize(model, x_train[:200])
    """
    return repair(model, representative_data, ("equalize",), **settings)


def round_weights(model: keras.Model, representative_data: Any, **settings: Any) -> keras.Model:
    """Choose the integers of the weights by the outputs of layers, not by the nearest value.

    Args:
        model: see ``repair``.
        representative_data: see ``repair``.
        **settings: further arguments of ``repair``.

    Returns:
        A copy whose weights lie on the grid of the file; see ``repair``.

    Raises:
        TypeError, ValueError: see ``repair``.

    Example:
    >>> rounded = tfc.round_weights(model, x_train[:200], scheme=tfc.Scheme.int4_weights())
    """
    return repair(model, representative_data, ("round",), **settings)


def correct_biases(model: keras.Model, representative_data: Any, **settings: Any) -> keras.Model:
    """Restore the mean output of each layer, which rounding has shifted.

    Args:
        model: see ``repair``.
        representative_data: see ``repair``.
        **settings: further arguments of ``repair``.

    Returns:
        A copy with other biases; see ``repair``.

    Raises:
        TypeError, ValueError: see ``repair``.

    Example:
    >>> corrected = tfc.correct_biases(model, x_train[:200])
    """
    return repair(model, representative_data, ("correct_biases",), **settings)


def require_optimizable(model: keras.Model) -> keras.Model:
    """Return the user's own model, or raise a ``ValueError`` where it cannot be optimized."""
    if isinstance(model, QuantizeAware):
        raise ValueError(
            f"Model {model.name!r} is quantization-aware: train it instead, or pass `model.model`, "
            "the float model inside. Received: model of type QuantizeAware"
        )
    require_final_kernels(model, "post-training optimization")
    model = unwrap(model)
    require_built(model)
    require_functional(model)
    require_usable_weights(model)
    return model


def _checked_steps(steps) -> list[Step]:
    """Return the steps as objects, in an order that makes sense."""
    steps = [_step(step) for step in steps]
    kinds = [type(step) for step in steps]
    if Equalize in kinds and RoundWeights in kinds[: len(kinds) - kinds[::-1].index(Equalize)]:
        raise ValueError(
            '"equalize" after "round" would move the weights off their grid: put "equalize" before '
            f'"round". Received: steps={[kind.__name__ for kind in kinds]}'
        )
    return steps


def _step(step) -> Step:
    """Return a step as an object."""
    if isinstance(step, Step):
        return step
    if step not in STEPS:
        kinds = ", ".join(kind.__name__ for kind in STEPS.values())
        raise ValueError(
            f"`steps` must be some of {list(STEPS)}, or objects of {kinds}. Received: {step!r}"
        )
    return STEPS[step]()
