"""What the losses compute: pure functions from two tensors to one value per example.

Every function takes float tensors whose first axis is the batch and returns values whose first axis
is the batch; averaging over examples, with their weights, is ``weighted_mean``'s alone.
"""

from keras import ops


def soft_label_divergence(teacher, student, temperature):
    """Kullback-Leibler divergence of temperature-softened class probabilities, times T squared.

    The factor keeps the size of the gradients when the temperature changes (Hinton, Vinyals and
    Dean, "Distilling the Knowledge in a Neural Network", 2015, section 2).

    Args:
        teacher: logits of shape (batch, ..., classes).
        student: logits of the same shape.
        temperature: a positive scalar.

    Returns:
        Values of shape (batch, ...).
    """
    log_teacher = ops.log_softmax(teacher / temperature)
    log_student = ops.log_softmax(student / temperature)
    divergence = ops.sum(ops.exp(log_teacher) * (log_teacher - log_student), axis=-1)
    return divergence * temperature**2


def soft_binary_divergence(teacher, student, temperature):
    """The same divergence for independent sigmoid units, averaged over the units.

    Args:
        teacher: logits of shape (batch, ..., units).
        student: logits of the same shape.
        temperature: a positive scalar.

    Returns:
        Values of shape (batch, ...).
    """
    teacher, student = teacher / temperature, student / temperature
    on = ops.sigmoid(teacher) * (ops.log_sigmoid(teacher) - ops.log_sigmoid(student))
    off = ops.sigmoid(-teacher) * (ops.log_sigmoid(-teacher) - ops.log_sigmoid(-student))
    return ops.mean(on + off, axis=-1) * temperature**2


def hard_label_crossentropy(teacher, student):
    """Cross-entropy of the student with the teacher's most probable class.

    Args:
        teacher: logits of shape (batch, ..., classes).
        student: logits of the same shape.

    Returns:
        Values of shape (batch, ...).
    """
    return ops.sparse_categorical_crossentropy(
        ops.argmax(teacher, axis=-1), student, from_logits=True
    )


def hard_binary_crossentropy(teacher, student):
    """Cross-entropy of sigmoid units with the teacher's decisions, averaged over the units.

    Args:
        teacher: logits of shape (batch, ..., units); a unit is on above 0.
        student: logits of the same shape.

    Returns:
        Values of shape (batch, ...).
    """
    decisions = ops.cast(teacher > 0, student.dtype)
    return ops.mean(ops.binary_crossentropy(decisions, student, from_logits=True), axis=-1)


def mean_squared_difference(teacher, student):
    """Mean squared difference over the last axis.

    Args:
        teacher: a tensor of shape (batch, ..., channels).
        student: a tensor of the same shape.

    Returns:
        Values of shape (batch, ...).
    """
    return ops.mean(ops.square(teacher - student), axis=-1)


def logits_of(probabilities, activation):
    """Invert a head: the logits whose softmax or sigmoid gives these probabilities.

    A softmax forgets a constant per example; of all logits that it maps to the same
    probabilities these are the log-probabilities.

    Args:
        probabilities: values in [0, 1]; they are kept 1e-7 away from the ends where a logarithm
            needs it.
        activation: "softmax" or "sigmoid".

    Returns:
        Logits of the same shape.
    """
    tiny = 1e-7
    log_on = ops.log(ops.maximum(probabilities, tiny))
    if activation == "softmax":
        return log_on
    return log_on - ops.log(ops.maximum(1.0 - probabilities, tiny))


def weighted_mean(values, sample_weight=None, mask=None):
    """Average values over examples as ``keras.losses`` does by default.

    Without a mask the divisor is the number of values, whatever the weights are; with one it is the
    number of values that the mask keeps.

    Args:
        values: shape (batch, ...).
        sample_weight: shape (batch,) or (batch, ...); axes that the values do not have are averaged
            over, missing ones are repeated.
        mask: booleans, shaped as ``sample_weight`` may be.

    Returns:
        A scalar.
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
    weights = ops.cast(weights, values.dtype)
    extra = len(weights.shape) - len(values.shape)
    if extra > 0:
        return ops.mean(weights, axis=tuple(range(-extra, 0)))
    return ops.reshape(weights, (*ops.shape(weights), *[1] * -extra))
