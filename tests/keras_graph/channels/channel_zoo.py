"""Small models, one for each way that channels take, with random weights in every variable."""

import keras
import numpy as np
from keras import layers as kl


def residual():
    inputs = keras.Input((8, 8, 3))
    x = kl.Conv2D(8, 3, padding="same")(inputs)
    y = kl.Conv2D(8, 3, padding="same", use_bias=False)(kl.ReLU()(kl.BatchNormalization()(x)))
    x = kl.Add()([x, kl.BatchNormalization()(y)])
    return keras.Model(inputs, kl.Dense(4)(kl.GlobalAveragePooling2D()(x)))


def inverted_residual():
    inputs = keras.Input((8, 8, 6))
    x = kl.Conv2D(8, 1)(inputs)
    y = kl.Conv2D(12, 1)(x)
    y = kl.DepthwiseConv2D(3, padding="same", depth_multiplier=2)(kl.ReLU(6.0)(y))
    x = x + kl.Conv2D(8, 1)(y)
    return keras.Model(inputs, kl.Conv2D(2, 1)(x))


def dense_block():
    inputs = keras.Input((8, 8, 4))
    x = kl.Conv2D(4, 3, padding="same")(inputs)
    for _ in range(2):
        y = kl.ReLU()(kl.BatchNormalization()(x))
        x = kl.Concatenate()([x, kl.Conv2D(4, 3, padding="same")(y)])
    return keras.Model(inputs, kl.Dense(3)(kl.Flatten()(kl.MaxPooling2D()(x))))


def grouped():
    inputs = keras.Input((8, 8, 3))
    x = kl.Conv2D(12, 1)(inputs)
    x = kl.Conv2D(24, 3, groups=3, padding="same")(x)
    return keras.Model(inputs, kl.Conv2D(2, 1)(kl.PReLU(shared_axes=[1, 2])(x)))


def squeeze_excite():
    inputs = keras.Input((8, 8, 3))
    x = kl.Conv2D(12, 3, activation="swish")(inputs)
    gate = kl.Reshape((1, 1, 12))(kl.GlobalAveragePooling2D()(x))
    gate = kl.Conv2D(12, 1, activation="hard_sigmoid")(kl.Conv2D(4, 1, activation="relu")(gate))
    x = kl.Multiply()([x, gate])
    return keras.Model(inputs, kl.Dense(5)(kl.GlobalMaxPooling2D()(x)))


def unet():
    inputs = keras.Input((8, 8, 1))
    a = kl.Conv2D(6, 3, padding="same", activation="relu")(inputs)
    b = kl.SeparableConv2D(10, 3, padding="same", activation="relu")(kl.MaxPooling2D()(a))
    x = kl.Concatenate()([a, kl.Conv2DTranspose(6, 2, strides=2)(b)])
    x = kl.Concatenate()([x, kl.UpSampling2D()(b)])
    return keras.Model(inputs, kl.Conv2D(2, 1, activation="sigmoid")(x))


def nested_and_shared():
    body = keras.Sequential(
        [keras.Input((8, 4)), kl.Conv1D(8, 3, activation="relu"), kl.Conv1D(6, 3)], name="body"
    )
    one, two = keras.Input((8, 4)), keras.Input((8, 4))
    joined = kl.Subtract()([body(one), body(two)])
    pooled = kl.GlobalAveragePooling1D()(joined)
    shared = kl.Dense(6, name="shared")
    return keras.Model([one, two], kl.Dense(1)(kl.Maximum()([shared(pooled), shared(pooled)])))


def recurrent():
    inputs = keras.Input((5,), dtype="int32")
    x = kl.Embedding(11, 8)(inputs)
    x = kl.Bidirectional(kl.LSTM(6, return_sequences=True))(x)
    x = kl.GRU(8)(x)
    return keras.Model(inputs, kl.Dense(3)(x))


def states_of_both_directions():
    inputs = keras.Input((5, 4))
    layer = kl.Bidirectional(kl.GRU(4, return_sequences=True, return_state=True))
    x, *states = layer(inputs)
    return keras.Model(inputs, [kl.Dense(3)(x), kl.Dense(2)(kl.Concatenate()(states))])


def transformer():
    inputs = keras.Input((6, 8))
    x = kl.LayerNormalization()(kl.Add()([inputs, kl.MultiHeadAttention(4, 3)(inputs, inputs)]))
    y = kl.Dense(8)(kl.Dense(16, activation="gelu")(x))
    return keras.Model(inputs, kl.LayerNormalization()(x + y))


