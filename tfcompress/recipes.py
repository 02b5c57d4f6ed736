"""Recipes: the training that compresses a model, with every number filled in."""

import dataclasses
import functools
import inspect
import math
from typing import Any

import keras
import numpy as np

from keras_callbacks import MagnitudePruning
from tfcompress.backends import jit_compile_on_cpu
from tfcompress.distillation import Distiller, LogitsMSE, SoftLabels
from tfcompress.distillation.losses import DistillationLoss
from tfcompress.distillation.signals import detect_heads, is_binary, loss_name, loss_of_output
from tfcompress.keras_graph.channels.flow import is_graph
from tfcompress.keras_graph.layer_calls import LayerCalls
from tfcompress.keras_graph.wrapper import require_built, unwrap
from tfcompress.pruning import PolynomialDecay
from tfcompress.pruning.pruner import prunable_kernels
from tfcompress.pruning.schedules import check_sparsity
from tfcompress.quantization import Scheme, quantize_aware

# A model learns again from what it said before pruning, softened; rounding alone loses less, and
# then only a larger teacher helps, as it is.
TEMPERATURE, _TEMPERATURE_WITHOUT_PRUNING = 4.0, 1.0
TASK_WEIGHT = 0.5
WEIGHT_DECAY = 1e-3
# The fewer weights are left, the longer is their way: the rate grows as the density falls.
_RATE, _HIGHEST_RATE = 5e-4, 5e-3
_PRUNED_BY = 0.5  # of the training; the rest is for recovery
_UPDATES = 20  # of the masks; with fewer, too many weights go at the same time
_SCHEMES = {8: "int8", 4: "int4_weights"}


