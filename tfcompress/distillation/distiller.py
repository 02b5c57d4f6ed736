"""The distiller: a model that trains its student with a teacher inside Keras's own ``fit``."""

import contextlib
import contextvars
import dataclasses
from typing import Any, Self

import keras

from tfcompress.backends import checked_finite, outside_step, replicas, without_gradients
from tfcompress.compat.keras_steps import iterations_in
from tfcompress.compat.keras_training import compiled_loss, has_compiled_loss
from tfcompress.distillation.cache import TeacherCache
from tfcompress.distillation.comparison import (
    FeatureComparison,
    OutputComparison,
    compare_features,
    compare_outputs,
    dry_run,
    symbolic_inputs,
)
from tfcompress.distillation.examples import Taught
from tfcompress.distillation.losses import FeatureLoss
from tfcompress.distillation.schedules import (
    Schedule,
    checked_schedule,
    schedule_config,
    schedule_from_config,
    value_at,
)
from tfcompress.distillation.signals import (
    Signals,
    captured_outputs,
    detect_heads,
    find_layer,
    loss_of_output,
    output_names,
    symbolic,
)
from tfcompress.distillation.teachers import Teacher, as_teacher, frozen_copy
from tfcompress.distillation.terms import Trackers, as_terms, pair_from_config
from tfcompress.keras_graph.wrapper import ModelWrapper, take_model

_NOT_SAVED = object()  # in the place of a teacher, in a distiller that is loaded


@dataclasses.dataclass
class _Step:
    """One training step: the teacher's signals, the count, the outputs of the student's layers."""

    teacher: Signals
    iterations: Any
    student_layers: dict = dataclasses.field(default_factory=dict)


# The replicas of a distribution strategy trace in their own threads, each with its own step.
_STEP: contextvars.ContextVar[_Step | None] = contextvars.ContextVar("step", default=None)


