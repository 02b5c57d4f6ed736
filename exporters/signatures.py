"""The signatures of a file: the model itself, and other outputs of its layers."""

from collections.abc import Mapping

import keras

from tfcompress.compat.keras_graphs import functional_of, output_structure
from tfcompress.keras_graph.interception import intercepted_calls
from tfcompress.keras_graph.selection import select_layers
from tfcompress.keras_graph.wrapper import ModelWrapper, require_built, unwrap
from tfcompress.quantization import QuantizeAware

DEFAULT = "serving_default"


class LayerOutputs(ModelWrapper):
    """A model with the output of one of a model's layers, in inference."""

    def __init__(self, model, layer: str):
        super().__init__(model)
        found = select_layers(model, [layer])
        if len(found) > 1:
            raise ValueError(
                f"Model {model.name!r} has several layers of this name: pass one of the paths "
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
                f"Layer {self.layer_path!r} of model {self.model.name!r} runs {len(results)} "
                "times, but the layer of a signature must run once. Pass a `keras.Model` of the "
                "output instead."
            )
        return results[0]


def entry_models(
    model: keras.Model, signatures: Mapping[str, str | keras.Model] | None
) -> dict[str, keras.Model]:
    """Return the model of each signature, the given one first."""
    entries = {DEFAULT: model}
    if signatures and isinstance(model, QuantizeAware):
        raise ValueError(
            f"Model {model.name!r} is quantization-aware: it has ranges for its own outputs "
            "only, so its file can have no other signatures. Pass `model.model` to quantize all of "
            f"them after training. Received: signatures={sorted(signatures)}"
        )
    for key, wanted in (signatures or {}).items():
        if not isinstance(key, str) or not key.isidentifier() or key == DEFAULT:
            raise ValueError(
                f"The key of a signature must be an identifier such as 'features', except "
                f"{DEFAULT!r}, which is the model itself. Received: {key!r}"
            )
        if isinstance(wanted, str):
            entries[key] = LayerOutputs(model, wanted)
        elif isinstance(wanted, keras.Model):
            require_built(wanted)
            entries[key] = wanted
        else:
            raise TypeError(
                f"Signature {key!r} must be a layer's name or a Keras model. "
                f"Received: {wanted!r} of type {type(wanted).__name__}"
            )
    return entries


def output_names(model: keras.Model, count: int) -> list[str]:
    """Return the names of a model's outputs in its signature: Keras's, or the layer's."""
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
