import dataclasses
import pathlib

import keras
import numpy as np
import pytest


@dataclasses.dataclass(frozen=True)
class Made:
    """A small trained-looking model, its files and examples."""

    folder: pathlib.Path
    model: keras.Model
    x: np.ndarray
    y: np.ndarray

    @property
    def int8(self) -> str:
        return str(self.folder / "int8.tflite")

    @property
    def float32(self) -> str:
        return str(self.folder / "float.tflite")


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    from exporters import export_tflite

    keras.utils.set_random_seed(1)
    folder = tmp_path_factory.mktemp("report")
    inputs = keras.Input((8, 8, 3), name="image")
    x = keras.layers.Conv2D(6, 3, use_bias=False, name="conv")(inputs)
    x = keras.layers.ReLU(6.0, name="act")(keras.layers.BatchNormalization(name="norm")(x))
    x = keras.layers.Conv2D(8, 3, strides=2, activation="relu", name="conv_1")(x)
    x = keras.layers.GlobalAveragePooling2D(name="mean")(x)
    outputs = keras.layers.Dense(4, name="scores")(x)
    model = keras.Model(inputs, outputs, name="toy")
    norm = model.get_layer("norm")
    norm.gamma.assign(np.linspace(0.5, 1.5, 6))
    norm.beta.assign(np.linspace(-0.2, 0.2, 6))
    kernel = model.get_layer("conv_1").kernel
    kernel.assign(np.where(np.arange(kernel.shape[-1]) % 2, 0.0, kernel.numpy()))  # half is zero
    generator = np.random.default_rng(0)
    x = generator.standard_normal((64, 8, 8, 3), dtype="float32")
    y = model.predict(x, verbose=0).argmax(-1)
    y[:16] = (y[:16] + 1) % 4  # the model is right on three quarters
    export_tflite(model, folder / "float.tflite", "float32", validation_data=x)
    export_tflite(model, folder / "int8.tflite", "int8", representative_data=x)
    return Made(folder, model, x, y)
