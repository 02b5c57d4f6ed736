"""Objects that travel in the files that Keras saves."""

import sys

import keras
from keras.src.saving.keras_saveable import KerasSaveable

_OPTIMIZERS = ("adadelta", "adagrad", "adam", "adamax", "adamw", "lion", "nadam", "rmsprop", "sgd")


def know_optimizers_of_torch() -> None:
    """Let models that were compiled on PyTorch load on another backend.

    Keras saves their optimizers by the module of PyTorch's own class, and would import that.
    """
    for name in _OPTIMIZERS:
        module = f"keras.src.backend.torch.optimizers.torch_{name}"
        sys.modules.setdefault(module, keras.optimizers)


class SaveableState(KerasSaveable):
    """An object that Keras saves and loads where it is an attribute of a layer or model.

    Keras calls ``save_own_variables(store)`` and ``load_own_variables(store)`` of a subclass, with
    a mapping of arrays by name. The object adds nothing to the model's weights, and a model without
    it reads the same file.
    """

    def _obj_type(self) -> str:
        # Tells Keras which attributes not to walk; a loss is the plainest kind that it knows.
        return "Loss"
