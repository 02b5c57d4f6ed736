"""Objects that travel in the files that Keras saves."""

from keras.src.saving.keras_saveable import KerasSaveable


class SaveableState(KerasSaveable):
    """An object that Keras saves and loads where it is an attribute of a layer or model.

    Keras calls ``save_own_variables(store)`` and ``load_own_variables(store)`` of a subclass, with
    a mapping of arrays by name. The object adds nothing to the model's weights, and a model without
    it reads the same file.
    """

    def _obj_type(self) -> str:
        # Tells Keras which attributes not to walk; a loss is the plainest kind that it knows.
        return "Loss"
