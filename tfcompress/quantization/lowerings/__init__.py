"""What some layers compute, written so that integer kernels can follow it.

On TensorFlow, tensors inside a layer are seen without its help
(``tfcompress.keras_graph.inner_tensors``), so most layers, the user's own too, compute as they are.
A layer listed here has a form of its own: one with operations for which devices have integer
kernels, without a loop, or faster. A form computes the same values; it may offer a tensor to
``tap(role, tensor)``, which returns what to go on with. On other backends a form is also what hands
out tensors inside a call, as ``in_steps`` does.
"""

from keras import layers as kl

from tfcompress.backends import runs_on
from tfcompress.quantization.lowerings import (
    activations,
    attention,
    channel_normalization,
    in_steps,
    normalization,
)

FORMS = {
    **activations.FORMS,
    **attention.FORMS,
    **channel_normalization.FORMS,
    **normalization.FORMS,
}
if runs_on("tensorflow"):  # models of other backends are lowered there
    from tfcompress.quantization.lowerings import kernels, recurrent

    FORMS |= {**kernels.FORMS, **recurrent.FORMS}
else:
    FORMS |= in_steps.FORMS


def observable_call(layer, call, tap):
    """Return the form of a layer's ``call`` for integers; ``call`` itself by default.

    A subclass of a listed layer is left alone: it may compute something else. A subclass of RNN
    still calls its cell once a step.
    """
    form = FORMS.get(type(layer))
    if runs_on("tensorflow") and form is None:
        if isinstance(layer, kl.RNN):
            form = recurrent.unrolled
        else:
            recurrent.require_no_dropout(layer)
    if form is not None:
        call = form(layer, call, tap)
    return activations.integer_activation(layer, call, tap)
