"""Setting attributes of a layer for the duration of one call."""

import contextlib
from collections.abc import Callable, Iterator

import keras


@contextlib.contextmanager
def attributes(layer: keras.Layer, **values) -> Iterator[None]:
    """Give attributes of a layer other values while the block runs."""
    # Written to __dict__: Keras's own __setattr__ would try to track the values.
    own = {name: layer.__dict__[name] for name in values if name in layer.__dict__}
    layer.__dict__.update(values)
    try:
        yield
    finally:
        for name in values:
            del layer.__dict__[name]
        layer.__dict__.update(own)


def call_with(layer: keras.Layer, call: Callable, **values) -> Callable:
    """Return a layer's call during which attributes of it have other values."""

    def run(*args, **kwargs):
        with attributes(layer, **values):
            return call(*args, **kwargs)

    return run
