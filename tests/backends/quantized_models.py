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
    """A network of layers that store tensors inside their calls, side by side."""
    inputs = keras.Input((8, 8, 3))
    x = layers.ZeroPadding2D()(layers.Rescaling(0.5, 0.1, name="rescaled")(inputs))
    x = layers.Conv2D(width, 3, 2, name="stem")(x)
    negative = layers.Conv2D(width, 1, activation="elu", name="negative")(x)
    scaled = layers.Conv2D(width, 1, use_bias=False, activation="selu", name="scaled")(x)
    images = [
        layers.SeparableConv2D(width, 3, activation="swish", name="separable")(x),
        layers.Conv2D(width, 1, activation="hard_sigmoid", name="gate")(x),
        layers.ELU(0.5, name="weak")(layers.Conv2D(width, 1, name="line")(x)),
        layers.Average(name="mean")([negative, scaled]),
        layers.GroupNormalization(2, name="groups")(x),
        keras.activations.silu(x),
    ]
    x = layers.Reshape((16, width))(x)
    rows = [
        layers.LayerNormalization(name="normal")(x),
        layers.RMSNormalization(name="energy")(x),
        layers.MultiHeadAttention(2, 4, name="attention")(x, x),
        layers.Dense(width, activation="softplus", name="smooth")(x),
    ]
    means = [layers.GlobalAveragePooling2D()(image) for image in images]
    means += [layers.GlobalAveragePooling1D()(row) for row in rows]
    return keras.Model(inputs, layers.Dense(3, name="logits")(layers.Concatenate()(means)))


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
