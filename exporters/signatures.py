"""The entries of a file: the model itself, and what else it is asked to compute."""

from collections.abc import Mapping

import keras

from tfcompress.compat.keras_graphs import functional_of, output_structure
from tfcompress.keras_graph.interception import intercepted_calls
from tfcompress.keras_graph.selection import select_layers
from tfcompress.keras_graph.wrapper import ModelWrapper, require_built, unwrap
from tfcompress.quantization import QuantizeAware

DEFAULT = "serving_default"


class LayerOutputs(ModelWrapper):
    """Takes a model's inputs and gives what one of its layers gives, at inference.

    Args:
        model: a built Keras model of any kind.
        layer: the layer's name, or its path.

    Raises:
        ValueError: the model is not built, has no such layer, or has several of that name.

    Example:
    ```python
    features = LayerOutputs(classifier, "pool")(images)
    ```
    """

    def __init__(self, model, layer: str):
        super().__init__(model)
        found = select_layers(model, [layer])
        if len(found) > 1:
            raise ValueError(
                f"Model {model.name!r} has several layers of that name: pass one of "
                f"{[path for path, _ in found]}. Received: {layer!r}"
            )
        self.layer_path = found[0][0]
        self._found = found[0][1:]  # in a tuple: Keras would track a layer as one of ours

    def call(self, inputs, training=False):
        """Run the model and return the layer's outputs."""
        del training
        results = []

        def watched(_, call):
            def run(*args, **kwargs):
                results.append(call(*args, **kwargs))
                return results[-1]

            return run

        with intercepted_calls(self._found, watched):
            self.model(inputs, training=False)
        if len(results) != 1:
            raise ValueError(
                "A signature gives the output of a layer that runs once. Layer "
                f"{self.layer_path!r} of model {self.model.name!r} runs {len(results)} times: make "
                "a `keras.Model` of the output that you mean, and pass that."
            )
        return results[0]


def entry_models(
    model: keras.Model, signatures: Mapping[str, str | keras.Model] | None
) -> dict[str, keras.Model]:
    """Make a model of every signature.

    Args:
        model: the model to export.
        signatures: {key: a layer's name or path, or a Keras model that shares layers with it}.

    Returns:
        The models by key, the given one first, under "serving_default".

    Raises:
        ValueError: a key is taken or no name, a layer is unknown, a model is not built, or the
            model to export is quantization-aware.
        TypeError: a signature is neither a name nor a model.
    """
    entries = {DEFAULT: model}
    if signatures and isinstance(model, QuantizeAware):
        raise ValueError(
            f"Model {model.name!r} is quantization-aware: it has learnt ranges for its own outputs "
            "alone, so the file has no other signatures. To quantize several after training, pass "
            f"`model.model`. Received: signatures={sorted(signatures)}"
        )
    for key, wanted in (signatures or {}).items():
        if not isinstance(key, str) or not key.isidentifier() or key == DEFAULT:
            raise ValueError(
                f"A signature's key is a name such as 'features', and {DEFAULT!r} is the model "
                f"itself. Received: {key!r}"
            )
        if isinstance(wanted, str):
            entries[key] = LayerOutputs(model, wanted)
        elif isinstance(wanted, keras.Model):
            require_built(wanted)
            entries[key] = wanted
        else:
            raise TypeError(
                f"Signature {key!r} is a layer's name or a Keras model. "
                f"Received: {wanted!r} of type {type(wanted).__name__}"
            )
    return entries


def output_names(model: keras.Model, count: int) -> list[str]:
    """Name a model's outputs as its signature will.

    Args:
        model: one of ``entry_models``.
        count: how many outputs it has.

    Returns:
        The names: those of Keras; of a layer its own name; "output_0" and so on where neither is.
    """
    if isinstance(model, LayerOutputs):
        name = model.layer_path.rsplit("/", maxsplit=1)[-1]
        return [name] if count == 1 else [f"{name}_{place}" for place in range(count)]
    user_model = unwrap(model)
    structure = output_structure(user_model)
    if isinstance(structure, dict):  # in the order in which it is flattened
        names = sorted(structure)
    else:
        names = getattr(functional_of(user_model), "output_names", ())
    return list(names) if len(names) == count else [f"output_{place}" for place in range(count)]
