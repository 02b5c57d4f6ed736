"""Recognizes tf_keras models and TFMOT's wrappers, and strips the wrappers.

Nothing here imports tf_keras or TFMOT to recognize an object: an object of a library exists only
where the library has been imported.
"""

import numpy as np

from tfcompress.compat.tf_keras_models import all_layers, is_clustered, is_pruned, is_quantizing


def has_learned_ranges(model) -> bool:
    """Tell whether TFMOT's quantization-aware training made a tf_keras model."""
    return any(is_quantizing(layer) for layer in all_layers(model))


def strip_wrappers(model):
    """Return a tf_keras model without TFMOT's pruning and clustering wrappers.

    Masks are applied and weights moved to their centroids first, so the result is sparse or
    clustered even between two updates of TFMOT. It is a copy with weights of its own, or the model
    itself if it has no such wrapper.
    """
    if not any(is_pruned(layer) or is_clustered(layer) for layer in all_layers(model)):
        return model
    return _copied(model)


def _copied(model):
    from tf_keras.models import Model, clone_model

    copies = []

    def bare(layer):
        if isinstance(layer, Model):
            return _copied(layer)
        inner, weights = _unwrapped(layer)
        copy = type(inner).from_config(inner.get_config())
        copies.append((copy, weights))
        return copy

    clone = clone_model(model, clone_function=bare)
    if not clone.built:  # a Sequential whose first layer was a wrapper forgets its input
        clone.build(model.input_shape)
    for copy, weights in copies:
        copy.set_weights(weights)
    return clone


def _unwrapped(layer):
    """Return the layer inside a wrapper, and its weights, masked or clustered."""
    if is_pruned(layer):
        masks = {id(weight): mask for weight, mask, _ in getattr(layer, "pruning_vars", ())}
        inner = layer.layer
        weights = [
            weight.numpy() * masks[id(weight)].numpy() if id(weight) in masks else weight.numpy()
            for weight in inner.weights
        ]
        return inner, weights
    if is_clustered(layer):
        layer.update_clustered_weights_associations()
        inner = layer.layer
        weights = inner.get_weights()
        for position, name in layer.position_original_weights.items():
            weights.insert(position, np.asarray(layer.get_weight_from_layer(name)))
        return inner, weights
    return layer, layer.get_weights()
