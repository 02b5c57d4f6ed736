"""A tf_keras model that runs as it is, under the name and the manners of a Keras 3 model."""

import keras
import numpy as np
from tensorflow import nest

from tfcompress.compat.tf_keras_models import all_layers, input_structure, own_weights
from tfcompress.graph.wrapper import ModelWrapper
from tfcompress.guests.rebuilding import NoTwinError, from_tf_keras
from tfcompress.guests.recognizing import has_learnt_ranges, is_tf_keras_model
from tfcompress.guests.stripping import strip_wrappers


class GuestModel(ModelWrapper):
    """Runs a tf_keras model at inference, so that it can be converted and compared.

    Args:
        model: a built tf_keras model without TFMOT's pruning and clustering wrappers.

    Raises:
        ValueError: it is not built, weights are not finite, it computes in mixed precision, or a
            recurrent layer of it is a loop, for which there are no integer kernels.

    Attributes:
        has_learnt_ranges: whether TFMOT's quantization-aware training has made it.
    """

    def __init__(self, model):
        super().__init__(model)
        _require_deployable(model)
        self.has_learnt_ranges = has_learnt_ranges(model)

    def call(self, inputs, training=False):
        """Run the model at inference on what it takes, or on a list of that in its order."""
        del training
        if isinstance(inputs, dict):
            inputs = [inputs[tensor.name] for tensor in self.model.inputs]
        else:
            inputs = keras.tree.flatten(inputs)
        packed = nest.pack_sequence_as(input_structure(self.model), inputs)
        outputs = self.model(packed, training=False)
        return nest.flatten(outputs) if nest.is_nested(outputs) else outputs


def hosted(model):
    """Turn a tf_keras model into a Keras 3 model, and leave every other as it is.

    Args:
        model: any model.

    Returns:
        A Keras 3 model of the same layers; a ``GuestModel`` where TFMOT has learnt ranges, or a
        layer has no Keras 3 twin; the model itself if it is none of tf_keras.

    Raises:
        ValueError: see ``from_tf_keras`` and ``GuestModel``.
    """
    if not is_tf_keras_model(model):
        return model
    if has_learnt_ranges(model):
        return GuestModel(model)
    try:
        return from_tf_keras(model)
    except NoTwinError:
        return GuestModel(strip_wrappers(model))


def _require_deployable(model) -> None:
    from tf_keras.layers import RNN

    for layer in all_layers(model, include_self=False):
        if isinstance(layer, RNN) and not layer.unroll:
            raise ValueError(
                f"Layer {layer.name!r} of the tf_keras model {model.name!r} is a loop, for which "
                "there are no integer kernels. Make it with unroll=True, or make every layer one "
                "that `tfc.from_tf_keras` can rebuild. Received: unroll=False"
            )
        if layer.compute_dtype in ("float16", "bfloat16"):
            raise ValueError(
                f"Layer {layer.name!r} of the tf_keras model {model.name!r} computes in mixed "
                "precision, and a device does not. Build the model without a policy and give it "
                f"these weights. Received: {layer.compute_dtype}"
            )
        if lost := [weight.name for weight in own_weights(layer) if not _is_finite(weight)]:
            raise ValueError(
                f"Layer {layer.name!r} of the tf_keras model {model.name!r} has weights that are "
                f"NaN or infinite: {', '.join(lost)}. Go back to an earlier checkpoint."
            )


def _is_finite(weight) -> bool:
    return not weight.dtype.is_floating or bool(np.isfinite(weight.numpy()).all())