@dataclasses.dataclass(frozen=True)
class Recipe:
    """A training that compresses a model; made by ``recipe``.

    ``print(recipe)`` shows it as Python code. ``dataclasses.replace(recipe, learning_rate=1e-3)``
    changes a number: ``model``, ``optimizer`` and ``callbacks`` are made of the numbers when they
    are first asked for.

    Attributes:
        steps_per_epoch, epochs: the length of the training.
        initial_sparsity: the share of zeros at the start, in [0, 1).
        sparsity: the share of zeros from ``end_step`` on, in [0, 1); 0 for no pruning.
        end_step: the step at which the sparsity is reached.
        frequency: the number of steps between two updates of the masks.
        bits: of the weights, 8 or 4, beside activations of 8 bits; ``None`` for floats. With 4, the
            first and the last layers with kernels keep 8.
        temperature: softens what the teacher says of classes.
        task_weight: the weight of the loss of the labels beside that of the teacher.
        learning_rate: the initial one; it decays to zero along a cosine.
        weight_decay: of AdamW.
        student: the user's model.
        teacher: what ``Distiller`` takes as a teacher; ``None`` for none.
        loss: of the labels, as ``compile`` takes it; ``None`` without a teacher.

    Example:
    >>> r = tfc.recipe(model, steps_per_epoch=100, epochs=9, sparsity=0.75, loss=loss)
    >>> r.schedule.end_step, dataclasses.replace(r, sparsity=0.5).schedule.final
    (450, 0.5)
    """

    steps_per_epoch: int
    epochs: int
    initial_sparsity: float
    sparsity: float
    end_step: int
    frequency: int
    bits: int | None
    temperature: float
    task_weight: float
    learning_rate: float
    weight_decay: float
    student: keras.Model = dataclasses.field(repr=False, compare=False)
    teacher: Any = dataclasses.field(repr=False, compare=False)
    loss: Any = dataclasses.field(repr=False, compare=False)

    def __post_init__(self):
        _check_length(self.steps_per_epoch, self.epochs, self.sparsity)
        _check_sparsity(self)
        _check_bits(self.bits)

    @property
    def schedule(self) -> PolynomialDecay | None:
        """The sparsity at each step; ``None`` without pruning."""
        if not self.sparsity:
            return None
        return PolynomialDecay(
            self.initial_sparsity, self.sparsity, 0, self.end_step, frequency=self.frequency
        )

    @property
    def scheme(self) -> Scheme | None:
        """The numerics of the file; ``None`` for floats."""
        if self.bits is None:
            return None
        scheme = getattr(Scheme, _SCHEMES[self.bits])()
        return scheme.override(self._ends, Scheme.int8()) if self._ends else scheme

    @functools.cached_property
    def _ends(self) -> list[str]:
        """The layers that keep 8 bits where the others have fewer."""
        return end_layers(self.student) if self.bits is not None and self.bits < 8 else []

    @functools.cached_property
    def model(self) -> keras.Model:
        """The model to compile, fit and hand to ``export_tflite``; it shares its variables."""
        model = self.student
        scheme = self.scheme
        if scheme is not None:
            model = quantize_aware(model, scheme)
        if self.teacher is not None:
            model = Distiller(model, self.teacher, self._losses(), self.task_weight)
        return model

    @functools.cached_property
    def optimizer(self) -> keras.optimizers.Optimizer:
        """The optimizer to compile ``model`` with."""
        steps = self.epochs * self.steps_per_epoch
        return decaying_adamw(self.learning_rate, self.weight_decay, steps)

    @functools.cached_property
    def callbacks(self) -> list[keras.callbacks.Callback]:
        """The callbacks of ``fit``."""
        return [] if self.schedule is None else [MagnitudePruning(self.schedule)]

    def get_config(self) -> dict[str, Any]:
        """Return the numbers, by name."""
        shown = [field.name for field in dataclasses.fields(self) if field.repr]
        return {name: getattr(self, name) for name in shown}

    def _losses(self):
        return distillation_losses(self.student, self.loss, self.temperature)

    def __str__(self) -> str:
        """Return the training as code; ``model``, ``loss`` and ``dataset`` are the user's."""
        lines = ["import keras", "import tfcompress as tfc", ""]
        trained = "model"
        if self.bits is not None:
            scheme = f"tfc.Scheme.{_SCHEMES[self.bits]}()"
            if self._ends:
                scheme += f".override({self._ends}, tfc.Scheme.int8())"
            lines += [f"quantized = tfc.quantize_aware(model, {scheme})"]
            trained = "quantized"
        if self.teacher is not None:
            losses = ", ".join(map(_as_code, self._losses()))
            teacher = '"self"' if self.teacher == "self" else "teacher"
            lines += [
                f"losses = [{losses}]",
                f"distiller = tfc.Distiller("
                f"{trained}, {teacher}, losses, task_weight={self.task_weight})",
            ]
            trained = "distiller"
        steps, callbacks = self.epochs * self.steps_per_epoch, ""
        lines += [
            f"rate = keras.optimizers.schedules.CosineDecay({self.learning_rate}, {steps})",
            f"optimizer = keras.optimizers.AdamW(rate, weight_decay={self.weight_decay})",
            f"{trained}.compile(optimizer, loss, jit_compile={jit_compile_on_cpu()!r})",
        ]
        if self.schedule is not None:
            lines += [
                f"schedule = tfc.PolynomialDecay({self.initial_sparsity}, {self.sparsity}, "
                f"begin_step=0, end_step={self.end_step}, frequency={self.frequency})",
                "pruning = tfc.MagnitudePruning(schedule)",
            ]
            callbacks = ", callbacks=[pruning]"
        lines += [f"{trained}.fit(dataset, epochs={self.epochs}{callbacks})"]
        return "\n".join(lines)