@keras.saving.register_keras_serializable(package="tfcompress")
class Distiller(ModelWrapper):
    """Train a student on its labels and on the outputs of a teacher.

    The loss of a training step is

        task_weight * (loss given to compile) + sum of weight * distillation loss + the student's
        regularization losses.

    The student runs once per step. The teacher runs in inference mode outside the gradient tape; it
    is neither trained nor changed, and its weights are neither part of the distiller nor saved with
    it. ``evaluate`` and ``predict`` use the student alone. Sample weights, class weights and masks
    apply to every term. The logs of ``fit`` show each term under its own name.

    Args:
        student: the built Keras model to train: plain, pruned by a callback, or ``quantize_aware``.
            It is the caller's own object: export or save it after training.
        teacher: a built Keras model; "self" for a frozen copy of the student's present float model;
            a ``TeacherCache``; a tf_keras model; the path of a SavedModel folder, a .tflite or a
            .keras file; a callable from a batch to outputs; or a list of teachers, or of (teacher,
            weight) pairs, whose outputs are averaged. It is not saved: a loaded distiller gets one
            by ``set_teacher``.
        losses: a loss, a list of losses and (loss, weight) pairs, or a dictionary from loss to
            weight; ``SoftLabels()`` by default. A weight is a number or a schedule: a callable from
            the step, such as a ``keras.optimizers.schedules`` object.
        task_weight: the weight of the loss given to ``compile``; a number or a schedule.
        from_logits: whether the outputs of student and teacher are logits (True) or probabilities
            (False). By default the last layers determine it; if they are unknown, logits are
            assumed.
        name: name of the distiller; the student's name by default.

    Raises:
        TypeError: ``student``, ``teacher`` or a loss is of an unsupported kind, or a weight is
            neither a number nor a callable.
        ValueError: the student or the teacher is not built; the teacher has NaN weights; student
            and teacher have different outputs; a layer is missing; or a weight is negative.

    Example:
    >>> distiller = tfc.Distiller(student, teacher, losses=[SoftLabels(temperature=4.0)])
    >>> distiller.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    >>> distiller.fit(x, y, epochs=10)
    >>> distiller.student.save("student.keras")
    """

    def __init__(
        self,
        student: keras.Model,
        teacher: Any,
        losses: Any = None,
        task_weight: Schedule = 1.0,
        *,
        from_logits: bool | None = None,
        name: str | None = None,
        **kwargs: Any,
    ):
        if not isinstance(student, keras.Model):
            raise TypeError(
                f"`student` must be a Keras 3 model. Received: student={student!r} of type "
                f"{type(student).__name__}"
            )
        super().__init__(student, name=name, **kwargs)
        self.terms = as_terms(losses)
        self.task_weight = checked_schedule("task_weight", task_weight)
        self.from_logits = from_logits
        self.projections: dict[str, keras.layers.Layer] = {}
        self._comparisons: dict[str, OutputComparison | FeatureComparison] = {}
        self._trackers = Trackers(["task", *(term.name for term in self.terms)])
        self._teacher = None
        for layer in self._feature_layers("student_layers"):
            find_layer(self.model, layer)
        if teacher is not _NOT_SAVED:
            self.set_teacher(teacher)

    @property
    def has_all_weights(self) -> bool:
        """Whether the projections are made: of undeclared shapes, they are in the first step."""
        return len(self._comparisons) == len(self.terms)

    @property
    def student(self) -> keras.Model:
        """The caller's own model, which is trained."""
        return self.model

    @property
    def teacher(self) -> Teacher | None:
        """The teacher; ``None`` after loading, until ``set_teacher``."""
        return self._teacher

    def set_teacher(self, teacher: Any) -> None:
        """Set or replace the teacher.

        A method, not an attribute: Keras would make the teacher's weights the distiller's.

        Args:
            teacher: any teacher that the constructor accepts.

        Raises:
            TypeError: ``teacher`` is of an unsupported kind.
            ValueError: see the constructor.
        """
        if isinstance(teacher, str) and teacher == "self":
            teacher = frozen_copy(self.model)
        self._teacher = as_teacher(teacher)
        self._comparisons = {}
        self.train_function = None  # a step traced before calls the former teacher
        self.supports_jit = self._teacher.supports_jit
        self._teacher.check_layers(self._feature_layers("teacher_layers"))
        inputs = symbolic_inputs(self.model)
        if inputs is not None:
            self._prepare(inputs)

    def call(self, inputs: Any, training: bool | None = None, **kwargs: Any) -> Any:
        """Run the student; during a training step, capture the outputs of its layers."""
        if isinstance(inputs, Taught):
            inputs = inputs.inputs
        step = _STEP.get()
        if step is None:
            return self.model(inputs, training=training, **kwargs)
        with captured_outputs(self.model, self._feature_layers("student_layers")) as captured:
            outputs = self.model(inputs, training=training, **kwargs)
        step.student_layers = captured
        return outputs

    def train_step(self, *arguments: Any) -> Any:
        """Run the teacher, then Keras's own training step with its signals.

        ``arguments`` are the data; under JAX, the state of the step comes first.
        """
        *state, data = arguments
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        if self._teacher is None:
            raise ValueError(
                f"Distiller {self.name!r} has no teacher: teachers are not saved. Set one before "
                "`fit`: `distiller.set_teacher(teacher)`. Received: teacher=None"
            )
        with without_gradients():
            x, signals = self._run_teacher(x)
        with self._training_step(signals, iterations_in(self, state)):
            if not self._comparisons:
                self._prepare(keras.tree.map_structure(symbolic, x))
            self._check_task()
            return super().train_step(*state, (x, y, sample_weight))

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Any:
        """Compute the student's own loss; during a training step, the weighted sum of all terms."""
        current = _STEP.get()
        if current is None:
            return super().compute_loss(x, y, y_pred, sample_weight, training)
        step = current.iterations
        count = replicas()
        total = 0.0
        if has_compiled_loss(self):
            task = compiled_loss(self, y, y_pred, sample_weight)
            self._trackers.update("task", task * count, y_pred)
            total += value_at(self.task_weight, step) * task
        student = Signals(y_pred, current.student_layers)
        for term in self.terms:
            comparison = self._comparisons[term.name]
            value = comparison.value(current.teacher, student, sample_weight, step)
            self._trackers.update(term.name, value, y_pred)
            # Keras averages its losses over the replicas by the same division.
            total += value_at(term.weight, step) * value / count
        return total + sum(keras.ops.sum(loss) for loss in self.losses)

    def compute_metrics(
        self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None
    ) -> dict[str, Any]:
        """Compute the compiled metrics; during a training step, also the mean of each term."""
        results = super().compute_metrics(x, y, y_pred, sample_weight)
        return results if _STEP.get() is None else {**results, **self._trackers.results()}

    @property
    def metrics_variables(self) -> list[keras.Variable]:
        """The variables of the metrics and of the means of the terms, which a step changes."""
        return [*super().metrics_variables, *self._trackers.variables]

    def reset_metrics(self) -> None:
        """Reset the metrics and the means of the terms."""
        super().reset_metrics()
        self._trackers.reset()

    def get_config(self) -> dict[str, Any]:
        """Return the constructor arguments, without the teacher."""
        return {
            **super().get_config(),
            "losses": [term.get_config() for term in self.terms],
            "task_weight": schedule_config(self.task_weight),
            "from_logits": self.from_logits,
            "projections": {
                name: keras.saving.serialize_keras_object(layer)
                for name, layer in self.projections.items()
            },
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """Create a distiller from its config; call ``set_teacher`` before training."""
        config = dict(config)
        student = take_model(config)
        projections = config.pop("projections")
        config["losses"] = [pair_from_config(pair) for pair in config["losses"]]
        config["task_weight"] = schedule_from_config(config["task_weight"])
        distiller = cls(student, _NOT_SAVED, **config)
        for name, layer in projections.items():
            distiller.projections[name] = keras.saving.deserialize_keras_object(layer)
        return distiller

    @contextlib.contextmanager
    def _training_step(self, teacher: Signals, iterations: Any):
        """Make the teacher's signals available to the calls of a training step."""
        token = _STEP.set(_Step(teacher, iterations))
        try:
            yield
        finally:
            _STEP.reset(token)

    def _feature_layers(self, attribute):
        """Return the layers of all feature losses, each once."""
        feature_losses = [term.loss for term in self.terms if isinstance(term.loss, FeatureLoss)]
        return list(
            dict.fromkeys(name for loss in feature_losses for name in getattr(loss, attribute))
        )

    def _run_teacher(self, x):
        """Return the student's inputs and the teacher's signals for them."""
        if isinstance(x, Taught):
            if not isinstance(self._teacher, TeacherCache):
                raise ValueError(
                    "The data carry cached teacher outputs, but the distiller's teacher is not a "
                    "cache. Make the cache its teacher: `Distiller(student, cache)`. "
                    f"Received: teacher {self._teacher.name!r}"
                )
            return x.inputs, Signals(x.outputs, x.layers)
        signals = self._teacher.signals(x, self._feature_layers("teacher_layers"))
        message = f"Teacher {self._teacher.name!r} returned NaN or infinite values"
        outputs, layers = keras.tree.map_structure(
            lambda tensor: checked_finite(tensor, message),
            (signals.outputs, signals.layers),
        )
        return x, Signals(outputs, layers)

    def _prepare(self, inputs):
        """Prepare every comparison by a dry run, which reveals mismatches before any step."""
        layers = [self._feature_layers(f"{role}_layers") for role in ("teacher", "student")]
        teacher, student = dry_run(self._teacher, self.model, inputs, layers)
        heads = (detect_heads(self.model), self._teacher.heads)
        names = output_names(self.model, student.outputs)
        self._names, self._heads = names, heads[0]
        for term in self.terms:
            if isinstance(term.loss, FeatureLoss):
                known = self.projections.get(term.name)
                with outside_step():
                    comparison = compare_features(term.loss, teacher, student, known)
                if comparison.projection is not None:
                    self.projections[term.name] = comparison.projection
            else:
                comparison = compare_outputs(
                    term.loss,
                    teacher,
                    student,
                    names=names,
                    heads=heads,
                    from_logits=self.from_logits,
                )
            self._comparisons[term.name] = comparison

    def _check_task(self):
        """Raise ValueError for a softmax over units that the student's loss treats as binary."""
        for term in self.terms:
            comparison = self._comparisons.get(term.name)
            if isinstance(comparison, OutputComparison):
                for index, _, _ in comparison.outputs:
                    loss = loss_of_output(self.loss, index, self._names)
                    term.loss.check_task(self._names[index], loss, self._heads[index : index + 1])
