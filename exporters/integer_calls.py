"""Float models in a form that the converter can quantize after training."""

import contextlib
from collections.abc import Iterator

import keras

from tfcompress.graph.taps import TappedCalls
from tfcompress.quantization.lowerings import observable_call
from tfcompress.quantization.lowerings.operations import forms_for


@contextlib.contextmanager
def integer_calls(model: keras.Model, rewritten: tuple[str, ...]) -> Iterator[None]:
    """Give some TensorFlow operations, and embeddings with them, another form while a block runs.

    Args:
        model: a built Keras model.
        rewritten: types of operations, see ``rewritings``; nothing changes if there are none.
    """
    if not rewritten:
        yield
        return
    with TappedCalls(model, forms_for(rewritten)).active(_unchanged, _lookups):
        yield


def _unchanged(point, tensor, **how):
    del point, how
    return tensor


def _lookups(layer, call, tap):
    is_lookup = isinstance(layer, keras.layers.Embedding)
    return observable_call(layer, call, tap) if is_lookup else call
