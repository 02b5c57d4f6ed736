"""How the toys of the coverage tables are built, from a library: keras or tf_keras."""

import functools

IMAGE, SERIES, TOKENS, VOLUME = (16, 16, 3), (12, 8), (12,), (8, 12, 12, 2)
CLASSES = 5


def layer(kind, *arguments, **settings):
    """Return a function that makes a layer of a library."""
    return lambda library: getattr(library.layers, kind)(*arguments, **settings)


def wrapped(kind, make):
    """Return a function that makes a layer around another one."""
    return lambda library: getattr(library.layers, kind)(make(library))


def chain(shape, *layers, dtype="float32"):
    """Return a function that builds a model of layers one after the other, and a head.

    Each layer is given as a function that makes it of a library.
    """

    def build(library):
        inputs = outputs = library.Input(shape, dtype=dtype)
        for make in layers:
            outputs = make(library)(outputs)
        return headed(library, inputs, outputs)

    return build


def after_convolution(kind, *arguments, **settings):
    return chain(IMAGE, layer("Conv2D", 8, 3), layer(kind, *arguments, **settings))


def after_dense(make):
    return chain(SERIES, layer("Dense", 8), make)


def on_series(make):
    return chain(SERIES, make)


def on_tokens(make, mask_zero=False):
    embedding = layer("Embedding", 20, 8, mask_zero=mask_zero)
    return chain(TOKENS, embedding, make, dtype="int32")


def headed(library, inputs, outputs):
    if len(outputs.shape) > 2:
        outputs = library.layers.Flatten()(outputs)
    return library.Model(inputs, library.layers.Dense(CLASSES, name="head")(outputs))


def encoder(shape=SERIES, **attention):
    """Return a function that builds a transformer encoder block."""

    def build(library):
        kl = library.layers
        inputs = library.Input(shape)
        x = kl.Dense(8)(inputs)
        attended = kl.MultiHeadAttention(2, 4)(x, x, **attention)
        x = kl.LayerNormalization()(kl.Add()([x, attended]))
        inner = kl.Dense(8)(kl.Dense(16, activation="gelu")(x))
        return headed(library, inputs, kl.LayerNormalization()(kl.Add()([x, inner])))

    return build


def masked_encoder(library):
    kl = library.layers
    inputs = library.Input(TOKENS, dtype="int32")
    x = kl.Embedding(20, 8, mask_zero=True)(inputs)
    x = kl.LayerNormalization()(kl.Add()([x, kl.MultiHeadAttention(2, 4)(x, x)]))
    return headed(library, inputs, x)


def grouped_query(library):
    inputs = library.Input(SERIES)
    attention = library.layers.GroupQueryAttention(4, num_query_heads=4, num_key_value_heads=2)
    return headed(library, inputs, attention(inputs, inputs))


def query_and_value(kind, **settings):
    def build(library):
        kl = library.layers
        inputs = library.Input(SERIES)
        query, value = kl.Conv1D(8, 3, padding="same")(inputs), kl.Dense(8)(inputs)
        return headed(library, inputs, getattr(kl, kind)()([query, value], **settings))

    return build


def u_net(library):
    kl = library.layers
    inputs = library.Input((16, 16, 3))
    fine = kl.Conv2D(8, 3, padding="same", activation="relu")(inputs)
    coarse = kl.Conv2D(16, 3, padding="same", activation="relu")(kl.MaxPooling2D()(fine))
    x = kl.Concatenate()([kl.Conv2DTranspose(8, 2, strides=2)(coarse), fine])
    x = kl.Conv2D(8, 3, padding="same", activation="relu")(x)
    return library.Model(inputs, kl.Conv2D(1, 1, activation="sigmoid")(x))


def shared(library):
    kl = library.layers
    left, right = library.Input(IMAGE), library.Input(IMAGE)
    convolution = kl.Conv2D(8, 3, activation="relu")
    difference = kl.Subtract()([convolution(left), convolution(right)])
    return headed(library, [left, right], difference)


def nested(library):
    kl = library.layers
    layers = [kl.InputLayer((14, 14, 8)), kl.Conv2D(8, 3), kl.ReLU()]
    inner = library.Sequential(layers, name="inner")
    inputs = library.Input(IMAGE)
    return headed(library, inputs, inner(kl.Conv2D(8, 3)(inputs)))


def operations(library):
    """Return where a library has its operations: tf_keras has them in its backend."""
    return getattr(library, "ops", None) or library.backend


@functools.cache
def residual(library):
    """Return a subclassed model with a bare addition between its layers."""
    kl = library.layers

    @library.saving.register_keras_serializable(package="coverage")
    class Residual(library.Model):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.first = kl.Conv2D(8, 3, padding="same", activation="relu", name="first")
            self.second = kl.Conv2D(8, 3, padding="same", name="second")

        def call(self, inputs):
            x = self.first(inputs)
            return operations(library).relu(self.second(x) + x)

    return Residual


def subclassed(library):
    inputs = library.Input(IMAGE)
    return headed(library, inputs, residual(library)(name="residual")(inputs))


@functools.cache
def gated_pool(library):
    """Return a user's own layer: weights, a gate and a weighted mean, four tensors of its own."""
    ops = operations(library)

    @library.saving.register_keras_serializable(package="coverage")
    class GatedPool(library.layers.Layer):
        def build(self, input_shape):
            self.kernel = self.add_weight(shape=(input_shape[-1], input_shape[-1]), name="kernel")

        def call(self, inputs):
            gate = ops.sigmoid(inputs @ self.kernel)
            weighted = ops.sum(inputs * gate, axis=1)
            return weighted / (ops.sum(gate, axis=1) + 1.0)

    return GatedPool
