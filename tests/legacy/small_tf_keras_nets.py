"""tf_keras models that between them use most of what a Keras 2 model can hold."""

import numpy as np
import tf_keras
from tf_keras import layers as kl


def photo_net():
    """Convolutions, normalization, operators on tensors, two outputs by name."""
    x = inputs = kl.Input((8, 8, 3), name="photo")
    x = kl.Conv2D(4, 3, activation="hard_sigmoid", kernel_regularizer="l2", name="conv")(x)
    x = kl.BatchNormalization(name="norm")(x)
    x = kl.LeakyReLU(0.2)(x) * 2.0 + 1.0
    scores = kl.Dense(3, name="head/scores")(kl.Flatten()(x))
    return tf_keras.Model(inputs, {"scores": scores, "corner": x[:, 1:, :, 0:2]}, name="photo_net")


def siamese_net():
    """A nested Sequential and a Dense layer, each called twice, on inputs by name."""
    encoder = tf_keras.Sequential(
        [
            kl.InputLayer((8, 8, 3)),
            kl.SeparableConv2D(4, 3),
            kl.PReLU(),
            kl.DepthwiseConv2D(3),
            kl.ReLU(6.0),
            kl.GlobalAveragePooling2D(),
        ],
        name="encoder",
    )
    shared = kl.Dense(5, activation="gelu", name="shared")
    left, right = kl.Input((8, 8, 3), name="left"), kl.Input((8, 8, 3), name="right")
    both = [shared(encoder(left)), shared(encoder(right))]
    return tf_keras.Model({"left": left, "right": right}, kl.Concatenate()(both))


def text_net():
    """A masked embedding, recurrent layers that pass their states on, attention."""
    inputs = kl.Input((6,), dtype="int32", name="tokens")
    x = kl.Embedding(7, 8, mask_zero=True)(inputs)
    x = kl.Bidirectional(kl.GRU(4, return_sequences=True))(x)
    x = kl.LayerNormalization()(x + kl.MultiHeadAttention(2, 4)(x, x))
    lstm = kl.LSTM(4, return_state=True, return_sequences=True, recurrent_activation="hard_sigmoid")
    x, *states = lstm(x)
    x = kl.LSTM(4)(x, initial_state=states)
    return tf_keras.Model(inputs, kl.TimeDistributed(kl.Dense(2))(kl.Reshape((2, 2))(x)))


def table_net():
    """Statistics of the data, a function, layers that act in training alone."""
    normalization = kl.Normalization()
    normalization.adapt(np.random.default_rng(0).normal(4.0, 2.0, (50, 3)).astype("float32"))
    return tf_keras.Sequential(
        [
            kl.InputLayer((3,), name="row"),
            normalization,
            kl.Lambda(lambda x: x * x),
            kl.GaussianNoise(0.1),
            kl.Dropout(0.2),
            kl.Dense(2, activation="softmax", name="head"),
        ]
    )


def signal_net():
    """One dimension: convolutions there and back."""
    return tf_keras.Sequential(
        [
            kl.InputLayer((16, 2)),
            kl.Conv1D(4, 3, strides=2, padding="causal", activation="swish"),
            kl.UpSampling1D(2),
            kl.ZeroPadding1D(1),
            kl.MaxPooling1D(2),
            kl.Conv1DTranspose(3, 3),
            kl.ELU(),
            kl.GlobalMaxPooling1D(),
        ]
    )


NETS = (photo_net, siamese_net, text_net, table_net, signal_net)


def randomize(model, seed=0):
    """Give every weight, statistics too, another value than a new layer has."""
    generator = np.random.default_rng(seed)
    for weight in model.weights:
        if weight.dtype.is_floating:
            noise = np.abs(generator.normal(0.0, 0.3, weight.shape))
            weight.assign(weight + noise.astype("float32"))
    return model


def inputs_for(model, examples=5, seed=1):
    """Draw inputs for a model, in its own structure."""
    generator = np.random.default_rng(seed)

    def drawn(tensor):
        shape = (examples, *tensor.shape[1:])
        if tensor.dtype.is_floating:
            return generator.normal(size=shape).astype("float32")
        return generator.integers(0, 7, shape).astype("int32")

    by_name = {tensor.name: drawn(tensor) for tensor in model.inputs}
    return by_name if len(by_name) > 1 else next(iter(by_name.values()))
