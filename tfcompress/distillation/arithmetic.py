"""The arithmetic of distillation losses: from two tensors to one value per example.

All tensors are float with the batch as the first axis. Logits have the shape (batch, ..., classes),
features (batch, ..., channels); values of losses have the shape (batch, ...).
"""

from keras import ops


def soft_label_divergence(teacher, student, temperature):
    """Return the Kullback-Leibler divergence of softened class probabilities, times T squared.

    The factor keeps the magnitude of the gradients when the temperature T changes (Hinton, Vinyals
    and Dean, "Distilling the Knowledge in a Neural Network", 2015, section 2).
    """
    log_teacher = ops.log_softmax(teacher / temperature)
    log_student = ops.log_softmax(student / temperature)
    divergence = ops.sum(ops.exp(log_teacher) * (log_teacher - log_student), axis=-1)
    return divergence * temperature**2


def soft_binary_divergence(teacher, student, temperature):
    """Return the same divergence for independent sigmoid units, averaged over the units."""
    teacher, student = teacher / temperature, student / temperature
    on = ops.sigmoid(teacher) * (ops.log_sigmoid(teacher) - ops.log_sigmoid(student))
    off = ops.sigmoid(-teacher) * (ops.log_sigmoid(-teacher) - ops.log_sigmoid(-student))
    return ops.mean(on + off, axis=-1) * temperature**2


def hard_label_crossentropy(teacher, student):
    """Return the cross-entropy of the student with the teacher's most probable class."""
    return ops.sparse_categorical_crossentropy(
        ops.argmax(teacher, axis=-1), student, from_logits=True
    )


def hard_binary_crossentropy(teacher, student):
    """Return the cross-entropy of sigmoid units with the teacher's decisions (logits above 0)."""
    decisions = ops.cast(teacher > 0, student.dtype)
    return ops.mean(ops.binary_crossentropy(decisions, student, from_logits=True), axis=-1)


def mean_squared_difference(teacher, student):
    """Return the mean squared difference over the last axis."""
    return ops.mean(ops.square(teacher - student), axis=-1)


def logits_of(probabilities, activation):
    """Return logits whose softmax or sigmoid gives these probabilities.

    For a softmax they are the log-probabilities: it forgets a constant per example.
    """
    tiny = 1e-7
    log_on = ops.log(ops.maximum(probabilities, tiny))
    if activation == "softmax":
        return log_on
    return log_on - ops.log(ops.maximum(1.0 - probabilities, tiny))


def weighted_mean(values, sample_weight=None, mask=None):
    """Average values over examples as ``keras.losses`` does by default.

    The divisor is the number of values, whatever their weights; with a mask, of the values that it
    keeps. Axes of weights and mask that the values lack are averaged, missing ones are repeated.
    """
    if mask is None:
        if sample_weight is not None:
            values = values * _shaped_as(sample_weight, values)
        return ops.mean(values)
    kept = ops.broadcast_to(_shaped_as(mask, values), ops.shape(values))
    weights = kept if sample_weight is None else kept * _shaped_as(sample_weight, values)
    # A padded position may hold anything, NaN too: it is replaced, not multiplied by zero.
    values = ops.where(kept > 0, values, 0.0)
    return ops.divide_no_nan(ops.sum(values * weights), ops.sum(kept))


def _shaped_as(weights, values):
    """Return weights that broadcast to the values."""
    weights = ops.cast(weights, values.dtype)
    extra = len(weights.shape) - len(values.shape)
    if extra > 0:
        return ops.mean(weights, axis=tuple(range(-extra, 0)))
    return ops.reshape(weights, (*ops.shape(weights), *[1] * -extra))


def attention_map(feature, power=2):
    """Return the mean of ``|feature| ** power`` over channels as vectors (batch, positions).

    Each has a Euclidean norm of 1, or is all 0.
    """
    activity = ops.mean(ops.power(ops.abs(feature), power), axis=-1)
    rows = ops.reshape(activity, (ops.shape(activity)[0], -1))
    return ops.divide_no_nan(rows, ops.expand_dims(_norm(rows), -1))


