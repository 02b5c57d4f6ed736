"""Models that tests train on one backend of Keras and save or load on another."""

import keras
from keras import layers


def network(width=8):
    """A small classifier with each way in which BatchNormalization is deployed."""
    return keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            layers.Conv2D(width, 3, use_bias=False, name="stem"),
            layers.BatchNormalization(),  # folded into a kernel with a scale per channel
            layers.ReLU(),
            layers.DepthwiseConv2D(3, activation="relu", name="depthwise"),
            layers.AveragePooling2D(2),
            layers.BatchNormalization(name="alone"),  # folded into none
            layers.Flatten(),
            layers.Dense(8, name="hidden"),
            layers.BatchNormalization(),  # folded into a kernel with one scale
            layers.ReLU(),
            layers.Dense(3, name="logits"),
        ]
    )


def save_calibrated(path, inputs):
    """Save a quantization-aware model; return its outputs, and its weights after a step."""
    import tfcompress as tfc  # not at the top: another process reads this file first

    model = tfc.quantize_aware(network()).calibrate(inputs)
    model.compile(keras.optimizers.SGD(0.1), "mse")
    model.save(path)
    outputs = model.predict(inputs, verbose=0)
    wanted = keras.ops.zeros((len(inputs), 3))
    model.fit(inputs, wanted, batch_size=len(inputs), verbose=0)
    return outputs, model.get_weights()


def ranges_in(path):
    """Return the ranges in a file, once its model has inferred by them."""
    model = keras.saving.load_model(path)
    model(keras.ops.zeros((1, 8, 8, 3)))
    return keras.ops.convert_to_numpy(model.ranges)
