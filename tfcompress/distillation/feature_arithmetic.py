"""What the losses on features compute: pure functions on float32 tensors, the batch first."""

from keras import ops


def attention_map(feature, power=2):
    """Where a feature is active: the mean of |feature| ** power over channels, of length one.

    Args:
        feature: shape (batch, ..., channels), with at least one axis of positions between.
        power: the exponent p of the paper.

    Returns:
        Shape (batch, positions); each row has a Euclidean norm of 1, or is all 0.
    """
    activity = ops.mean(ops.power(ops.abs(feature), power), axis=-1)
    rows = ops.reshape(activity, (ops.shape(activity)[0], -1))
    return ops.divide_no_nan(rows, ops.expand_dims(_norm(rows), -1))


def attention_difference(teacher, student, power=2):
    """Mean squared difference of the attention maps, shape (batch,)."""
    difference = attention_map(teacher, power) - attention_map(student, power)
    return ops.mean(ops.square(difference), axis=-1)


def distance_difference(teacher, student):
    """How differently the examples of a batch lie apart, by the Huber loss of relative distances.

    A relative distance is a Euclidean distance over the mean of all distances in the batch.

    Args:
        teacher: shape (batch, ...); everything but the batch is one embedding.
        student: shape (batch, ...); its embedding may have another size.

    Returns:
        Shape (batch,): each example's mean over the other examples.
    """
    difference = _relative_distances(teacher) - _relative_distances(student)
    return ops.sum(_huber(difference), axis=-1) / _at_least_one(ops.shape(difference)[0] - 1)


def angle_difference(teacher, student):
    """How differently triplets of examples are arranged, by the Huber loss of their cosines.

    Args:
        teacher: shape (batch, ...); everything but the batch is one embedding.
        student: shape (batch, ...); its embedding may have another size.

    Returns:
        Shape (batch,): for each example the mean, over pairs of other examples, of the difference
        of the angle that the pair makes seen from it.
    """
    difference = _cosines(teacher) - _cosines(student)
    batch = ops.shape(difference)[0]
    return ops.sum(_huber(difference), axis=(1, 2)) / _at_least_one((batch - 1) * (batch - 2))


def flow_matrix(first, second):
    """How features flow from one layer to a later one: their inner products over positions.

    Args:
        first: shape (batch, ..., m).
        second: shape (batch, ..., n), with as many positions as ``first`` along each axis, or
            fewer by a whole factor; ``first`` is then max-pooled to its size.

    Returns:
        Shape (batch, m, n), averaged over positions.
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
    """Return by what factor each axis of positions shrinks; 1 where a size is not known.

    Raises:
        ValueError: a factor is not whole.
    """
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
    """Mean squared difference of the flow matrices of two (first, second) pairs, shape (batch,)."""
    difference = flow_matrix(*teacher) - flow_matrix(*student)
    return ops.mean(ops.square(difference), axis=(1, 2))


def _offsets(embeddings):
    """Vector from example v to example i, at [v, i]."""
    flat = ops.reshape(embeddings, (ops.shape(embeddings)[0], -1))
    return ops.expand_dims(flat, 0) - ops.expand_dims(flat, 1)


def _relative_distances(embeddings):
    distances = _norm(_offsets(embeddings))
    batch = ops.shape(distances)[0]
    mean = ops.sum(distances) / _at_least_one(batch * (batch - 1))
    return ops.divide_no_nan(distances, mean)


def _cosines(embeddings):
    """Cosine of the angle that examples i and k make seen from v, at [v, i, k]."""
    offsets = _offsets(embeddings)
    directions = ops.divide_no_nan(offsets, ops.expand_dims(_norm(offsets), -1))
    return ops.einsum("vid,vkd->vik", directions, directions)


def _norm(vectors):
    """Euclidean norm over the last axis, with a gradient of zero (not NaN) at zero."""
    squares = ops.sum(ops.square(vectors), axis=-1)
    positive = squares > 0
    return ops.where(positive, ops.sqrt(ops.where(positive, squares, 1.0)), 0.0)


def _huber(difference):
    size = ops.abs(difference)
    return ops.where(size <= 1.0, 0.5 * ops.square(difference), size - 0.5)


def _at_least_one(count):
    return ops.cast(ops.maximum(count, 1), "float32")
