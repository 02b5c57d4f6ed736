"""Losses on what layers compute between input and output.

Layers are named by the user's names or paths. The models are not rebuilt: the distiller listens to
the layers while the models run, so nested and subclassed models serve as well. All layouts are
channels-last.
"""

import keras

from tfcompress.distillation import arithmetic, feature_arithmetic
from tfcompress.distillation.base import FeatureLoss
from tfcompress.distillation.schedules import checked_schedule


@keras.saving.register_keras_serializable(package="tfcompress")
class Features(FeatureLoss):
    """Mean squared difference of two features, the student's through a projection where needed.

    Where the two differ in their last axis, a learnt Dense layer on that axis (a 1x1 convolution,
    on images) brings the student's feature to the teacher's width. The projection is a weight of
    the distiller, trained and saved with it; the student does not keep it. Reference: Romero et
    al., "FitNets: Hints for Thin Deep Nets", 2015 (https://arxiv.org/abs/1412.6550).

    Args:
        student_layer: the name or path of the student's layer.
        teacher_layer: the name or path of the teacher's layer.
        projection: a Keras layer of your own in place of the Dense, needed where more than the
            last axis differs (a strided convolution, say). It is copied, not used itself.
        seed: an integer for the initial values of the Dense.

    Raises:
        TypeError: ``projection`` is no Keras layer.

    Example:
    >>> tfc.Distiller(student, teacher, losses=[SoftLabels(), (Features("conv3", "block5"), 0.1)])
    """

    name = "features"

    def __init__(self, student_layer, teacher_layer, projection=None, seed=None):
        super().__init__(student_layer, teacher_layer)
        if projection is not None and not isinstance(projection, keras.Layer):
            raise TypeError(
                "`projection` must be a Keras layer, or None for a Dense where the widths differ. "
                f"Received: projection={projection!r} of type {type(projection).__name__}"
            )
        self.projection = projection
        self.seed = seed

    def new_projection(self, teacher_shape, student_shape):
        """Return a copy of the user's projection, or a Dense where the widths differ."""
        if self.projection is not None:
            return type(self.projection).from_config(self.projection.get_config())
        if teacher_shape[-1] == student_shape[-1]:
            return None
        initializer = keras.initializers.GlorotUniform(seed=self.seed)
        return keras.layers.Dense(teacher_shape[-1], kernel_initializer=initializer)

    def check(self, teacher_shapes, student_shapes):
        """Refuse features whose shapes differ."""
        if not _compatible(teacher_shapes[0], student_shapes[0]):
            raise ValueError(
                f"{_layers(self)} have shapes that a Dense on the last axis cannot match. Choose "
                "layers with equal positions, or give Features a `projection` layer that makes "
                f"them equal. Received: {_received(self, student_shapes, teacher_shapes)}"
            )

    def values(self, teacher, student):
        """Compute the mean squared difference over the last axis."""
        return arithmetic.mean_squared_difference(teacher[0], student[0])

    def get_config(self):
        """Return the constructor's arguments."""
        projection = self.projection and keras.saving.serialize_keras_object(self.projection)
        return {**super().get_config(), "projection": projection, "seed": self.seed}

    @classmethod
    def from_config(cls, config):
        """Rebuild the loss from ``get_config``."""
        projection = config["projection"]
        if isinstance(projection, dict):
            projection = keras.saving.deserialize_keras_object(projection)
        return cls(**{**config, "projection": projection})


@keras.saving.register_keras_serializable(package="tfcompress")
class AttentionTransfer(FeatureLoss):
    """Difference of where two features are active, whatever their channels are.

    The mean of the feature's magnitudes, to a power, over channels, as a map of length one; the
    loss is the mean squared difference of the maps. Reference: Zagoruyko and Komodakis, "Paying
    More Attention to Attention", 2017 (https://arxiv.org/abs/1612.03928).

    Args:
        student_layer: the name or path of the student's layer, of shape (batch, ..., channels).
        teacher_layer: the name or path of the teacher's layer, with as many positions.
        power: the exponent, above 0.

    Raises:
        TypeError: ``power`` is no number.
        ValueError: ``power`` is not above 0.

    Example:
    >>> tfc.Distiller(student, teacher, losses={AttentionTransfer("conv3", "block5"): 100.0})
    """

    name = "attention_transfer"

    def __init__(self, student_layer, teacher_layer, power=2):
        super().__init__(student_layer, teacher_layer)
        checked_schedule("power", power, above=True)
        self.power = power

    def check(self, teacher_shapes, student_shapes):
        """Refuse features without positions, or with different ones."""
        teacher, student = teacher_shapes[0], student_shapes[0]
        if len(student) < 3 or not _compatible(teacher[:-1], student[:-1]):
            raise ValueError(
                f"{_layers(self)} must have equal positions, at least one axis of them between "
                "batch and channels. Choose layers of equal spatial size. "
                f"Received: {_received(self, student_shapes, teacher_shapes)}"
            )

    def values(self, teacher, student):
        """Compute the mean squared difference of the attention maps."""
        return feature_arithmetic.attention_difference(teacher[0], student[0], self.power)

    def get_config(self):
        """Return the constructor's arguments."""
        return {**super().get_config(), "power": self.power}