def attention_difference(teacher, student, power=2):
    """Return the mean squared difference of the attention maps, shape (batch,)."""
    difference = attention_map(teacher, power) - attention_map(student, power)
    return ops.mean(ops.square(difference), axis=-1)


def distance_difference(teacher, student):
    """Return the Huber loss of the relative distances between examples, shape (batch,).

    A relative distance is a Euclidean distance divided by the mean distance in the batch. The value
    of an example is the mean over the other examples. Embeddings may differ in size.
    """
    difference = _relative_distances(teacher) - _relative_distances(student)
    return ops.sum(_huber(difference), axis=-1) / _at_least_one(ops.shape(difference)[0] - 1)


def angle_difference(teacher, student):
    """Return the Huber loss of the angles between examples, shape (batch,).

    The value of an example is the mean, over pairs of other examples, of the difference of the
    cosines of the angle at that example. Embeddings may differ in size.
    """
    difference = _cosines(teacher) - _cosines(student)
    batch = ops.shape(difference)[0]
    return ops.sum(_huber(difference), axis=(1, 2)) / _at_least_one((batch - 1) * (batch - 2))


def flow_matrix(first, second):
    """Return the mean products (batch, m, n) over positions of features of m and n channels.

    If ``second`` has fewer positions, by a whole factor along each axis, ``first`` is max-pooled.
    """
    factors = pooling_factors(first.shape, second.shape)
    if any(factor > 1 for factor in factors):
        first = ops.max_pool(first, factors, strides=factors, data_format="channels_last")
    first, second = (
        ops.reshape(feature, (ops.shape(feature)[0], -1, feature.shape[-1]))
        for feature in (first, second)
    )
    products = ops.einsum("bpm,bpn->bmn", first, second)
    return products / ops.cast(ops.shape(first)[1], products.dtype)


def pooling_factors(first_shape, second_shape) -> tuple[int, ...]:
    """Return the factor by which each axis of positions shrinks; 1 if a size is unknown."""
    factors = []
    for first, second in zip(first_shape[1:-1], second_shape[1:-1], strict=True):
        if None in (first, second):
            factors.append(1)
        elif first % second == 0:
            factors.append(first // second)
        else:
            raise ValueError(f"{first} positions do not shrink to {second} by a whole factor")
    return tuple(factors)


def flow_difference(teacher, student):
    """Return the mean squared difference of the flow matrices of two pairs, shape (batch,)."""
    difference = flow_matrix(*teacher) - flow_matrix(*student)
    return ops.mean(ops.square(difference), axis=(1, 2))


def _offsets(embeddings):
    """Return the vector from example v to example i, at [v, i]."""
    flat = ops.reshape(embeddings, (ops.shape(embeddings)[0], -1))
    return ops.expand_dims(flat, 0) - ops.expand_dims(flat, 1)


def _relative_distances(embeddings):
    """Return the distances between examples, divided by their mean."""
    distances = _norm(_offsets(embeddings))
    batch = ops.shape(distances)[0]
    mean = ops.sum(distances) / _at_least_one(batch * (batch - 1))
    return ops.divide_no_nan(distances, mean)


def _cosines(embeddings):
    """Return the cosine of the angle at v between examples i and k, at [v, i, k]."""
    offsets = _offsets(embeddings)
    directions = ops.divide_no_nan(offsets, ops.expand_dims(_norm(offsets), -1))
    return ops.einsum("vid,vkd->vik", directions, directions)


def _norm(vectors):
    """Return the Euclidean norm over the last axis, with a gradient of zero (not NaN) at zero."""
    squares = ops.sum(ops.square(vectors), axis=-1)
    positive = squares > 0
    return ops.where(positive, ops.sqrt(ops.where(positive, squares, 1.0)), 0.0)


def _huber(difference):
    """Return the Huber loss with a threshold of 1."""
    size = ops.abs(difference)
    return ops.where(size <= 1.0, 0.5 * ops.square(difference), size - 0.5)


def _at_least_one(count):
    """Return a divisor as float32."""
    return ops.cast(ops.maximum(count, 1), "float32")
