import keras
import numpy as np
from compat.canary import canary

from tfcompress.compat import keras_attributes, keras_saving


class Noted(keras_saving.SaveableState):
    loaded = None

    def save_own_variables(self, store):
        store["value"] = np.array(3.0)

    def load_own_variables(self, store):
        self.loaded = float(store["value"][()])


@canary("keras", "keras.src.saving.keras_saveable.KerasSaveable", "KerasSaveable._obj_type")
def test_SaveableState(tmp_path):
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    keras_attributes.set_untracked(model, "noted", Noted())
    model.save_weights(tmp_path / "model.weights.h5")
    model.load_weights(tmp_path / "model.weights.h5")
    assert model.noted.loaded == 3.0
    assert len(model.weights) == 2


@canary("keras", "keras.src.backend.torch.optimizers")
def test_know_optimizers_of_torch():
    keras_saving.know_optimizers_of_torch()
    saved = {
        "module": "keras.src.backend.torch.optimizers.torch_adam",
        "class_name": "Adam",
        "config": {"learning_rate": 0.25},
        "registered_name": "Adam",
    }
    loaded = keras.saving.deserialize_keras_object(saved)
    assert isinstance(loaded, keras.optimizers.Adam)
    assert float(loaded.learning_rate) == 0.25