@keras.saving.register_keras_serializable(package="tfcompress")
class Relational(FeatureLoss):
    """Difference of how the examples of a batch lie to each other: distances and angles.

    The features may have any shapes. The angles take memory of the batch size cubed. Reference:
    Park, Kim, Lu and Cho, "Relational Knowledge Distillation", 2019
    (https://arxiv.org/abs/1904.05068); the weights' default ratio is the paper's.

    Args:
        student_layer: the name or path of the student's layer; the output layer is one too.
        teacher_layer: the name or path of the teacher's layer.
        distance_weight: weight of the distances between two examples, at least 0.
        angle_weight: weight of the angles between three examples, at least 0.

    Raises:
        TypeError: a weight is no number.
        ValueError: a weight is below 0.

    Example:
    >>> tfc.Distiller(student, teacher, losses=Relational("embedding", "embedding"))
    """

    name = "relational"

    def __init__(self, student_layer, teacher_layer, distance_weight=1.0, angle_weight=2.0):
        super().__init__(student_layer, teacher_layer)
        checked_schedule("distance_weight", distance_weight)
        checked_schedule("angle_weight", angle_weight)
        self.distance_weight = distance_weight
        self.angle_weight = angle_weight

    def check(self, teacher_shapes, student_shapes):
        """Accept every shape: only relations between examples are compared."""

    def values(self, teacher, student):
        """Compute the weighted sum of the two differences."""
        distances = feature_arithmetic.distance_difference(teacher[0], student[0])
        angles = feature_arithmetic.angle_difference(teacher[0], student[0])
        return self.distance_weight * distances + self.angle_weight * angles

    def get_config(self):
        """Return the constructor's arguments."""
        return {
            **super().get_config(),
            "distance_weight": self.distance_weight,
            "angle_weight": self.angle_weight,
        }


@keras.saving.register_keras_serializable(package="tfcompress")
class FSP(FeatureLoss):
    """Difference of the flow of solution procedure: how features turn into later features.

    The inner products of two layers' channels over positions form a matrix; the loss is the mean
    squared difference of the two models' matrices. Reference: Yim, Joo, Bae and Kim, "A Gift from
    Knowledge Distillation", CVPR 2017.

    Args:
        student_layer: the names or paths of two layers, the earlier first. Where the later one has
            fewer positions, by a whole factor, the earlier one is max-pooled.
        teacher_layer: the names or paths of two layers with the same numbers of channels.

    Raises:
        ValueError: not two layers each.

    Example:
    >>> tfc.Distiller(student, teacher, losses=FSP(("conv1", "conv2"), ("conv1", "conv4")))
    """

    name = "fsp"

    def __init__(self, student_layer, teacher_layer):
        super().__init__(student_layer, teacher_layer)
        if len(self.student_layers) != 2 or len(self.teacher_layers) != 2:
            raise ValueError(
                "FSP compares the way from one layer to a later one: give two layers of each "
                f"model. Received: student_layer={student_layer!r}, teacher_layer={teacher_layer!r}"
            )

    def check(self, teacher_shapes, student_shapes):
        """Refuse layers whose channels differ, or whose positions do not shrink evenly."""
        received = f"Received: {_received(self, student_shapes, teacher_shapes)}"
        if [shape[-1] for shape in teacher_shapes] != [shape[-1] for shape in student_shapes]:
            raise ValueError(
                f"{_layers(self)} must have equal numbers of channels, for their flow matrices to "
                f"be of equal shape. Choose other layers. {received}"
            )
        for first, second in (teacher_shapes, student_shapes):
            if len(first) != len(second) or len(first) < 3:
                raise ValueError(
                    f"{_layers(self)} must be features of equal rank with positions between batch "
                    f"and channels. Choose other layers. {received}"
                )
            try:
                feature_arithmetic.pooling_factors(first, second)
            except ValueError as error:
                raise ValueError(f"{_layers(self)}: {error}. {received}") from error

    def values(self, teacher, student):
        """Compute the mean squared difference of the flow matrices."""
        return feature_arithmetic.flow_difference(teacher, student)


def _compatible(a, b):
    return len(a) == len(b) and all(x == y or None in (x, y) for x, y in zip(a, b, strict=True))


def _layers(loss):
    return (
        f"Student layer {' and '.join(loss.student_layers)!r} and teacher layer "
        f"{' and '.join(loss.teacher_layers)!r}"
    )


def _received(loss, student_shapes, teacher_shapes):
    return (
        f"{type(loss).__name__} with student shapes {student_shapes}, teacher shapes "
        f"{teacher_shapes}"
    )
