"""Quantization: the numerics of the deployed model, and training with them."""

import lazy_loader

from tfcompress.on_tensorflow import refused

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
__getattr__ = refused(
    __getattr__,
    {
        "PlacementError": "it is raised by `quantize_aware`",
        "QuantizeAware": "it is made by `quantize_aware`",
        "quantize_aware": (
            "train and prune the model here and `model.save('model.keras')`; then, under "
            "KERAS_BACKEND=tensorflow, pass `keras.saving.load_model('model.keras')` to it and "
            "train on"
        ),
    },
)
