"""Setting attributes of a layer for the duration of one call."""

import contextlib
from collections.abc import Iterator

import keras


@contextlib.contextmanager
def attributes(layer: keras.Layer, **values) -> Iterator[None]:
    """Give attributes of a layer other values while the block runs.

    Args:
        layer: the layer. Its own attributes are back afterwards, its class's too.
        **values: the values by name.
    """
    # Written to __dict__: Keras's own __setattr__ would try to track the values.
    own = {name: layer.__dict__[name] for name in values if name in layer.__dict__}
    layer.__dict__.update(values)
    try:
        yield
    finally:
        for name in values:
            del layer.__dict__[name]
        layer.__dict__.update(own)
