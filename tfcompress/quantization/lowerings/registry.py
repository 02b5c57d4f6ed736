"""Which form a layer has."""

from keras import layers as kl

from tfcompress.quantization.lowerings import (
    activations,
    attention,
    cells,
    convolution,
    embedding,
    normalization,
    recurrent,
)

FORMS = {
    **activations.FORMS,
    **attention.FORMS,
    **cells.FORMS,
    **convolution.FORMS,
    **embedding.FORMS,
    **normalization.FORMS,
    **recurrent.FORMS,
}


def observable_call(layer, call, tap):
    """Return the form of a layer's ``call`` for integers; ``call`` itself by default.

    A subclass of a listed layer is left alone: it may compute something else. A subclass of RNN
    still calls its cell once a step.
    """
    form = FORMS.get(type(layer))
    if form is None and isinstance(layer, kl.RNN):
        form = recurrent.unrolled
    if form is None:
        cells.require_no_dropout(layer)
    else:
        call = form(layer, call, tap)
    return activations.integer_activation(layer, call)
