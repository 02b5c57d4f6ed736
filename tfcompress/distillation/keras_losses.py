"""Loss objects of ``keras.distillation``, accepted like this package's own."""

import re

import keras

from tfcompress.backends import replicas
from tfcompress.compat.keras_graphs import output_spec
from tfcompress.distillation.losses import DistillationLoss, FeatureLoss, OutputLoss


def adapt(loss) -> DistillationLoss:
    """Return a loss of this package, wrapping one of Keras's."""
    if isinstance(loss, DistillationLoss):
        return loss
    if isinstance(loss, keras.distillation.FeatureDistillation) and (
        loss.student_layer_name or loss.teacher_layer_name
    ):
        return KerasFeatureLoss(loss)
    if isinstance(loss, keras.distillation.DistillationLoss):
        return KerasOutputLoss(loss)
    raise TypeError(
        "`losses` must be a distillation loss such as SoftLabels(), a list of losses and (loss, "
        "weight) pairs, or a dictionary from loss to weight. "
        f"Received: {loss!r} of type {type(loss).__name__}"
    )


@keras.saving.register_keras_serializable(package="tfcompress")
class KerasOutputLoss(OutputLoss):
    """A ``keras.distillation`` loss on the models' outputs."""

    compares_classes = False

    def __init__(self, loss):
        super().__init__()
        if keras.tree.is_nested(getattr(loss, "loss", None)):
            raise ValueError(
                f"{type(loss).__name__} with a structure of losses is not supported: list one loss "
                "per output instead, such as SoftLabels(output='name'). "
                f"Received: loss={loss.loss!r}"
            )
        self.loss = loss
        self.name = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", type(loss).__name__).lower()

    def values(self, teacher, student, step, from_logits):
        """Return Keras's loss for each example; logits losses get logits, others the outputs."""
        if isinstance(self.loss, keras.distillation.LogitsDistillation):
            return super().values(teacher, student, step, from_logits)
        float32 = (keras.ops.cast(x, "float32") for x in (teacher, student))
        return self.compare(*float32, step)

    def compare(self, teacher, student, step):
        """Return Keras's loss for each example."""
        return _per_example(_as_documented(self.loss), teacher, student)


@keras.saving.register_keras_serializable(package="tfcompress")
class KerasFeatureLoss(FeatureLoss):
    """A ``keras.distillation.FeatureDistillation`` with both layers named."""

    name = "feature_distillation"

    def __init__(self, loss):
        super().__init__(loss.student_layer_name or (), loss.teacher_layer_name or ())
        if not (self.student_layers and self.teacher_layers):
            raise ValueError(
                "FeatureDistillation needs the name of a layer of both models, or of neither. "
                f"Received: student_layer_name={loss.student_layer_name!r}, "
                f"teacher_layer_name={loss.teacher_layer_name!r}"
            )
        self.loss = loss

    def check(self, teacher_shapes, student_shapes):
        """Let Keras's own function broadcast, or reject, the shapes."""
        output_spec(
            lambda teacher, student: self.values([teacher], [student]),
            keras.KerasTensor(teacher_shapes[0]),
            keras.KerasTensor(student_shapes[0]),
        )

    def values(self, teacher, student):
        """Return Keras's loss for each example."""
        return _per_example(self.loss, teacher[0], student[0])


def _per_example(loss, teacher, student):
    """Compute a loss for each example separately, so that sample weights and masks apply.

    The mean of these values is the loss of the batch if that is a mean over examples, as for
    Keras's own classes.
    """
    count = replicas()

    def one(pair):
        # Keras's losses divide by the number of replicas, which the distiller does for all.
        return count * loss.compute_loss(pair[0][None], pair[1][None])

    return keras.ops.vectorized_map(one, (teacher, student))


def _as_documented(loss):
    """Return the loss that Keras documents.

    Keras 3.15 softens the logits only for an object of class KLDivergence. Its default, the string,
    becomes a function, and the divergence is taken of raw logits clipped to [0, 1].
    """
    is_logits = isinstance(loss, keras.distillation.LogitsDistillation)
    if is_logits and loss.loss is keras.losses.kl_divergence:
        return keras.distillation.LogitsDistillation(loss.temperature, keras.losses.KLDivergence())
    return loss
