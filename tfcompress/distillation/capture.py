"""Reading what chosen layers compute during one call of a model, without rebuilding it."""

import contextlib
from collections.abc import Iterator, Sequence

import keras

from tfcompress.keras_graph.interception import intercepted_calls
from tfcompress.keras_graph.selection import select_layers


def find_layer(model: keras.Model, name: str) -> keras.Layer:
    """Return the one layer of a model with this name or path.

    Args:
        model: a Keras model; its wrappers are looked through.
        name: the layer's name, or its path ("encoder/conv") where the name alone is not unique.

    Raises:
        ValueError: the model has no such layer (the near names are listed), or several.
    """
    found = select_layers(model, [name])
    if len(found) > 1:
        paths = ", ".join(path for path, _ in found)
        raise ValueError(
            f"Model {model.name!r} has several layers {name!r}; give the path of one of them: "
            f"{paths}. Received: {name!r}"
        )
    return found[0][1]


@contextlib.contextmanager
def captured_outputs(model: keras.Model, names: Sequence[str]) -> Iterator[dict]:
    """Collect the outputs of some layers while the model runs inside a ``with`` block.

    It works on every kind of model, nested and subclassed ones included, since it listens to the
    layers themselves; the model is left as it was.

    Args:
        model: a Keras model.
        names: names or paths of layers.

    Yields:
        A dictionary from name to output, filled while the model runs.

    Raises:
        ValueError: a name that means no layer, or several; inside the block: a layer that runs more
            than once in a call, so that its output is not one tensor.
    """
    outputs: dict = {}
    wanted: dict[int, list[str]] = {}
    layers = {name: find_layer(model, name) for name in names}
    for name, layer in layers.items():
        wanted.setdefault(id(layer), []).append(name)

    def listen(layer, call):
        def listening(*args, **kwargs):
            result = call(*args, **kwargs)
            for name in wanted[id(layer)]:
                if name in outputs:
                    raise ValueError(
                        f"Layer {name!r} of model {model.name!r} runs more than once in a call, or "
                        "in a loop, so it has no single output to distil. Choose another layer. "
                        f"Received: {name!r}"
                    )
                outputs[name] = result
            return result

        return listening

    unique = {id(layer): layer for layer in layers.values()}
    with intercepted_calls(unique.values(), listen):
        yield outputs