def two_outputs():
    inputs = keras.Input((6, 6, 3))
    x = kl.ZeroPadding2D()(kl.Conv2D(8, 3)(inputs))
    logits = kl.Dense(4, name="logits")(kl.GlobalAveragePooling2D()(x))
    return keras.Model(inputs, {"logits": logits, "map": kl.Conv2D(2, 1, name="map")(x)})


def groups_of_channels():
    inputs = keras.Input((6, 6, 3))
    x = kl.GroupNormalization(4)(kl.Conv2D(12, 3, name="a")(inputs))
    x = kl.GroupNormalization(-1)(kl.Conv2D(8, 3, name="b")(kl.ReLU()(x)))
    return keras.Model(inputs, kl.Dense(3)(kl.Flatten()(x)))


def video():
    inputs = keras.Input((3, 6, 6, 2))
    x = kl.TimeDistributed(kl.Conv2D(8, 3, activation="relu"))(inputs)
    x = kl.TimeDistributed(kl.BatchNormalization())(x)
    x = kl.ConvLSTM2D(6, 3, padding="same", return_sequences=True)(x)
    x = kl.ConvLSTM2D(4, 2)(kl.TimeDistributed(kl.MaxPooling2D())(x))
    return keras.Model(inputs, kl.Dense(3)(kl.Flatten()(x)))


def steps_of_words():
    inputs = keras.Input((4, 6, 5))
    x = kl.TimeDistributed(kl.Dense(8, activation="relu"))(inputs)
    x = kl.TimeDistributed(kl.Flatten())(x)
    return keras.Model(inputs, kl.TimeDistributed(kl.Dense(3, activation="softmax"))(x))


def shared_heads():
    inputs = keras.Input((6, 8))
    x = kl.Dense(8)(inputs)
    x = kl.GroupQueryAttention(4, num_query_heads=6, num_key_value_heads=3)(x, x)
    return keras.Model(inputs, kl.Dense(3)(x))


def bare_operations():
    inputs = keras.Input((6, 6, 3))
    x = kl.Conv2D(12, 3, name="a")(inputs)
    one, two, three = keras.ops.split(x, 3, axis=-1)
    x = keras.ops.concatenate([one * keras.ops.sigmoid(two), keras.ops.exp(-three)], axis=-1)
    x = keras.ops.pad(x, [(0, 0), (1, 1), (1, 1), (0, 0)])
    x = keras.ops.transpose(keras.ops.flip(x, axis=1), (0, 3, 1, 2))
    x = keras.ops.reshape(x, (-1, 8, 36))
    x = keras.ops.swapaxes(x, 1, 2)[:, ::2]
    first = keras.ops.squeeze(keras.ops.expand_dims(x, 2), 2)[:, 0]
    x = keras.ops.concatenate([keras.ops.mean(x, axis=1), keras.ops.max(x, axis=-2), first])
    return keras.Model(inputs, kl.Dense(3)(x))


def padded_shortcut():
    inputs = keras.Input((6, 6, 3))
    x = kl.Conv2D(8, 3, activation="relu")(inputs)
    shortcut = keras.ops.pad(x, [(0, 0), (0, 0), (0, 0), (0, 4)])
    x = kl.Maximum()([shortcut, kl.Conv2D(12, 1)(x)])
    return keras.Model(inputs, kl.Dense(3)(kl.Flatten()(x)))


def experts():
    inputs = keras.Input((5,))
    each = keras.ops.stack([kl.Dense(8, activation="relu")(inputs) for _ in range(3)], axis=1)
    gate = keras.ops.expand_dims(kl.Dense(3, activation="softmax")(inputs), -1)
    return keras.Model(inputs, kl.Dense(2)(keras.ops.sum(each * gate, axis=1)))


def graph():
    inputs = keras.Input((4, 5))
    neighbours = np.random.default_rng(0).random((4, 4), "float32")
    x = kl.Dense(8, activation="relu")(keras.ops.matmul(neighbours, inputs))
    x = keras.ops.matmul(neighbours, kl.Dense(6)(x))
    return keras.Model(inputs, kl.Dense(3)(keras.ops.reshape(x, (-1, 24))))


def memory():
    """Scores of memories weigh others, whose channels remain, whichever comes first."""
    inputs = keras.Input((5, 4)), keras.Input((4,))
    keys, values = kl.Dense(8)(inputs[0]), kl.Dense(6)(inputs[0])
    scores = kl.Softmax()(kl.Dot((2, 1))([keys, kl.Dense(8)(inputs[1])]))
    read = kl.Dot((1, 1))([scores, values]), kl.Dot((-2, -1))([values, scores])
    return keras.Model(inputs, kl.Dense(3)(kl.Add()(read)))