def recipe(
    model: keras.Model,
    *,
    steps_per_epoch: int,
    epochs: int,
    sparsity: float = 0.0,
    bits: int | None = 8,
    teacher: Any = "auto",
    loss: Any = None,
) -> Recipe:
    """Fill in the numbers of the training that compresses a trained model with the least loss.

    Zeros come by ``MagnitudePruning`` over half of the training, integers by
    ``quantize_aware`` and a teacher by ``Distiller``, all in one ``fit``. ``docs/benchmarks.md``
    says what that was compared with.

    Args:
        model: a built and trained model. It is what is trained: clone it to keep it as it is.
        steps_per_epoch: batches of an epoch.
        epochs: epochs of the training.
        sparsity: the share of zeros in the kernels in the end, in [0, 1); depthwise ones, which
            hold few weights, stay as they are.
        bits: of the weights, 8 or 4, beside activations of 8 bits; ``None`` for floats. With 4, the
            first and the last layers with kernels keep 8: they hold few weights and much accuracy.
        teacher: what ``Distiller`` takes, such as a larger model; "self" for the model as it is
            now; ``None`` for none; "auto" for "self" where weights are pruned and otherwise none:
            a model that is only quantized learns nothing from itself. A model that
            ``prune_weights`` has made sparse learns from the dense one.
        loss: of the labels, as ``compile`` takes it: it says how the teacher is followed. By
            default that of the compiled model.

    Returns:
        The recipe: ``.model``, ``.optimizer``, ``.callbacks``, ``.epochs``; printed, it is code.

    Raises:
        TypeError: a number is of another type, or ``teacher`` is of an unsupported kind.
        ValueError: nothing is to be compressed; the training is too short to prune in; the model
            has more zeros already, is not built, is a wrapper or cannot be quantized; its loss is
            unknown; or student and teacher have different outputs.

    Example:
    >>> r = tfc.recipe(model, steps_per_epoch=len(dataset), epochs=40, sparsity=0.75, loss=loss)
    >>> r.model.compile(r.optimizer, loss, metrics=["accuracy"], jit_compile=False)
    >>> _ = r.model.fit(dataset, epochs=r.epochs, callbacks=r.callbacks)
    >>> tfc.export_tflite(r.model, "model.tflite")

    Method: Mishra and Marr, "Apprentice: Using knowledge distillation techniques to improve
    low-precision network accuracy", 2018, https://arxiv.org/abs/1711.05852.
    """
    if unwrap(model) is not model:
        raise ValueError(
            "A recipe takes the float model and wraps it itself: pass its `.model`. "
            f"Received: a {type(model).__name__}"
        )
    require_built(model)
    if isinstance(teacher, str) and teacher == "auto":
        teacher = "self" if sparsity else None
    if not sparsity and bits is None and teacher is None:
        raise ValueError(
            "A recipe prunes, quantizes, teaches or does several of these; the nearest that "
            "compresses is bits=8. Received: sparsity=0.0, bits=None and no teacher"
        )
    check_sparsity("recipe", "sparsity", sparsity)
    _check_length(steps_per_epoch, epochs, sparsity)
    end_step, frequency = ramp(epochs * steps_per_epoch)
    made = Recipe(
        steps_per_epoch=steps_per_epoch,
        epochs=epochs,
        initial_sparsity=_initial_sparsity(model, sparsity) if sparsity else 0.0,
        sparsity=sparsity,
        end_step=end_step,
        frequency=frequency,
        bits=bits,
        temperature=TEMPERATURE if sparsity else _TEMPERATURE_WITHOUT_PRUNING,
        task_weight=TASK_WEIGHT,
        learning_rate=round(min(_RATE / (1.0 - sparsity) ** 1.5, _HIGHEST_RATE), 6),
        weight_decay=WEIGHT_DECAY,
        student=model,
        teacher=teacher,
        loss=None if teacher is None else require_loss(model, loss),
    )
    made.model  # noqa: B018  what does not go together is refused here
    return made


def end_layers(model: keras.Model) -> list[str]:
    """Return the paths of the first and the last layers with kernels, if there are others as well.

    None of a model whose layers are called in code of its own.
    """
    if not is_graph(model):
        return []
    graph = LayerCalls(model)
    with_kernels = {
        call.path
        for call in graph.calls
        if any(len(v.shape) > 1 for v in getattr(call.layer, "weights", ()))
    }
    made = {tensor for call in graph.calls for tensor in call.outputs}
    given = {tensor for call in graph.calls for tensor in call.inputs} - made
    answers = {tensor for tensor in made if graph.is_output(tensor)}
    ends = {}
    for reached, calls, before, after in (
        (given, graph.calls, "inputs", "outputs"),
        (answers, reversed(graph.calls), "outputs", "inputs"),
    ):
        for call in calls:
            if reached.isdisjoint(getattr(call, before)):
                continue
            if call.path in with_kernels:
                ends[call.path] = None
            else:
                reached.update(getattr(call, after))
    return list(ends) if with_kernels - set(ends) else []


def ramp(steps: int) -> tuple[int, int]:
    """Return the step at which a training of so many steps reaches its sparsity, and the frequency.

    Example:
    >>> ramp(900)
    (450, 22)
    """
    end_step = math.ceil(_PRUNED_BY * steps)
    return end_step, PolynomialDecay(0.0, 0.0, 0, end_step).interval


def decaying_adamw(
    learning_rate: float, weight_decay: float, steps: int
) -> keras.optimizers.Optimizer:
    """Return AdamW with a learning rate that decays to zero along a cosine."""
    decay = keras.optimizers.schedules.CosineDecay(learning_rate, steps)
    return keras.optimizers.AdamW(decay, weight_decay=weight_decay)


