"""What some layers compute, written so that integer kernels can follow it.

Tensors inside a layer are seen without its help (``tfcompress.keras_graph.inner_tensors``), so most
layers, the user's own too, compute as they are. A layer listed here has a form of its own: one with
operations for which devices have integer kernels, without a loop, or faster. A form computes the
same values; it may offer a tensor to ``tap(role, tensor)``, which returns what to go on with.
"""

from keras import layers as kl

from tfcompress.backends import runs_on
from tfcompress.quantization.lowerings import channel_normalization

FORMS = {**channel_normalization.FORMS}
if runs_on("tensorflow"):  # models of other backends are lowered there
    from tfcompress.quantization.lowerings import (
        attention,
        kernels,
        normalization,
        operations,
        recurrent,
    )

    FORMS |= {
        **attention.FORMS,
        **kernels.FORMS,
        **normalization.FORMS,
        **operations.LAYER_FORMS,
        **recurrent.FORMS,
    }


def observable_call(layer, call, tap):
    """Return the form of a layer's ``call`` for integers; ``call`` itself by default.

    A subclass of a listed layer is left alone: it may compute something else. A subclass of RNN
    still calls its cell once a step.
    """
    form = FORMS.get(type(layer))
    if not runs_on("tensorflow"):
        return call if form is None else form(layer, call, tap)
    if form is None and isinstance(layer, kl.RNN):
        form = recurrent.unrolled
    if form is None:
        recurrent.require_no_dropout(layer)
    else:
        call = form(layer, call, tap)
    return operations.integer_activation(layer, call)