def products_of_one():
    """A Gram matrix over places has the same channels twice."""
    inputs = keras.Input((5, 4))
    x = kl.Dense(6, name="both")(inputs)
    return keras.Model(inputs, kl.Dense(3)(kl.Dense(8, name="free")(kl.Dot((1, 1))([x, x]))))


ZOO = {
    make.__name__: make
    for make in (
        residual,
        inverted_residual,
        dense_block,
        grouped,
        squeeze_excite,
        unet,
        nested_and_shared,
        recurrent,
        states_of_both_directions,
        transformer,
        two_outputs,
        groups_of_channels,
        video,
        steps_of_words,
        shared_heads,
        bare_operations,
        padded_shortcut,
        experts,
        graph,
    )
}


def matched():
    inputs = keras.Input((5,)), keras.Input((5,))
    one, two = (kl.Dense(8)(x) for x in inputs)
    return keras.Model(inputs, kl.Dense(3)(kl.Dot(1)([one, two])))


def dot_product_attention():
    inputs = keras.Input((4, 5))
    query, key, value = (kl.Dense(size)(inputs) for size in (8, 8, 6))
    return keras.Model(inputs, kl.Dense(3)(kl.Attention()([query, value, key])))


def additive_attention():
    inputs = keras.Input((4, 5))
    query, value = kl.Dense(8)(inputs), kl.Dense(8)(inputs)
    return keras.Model(inputs, kl.Dense(3)(kl.AdditiveAttention()([query, value])))


def attention_by_hand():
    inputs = keras.Input((4, 5))
    query, key, value = (kl.Dense(size)(inputs) for size in (8, 8, 6))
    scores = keras.ops.softmax(keras.ops.matmul(query, keras.ops.transpose(key, (0, 2, 1))))
    return keras.Model(inputs, kl.Dense(3)(keras.ops.matmul(scores, value)))


# Channels of these end in sums over products with others, which no weight reads.
CONTRACTED = {
    make.__name__: make
    for make in (
        matched,
        dot_product_attention,
        additive_attention,
        attention_by_hand,
        memory,
        products_of_one,
    )
}


def fill(model, seed=0):
    """Give every variable random values: fresh normalizations and biases would hide mistakes."""
    generator = np.random.default_rng(seed)
    for variable in model.weights:
        if variable.name in ("gamma", "moving_variance", "alpha"):
            variable.assign(generator.uniform(0.5, 1.5, variable.shape))
        else:
            size = 1.5 / np.sqrt(max(np.prod(variable.shape[:-1]), 1))
            variable.assign(generator.normal(0.0, size, variable.shape))
    return model


def examples(model, count=3, seed=1):
    """Return random inputs of a model."""
    generator = np.random.default_rng(seed)
    arrays = [
        generator.integers(0, 10, (count, *tensor.shape[1:]))
        if "int" in tensor.dtype
        else generator.normal(size=(count, *tensor.shape[1:])).astype("float32")
        for tensor in model.inputs
    ]
    return arrays if len(arrays) > 1 else arrays[0]


def silent(model, flow, removed):
    """Return the model with every weight at zero that makes a removed channel."""
    kept = flow.kept(removed)
    twin = keras.models.clone_model(model)
    twin.set_weights(model.get_weights())
    twins = dict(zip(map(id, model.weights), twin.weights, strict=True))
    for record in flow.records.values():
        for variable, axis, ids in record.slices:
            values = keras.ops.convert_to_numpy(twins[id(variable)]).copy()
            np.moveaxis(values, axis, 0)[~kept[ids]] = 0.0
            twins[id(variable)].assign(values)
    return twin


def deaf(model, flow, removed):
    """Return the model with every weight at zero that reads a removed channel.

    What a channel holds no longer matters, so that the model without it must compute the same.
    """
    kept = flow.kept(removed)
    twin = keras.models.clone_model(model)
    twin.set_weights(model.get_weights())
    twins = dict(zip(map(id, model.weights), twin.weights, strict=True))
    for record in flow.records.values():
        own = record.made.get("outputs", np.empty(0))
        for variable, axis, ids in record.slices:
            reads_itself = variable.name == "recurrent_kernel" and axis == len(variable.shape) - 2
            if len(variable.shape) < 2 or (np.isin(ids, own).all() and not reads_itself):
                continue
            values = keras.ops.convert_to_numpy(twins[id(variable)]).copy()
            np.moveaxis(values, axis, 0)[~kept[ids]] = 0.0
            twins[id(variable)].assign(values)
    return twin