def require_loss(model: keras.Model, loss: Any = None) -> Any:
    """Return the loss of a model's labels: that which is given, or that of the compiled model."""
    loss = getattr(model, "loss", None) if loss is None else loss
    if loss is None:
        raise ValueError(
            "The model is trained on its labels, too: pass `loss`, as `compile` takes it, or a "
            f"compiled model. Received: model {model.name!r}, not compiled, and loss=None"
        )
    return loss


def distillation_losses(
    model: keras.Model, loss: Any, temperature: float = TEMPERATURE
) -> list[DistillationLoss]:
    """Choose how a student follows its teacher, for each of its outputs.

    By soft labels where it tells classes, or yes or no, and otherwise by the squared difference.
    ``loss`` is that of the labels: one, a list or a dict, by output.
    """
    heads = detect_heads(model) or [None]
    names = getattr(model, "output_names", None) or [None]
    losses: list[DistillationLoss] = []
    for index, head in enumerate(heads):
        output = index if len(heads) > 1 else None
        own = loss_of_output(loss, index, names)
        if is_binary(own) or head == "sigmoid":
            losses.append(SoftLabels(temperature, activation="sigmoid", output=output))
        elif "crossentropy" in loss_name(own) or head == "softmax":
            losses.append(SoftLabels(temperature, output=output))
        else:
            losses.append(LogitsMSE(output=output))
    return losses


def _initial_sparsity(model: keras.Model, sparsity: float) -> float:
    """Return the share of zeros in the kernels that pruning takes, ``sparsity`` if it is that."""
    kernels = [keras.ops.convert_to_numpy(k.variable) for k in prunable_kernels(model)]
    zeros, size = sum(int(np.sum(k == 0)) for k in kernels), sum(k.size for k in kernels)
    # A model that has as many zeros as are wanted is not sparser, whatever the division rounds.
    return sparsity if zeros == round(size * sparsity) else zeros / size


def _as_code(loss: DistillationLoss) -> str:
    """Return the call that makes a loss, with the arguments that differ from its defaults."""
    arguments = [
        f"{name}={getattr(loss, name)!r}"
        for name, parameter in inspect.signature(type(loss)).parameters.items()
        if getattr(loss, name) != parameter.default or name == "temperature"
    ]
    return f"tfc.{type(loss).__name__}({', '.join(arguments)})"


def _check_length(steps_per_epoch: int, epochs: int, sparsity: float) -> None:
    """Check that a training is long enough for a gradual pruning."""
    for name, value in (("steps_per_epoch", steps_per_epoch), ("epochs", epochs)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ValueError(f"`{name}` must be a positive integer. Received: {name}={value!r}")
    needed = math.ceil(_UPDATES / _PRUNED_BY)
    if sparsity and epochs * steps_per_epoch < needed:
        raise ValueError(
            f"Weights are set to zero in {_UPDATES} updates over half of the training, so it "
            f"needs {needed} steps; the nearest that is long enough is "
            f"epochs={math.ceil(needed / steps_per_epoch)}. "
            f"Received: epochs={epochs}, steps_per_epoch={steps_per_epoch}"
        )


def _check_sparsity(recipe: Recipe) -> None:
    """Check that a model becomes sparser, not denser."""
    check_sparsity("Recipe", "sparsity", recipe.sparsity)
    if recipe.sparsity and recipe.initial_sparsity > recipe.sparsity:
        nearest = math.ceil(recipe.initial_sparsity * 1000) / 1000
        raise ValueError(
            f"Model {recipe.student.name!r} has more zeros already: the nearest is "
            f"sparsity={nearest}. Received: sparsity={recipe.sparsity}"
        )


def _check_bits(bits) -> None:
    """Check that weights of so many bits can be trained and run."""
    if bits is None or bits in _SCHEMES:
        return
    nearest = {2: 4, 3: 4, 5: 4, 6: 8, 7: 8}.get(bits, 8)
    raise ValueError(
        f"Every runtime has kernels for weights of {' or '.join(map(str, sorted(_SCHEMES)))} bits; "
        f"the nearest is bits={nearest}. Floats are bits=None, and "
        "`export_tflite(model, path, 'float16')` halves them after the training. "
        f"Received: bits={bits!r}"
    )
