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


def steps_within(width=8):
    """A network of layers that store tensors inside their calls."""
    inputs = keras.Input((8, 8, 3))
    x = layers.SeparableConv2D(width, 3, strides=2, activation="swish", name="separable")(inputs)
    branches = [
        layers.Conv2D(width, 1, activation="hard_sigmoid", name="gate")(x),
        layers.Conv2D(width, 1, activation="elu", name="negative")(x),
        layers.Conv2D(width, 1, use_bias=False, activation="selu", name="scaled")(x),
        layers.ELU(0.5, name="weak")(layers.Conv2D(width, 1, name="line")(x)),
    ]
    x = layers.Average(name="mean")(branches)
    x = layers.GroupNormalization(2, name="groups")(x)
    x = layers.Reshape((9, width))(keras.activations.silu(x))
    normal = layers.LayerNormalization(name="normal")(x)
    attended = layers.MultiHeadAttention(2, 4, name="attention")(normal, normal)
    smooth = layers.Dense(width, activation="softplus", name="smooth")(x)
    x = layers.Add(name="sum")([x, attended, smooth])
    x = layers.RMSNormalization(name="energy")(x)
    return keras.Model(inputs, layers.Dense(3, name="logits")(layers.Flatten()(x)))


def save_calibrated(path, inputs, make="network"):
    """Save a quantization-aware model; return its outputs and its weights after a step.

    The outputs are those of the device, and of fake quantization.
    """
    import tfcompress as tfc  # not at the top: another process reads this file first

    keras.utils.set_random_seed(0)
    model = tfc.quantize_aware(globals()[make]()).calibrate(inputs)
    model.compile(keras.optimizers.SGD(0.1), "mse")
    model.save(path)
    outputs = model.predict(inputs, verbose=0), keras.ops.convert_to_numpy(model.simulated(inputs))
    wanted = keras.ops.zeros((len(inputs), 3))
    model.fit(inputs, wanted, batch_size=len(inputs), verbose=0)
    return *outputs, model.get_weights()


def ranges_in(path):
    """Return the ranges in a file, once its model has inferred by them."""
    model = keras.saving.load_model(path)
    model(keras.ops.zeros((1, 8, 8, 3)))
    return keras.ops.convert_to_numpy(model.ranges)
