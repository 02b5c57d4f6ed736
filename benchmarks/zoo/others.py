"""Tables, recommendations, generative networks, points, sets and control."""

import keras
import numpy as np
from keras import layers as kl
from keras import ops

from zoo.blocks import CLASSES, conv, head, image, mlp, residual, tokens, transformer


def columns(count=6):
    """Return the inputs of a table: numbers, and three columns of categories."""
    return keras.Input((count,), name="numbers"), tokens(3, "categories")


def table_network():
    """Normalized numbers and dense layers."""
    inputs = keras.Input((6,), name="numbers")
    x = kl.Normalization(mean=[0.1] * 6, variance=[1.1] * 6)(inputs)
    for _ in range(2):
        x = kl.Dropout(0.2)(kl.BatchNormalization()(kl.Dense(16, "relu")(x)))
    return keras.Model(inputs, kl.Dense(1, "sigmoid")(x))


def wide_and_deep():
    """Cheng et al. 2016."""
    numbers, categories = columns()
    embedded = kl.Flatten()(kl.Embedding(20, 4)(categories))
    deep = kl.Dense(8, "relu")(kl.Dense(16, "relu")(kl.Concatenate()([numbers, embedded])))
    wide = kl.BatchNormalization()(numbers)
    return keras.Model(
        [numbers, categories], kl.Dense(1, "sigmoid")(kl.Concatenate()([wide, deep]))
    )


def deep_and_cross():
    """Wang et al. 2017: products of the input with itself."""
    numbers, categories = columns()
    x = start = kl.Concatenate()([numbers, kl.Flatten()(kl.Embedding(20, 4)(categories))])
    for _ in range(2):
        x = start * kl.Dense(18)(x) + x
    deep = kl.Dense(16, "relu")(start)
    return keras.Model(
        [numbers, categories], kl.Dense(1)(kl.Concatenate()([kl.BatchNormalization()(x), deep]))
    )


def factorization_machine():
    """Rendle 2010: half of the square of a sum minus the sum of squares."""
    categories = tokens(6, "categories")
    x = kl.Embedding(20, 8)(categories)
    pairs = ops.square(ops.sum(x, axis=1)) - ops.sum(ops.square(x), axis=1)
    linear = ops.sum(kl.Embedding(20, 1)(categories), axis=1)
    score = linear + 0.5 * ops.sum(pairs, axis=1, keepdims=True)
    return keras.Model(categories, ops.sigmoid(score))


def tab_transformer():
    """Huang et al. 2020: attention between columns."""
    numbers, categories = columns()
    x = kl.Flatten()(transformer(kl.Embedding(20, 16)(categories), first=False))
    x = kl.Concatenate()([x, kl.LayerNormalization()(numbers)])
    return keras.Model([numbers, categories], kl.Dense(1, "sigmoid")(mlp(x, 32, 16, "selu")))


def feature_tokens():
    """Gorishniy et al. 2021: each number scales a vector of its own."""
    numbers = keras.Input((6,), name="numbers")
    x = kl.EinsumDense("bf,fd->bfd", (6, 16), bias_axes="fd")(numbers)
    x = kl.LayerNormalization()(transformer(x))
    return keras.Model(numbers, kl.Dense(CLASSES)(ops.relu(x[:, 0])))


def gated_residual(x, units, dropout=0.1):
    """Apply a gated residual network (Lim et al. 2019)."""
    y = kl.Dropout(dropout)(kl.Dense(units)(kl.Dense(units, "elu")(x)))
    y = kl.Dense(units)(y) * kl.Dense(units, "sigmoid")(y)
    return kl.LayerNormalization()(y + (x if x.shape[-1] == units else kl.Dense(units)(x)))


def variable_selection():
    """Lim et al. 2019: a weight for each column, from all of them."""
    numbers = keras.Input((4,), name="numbers")
    parts = [gated_residual(numbers[:, i : i + 1], 8) for i in range(4)]
    weights = kl.Dense(4, "softmax")(gated_residual(kl.Concatenate()(parts), 8))
    x = ops.squeeze(ops.matmul(ops.expand_dims(weights, 1), ops.stack(parts, axis=1)), 1)
    return keras.Model(numbers, kl.Dense(1, "sigmoid")(gated_residual(x, 8)))


def sparse_columns():
    """Arik and Pfister 2019: masks that choose columns, step by step."""
    inputs = keras.Input((6,), name="numbers")
    x, prior, total = kl.BatchNormalization()(inputs), 1.0, 0.0
    step = kl.Dense(8, "relu")(x)
    for _ in range(2):
        mask = ops.softmax(kl.BatchNormalization()(kl.Dense(6)(step)) * prior)
        prior = prior * (1.3 - mask)
        gate, value = ops.split(kl.Dense(16)(x * mask), 2, axis=-1)
        step = ops.sigmoid(gate) * value
        total = total + ops.relu(step)
    return keras.Model(inputs, kl.Dense(CLASSES)(total))


def experts_of_tasks():
    """Ma et al. 2018: experts that several tasks weigh."""
    inputs = keras.Input((6,), name="numbers")
    experts = ops.stack([kl.Dense(8, "relu")(inputs) for _ in range(3)], axis=1)
    outputs = []
    for name in ("click", "buy"):
        gate = ops.expand_dims(kl.Dense(3, "softmax")(inputs), -1)
        outputs.append(kl.Dense(1, "sigmoid", name=name)(ops.sum(experts * gate, axis=1)))
    return keras.Model(inputs, outputs)


def matrix_factors():
    """Koren et al. 2009: who likes what."""
    user, item = tokens(1, "user"), tokens(1, "item")
    left, right = (kl.Flatten()(kl.Embedding(20, 8)(each)) for each in (user, item))
    biases = [kl.Flatten()(kl.Embedding(20, 1)(each)) for each in (user, item)]
    score = kl.Add()([kl.Dot(1)([left, right]), *biases])
    return keras.Model([user, item], kl.Activation("sigmoid")(score))


def two_towers():
    """Covington et al. 2016: users and items, each with a network."""
    user, item = tokens(4, "history"), tokens(1, "item")
    left = kl.Dense(8)(kl.Dense(16, "relu")(kl.GlobalAveragePooling1D()(kl.Embedding(20, 8)(user))))
    right = kl.Dense(8)(kl.Flatten()(kl.Embedding(20, 8)(item)))
    return keras.Model([user, item], kl.Dot(1, normalize=True)([left, right]))


def behaviour_transformer():
    """Chen et al. 2019: attention over what a user looked at."""
    history, numbers = tokens(6, "history"), keras.Input((4,), name="numbers")
    x = kl.Flatten()(transformer(kl.Embedding(20, 16)(history), first=False, act="leaky_relu"))
    x = kl.Concatenate()([x, numbers])
    for units in (16, 8):
        x = kl.Dropout(0.1)(kl.LeakyReLU()(kl.BatchNormalization()(kl.Dense(units)(x))))
    return keras.Model([history, numbers], kl.Dense(1)(x))


def interest():
    """Zhou et al. 2017: the history weighed by what is shown."""
    history, shown = tokens(6, "history"), tokens(1, "shown")
    table = kl.Embedding(20, 8)
    past, now = table(history), ops.repeat(table(shown), 6, axis=1)
    both = kl.Concatenate()([past, now, past - now, past * now])
    weights = kl.Dense(1)(kl.Dense(8, "sigmoid")(both))
    x = kl.Concatenate()([ops.sum(past * weights, axis=1), kl.Flatten()(table(shown))])
    return keras.Model([history, shown], kl.Dense(1, "sigmoid")(kl.Dense(8, "relu")(x)))


def variational_encoder():
    """Kingma and Welling 2013: mean and spread of what an image stands for."""
    inputs = image(16, 1)
    x = kl.Conv2D(8, 3, 2, "same", activation="relu")(inputs)
    x = kl.Conv2D(12, 3, 2, "same", activation="relu")(x)
    x = kl.Dense(16, "relu")(kl.Flatten()(x))
    return keras.Model(inputs, [kl.Dense(2, name="mean")(x), kl.Dense(2, name="log_variance")(x)])


def variational_decoder():
    inputs = keras.Input((2,), name="code")
    x = kl.Reshape((4, 4, 8))(kl.Dense(128, "relu")(inputs))
    for filters in (8, 4):
        x = kl.Conv2DTranspose(filters, 3, 2, "same", activation="relu")(x)
    return keras.Model(inputs, kl.Conv2DTranspose(1, 3, padding="same", activation="sigmoid")(x))


def variational_autoencoder():
    """Both, with the noise as an input."""
    inputs, noise = image(16, 1), keras.Input((2,), name="noise")
    x = kl.Flatten()(kl.Conv2D(8, 3, 4, "same", activation="relu")(inputs))
    mean, spread = kl.Dense(2)(x), kl.Dense(2)(x)
    x = kl.Reshape((4, 4, 8))(kl.Dense(128, "relu")(mean + ops.exp(0.5 * spread) * noise))
    x = kl.Conv2DTranspose(1, 4, 4, "same", activation="sigmoid")(x)
    return keras.Model([inputs, noise], x)


def gan_generator():
    """Radford et al. 2015."""
    inputs = keras.Input((8,), name="noise")
    x = kl.Reshape((4, 4, 8))(kl.Dense(128, use_bias=False)(inputs))
    for filters in (8, 4):
        x = kl.LeakyReLU(0.2)(kl.BatchNormalization()(x))
        x = kl.Conv2DTranspose(filters, 4, 2, "same", use_bias=False)(x)
    return keras.Model(inputs, kl.Conv2D(1, 5, padding="same", activation="tanh")(x))


def gan_discriminator():
    x = inputs = image()
    for filters in (8, 12, 12):
        x = kl.LeakyReLU(0.2)(kl.Conv2D(filters, 4, 2, "same")(x))
    return keras.Model(inputs, kl.Dense(1, "sigmoid")(kl.Dropout(0.2)(kl.Flatten()(x))))


def conditional_generator():
    """Mirza and Osindero 2014: noise beside a class."""
    noise, label = keras.Input((8,), name="noise"), keras.Input((CLASSES,), name="class")
    x = kl.LeakyReLU(0.2)(kl.Dense(4 * 4 * 8)(kl.Concatenate()([noise, label])))
    x = kl.LeakyReLU(0.2)(kl.Conv2DTranspose(8, 4, 2, "same")(kl.Reshape((4, 4, 8))(x)))
    return keras.Model([noise, label], kl.Conv2D(1, 7, padding="same", activation="sigmoid")(x))


def style_generator():
    """Karras et al. 2018: styles scale and shift normalized features."""
    style, start = keras.Input((8,), name="style"), keras.Input((4, 4, 8), name="start")
    style_code = kl.Dense(8, "leaky_relu")(kl.Dense(8, "leaky_relu")(style))
    x = start
    for _ in range(2):
        x = kl.LeakyReLU(0.2)(kl.Conv2D(8, 3, padding="same")(kl.UpSampling2D()(x)))
        mean = ops.mean(x, axis=(1, 2), keepdims=True)
        spread = ops.sqrt(ops.var(x, axis=(1, 2), keepdims=True) + 1e-3)
        scale, shift = (kl.Reshape((1, 1, 8))(kl.Dense(8)(style_code)) for _ in range(2))
        x = (x - mean) / spread * (1 + scale) + shift
    return keras.Model([style, start], kl.Conv2D(3, 1)(x))


def image_translation():
    """Zhu et al. 2017: reflected padding, norms of single images, residuals."""

    def block(x, filters, kernel, stride=1, act=True):
        around = kernel // 2
        x = ops.pad(x, ((0, 0), (around, around), (around, around), (0, 0)), "reflect")
        x = kl.GroupNormalization(-1)(kl.Conv2D(filters, kernel, stride, use_bias=False)(x))
        return kl.ReLU()(x) if act else x

    inputs = image()
    x = block(block(inputs, 8, 7), 12, 3, 2)
    for _ in range(2):
        x = kl.Add()([x, block(block(x, 12, 3), 12, 3, act=False)])
    x = kl.Conv2DTranspose(8, 3, 2, "same", use_bias=False)(x)
    x = kl.ReLU()(kl.GroupNormalization(-1)(x))
    return keras.Model(inputs, kl.Conv2D(3, 7, padding="same", activation="tanh")(x))


def paired_translation():
    """Isola et al. 2016."""
    x = inputs = image()
    fine = []
    for filters in (8, 12, 16):
        x = kl.LeakyReLU(0.2)(kl.BatchNormalization()(kl.Conv2D(filters, 4, 2, "same")(x)))
        fine.append(x)
    for beside in (fine[1], fine[0]):
        x = kl.Conv2DTranspose(beside.shape[-1], 4, 2, "same", use_bias=False)(x)
        x = kl.Concatenate()([kl.ReLU()(kl.Dropout(0.5)(kl.BatchNormalization()(x))), beside])
    return keras.Model(inputs, kl.Conv2DTranspose(3, 4, 2, "same", activation="tanh")(x))


def patch_discriminator():
    """Whether patches of an image are real."""
    x = inputs = image()
    for filters, stride in ((8, 2), (12, 2), (12, 1)):
        x = kl.LeakyReLU(0.2)(kl.GroupNormalization(-1)(kl.Conv2D(filters, 4, stride, "same")(x)))
    return keras.Model(inputs, kl.Conv2D(1, 4, padding="same")(x))


@keras.saving.register_keras_serializable(package="zoo")
class Codebook(kl.Layer):
    """Gives the nearest of the vectors that it has learned."""

    def build(self, shape):
        self.codes = self.add_weight(shape=(shape[-1], 6), initializer="normal", name="codes")

    def call(self, x):
        near = ops.sum(self.codes**2, axis=0) - 2 * ops.matmul(x, self.codes)
        chosen = ops.one_hot(ops.argmin(near, axis=-1), 6)
        return ops.matmul(chosen, ops.transpose(self.codes))


def quantized_autoencoder():
    """van den Oord et al. 2017: codes from a book."""
    inputs = image(16, 1)
    x = kl.Conv2D(8, 3, 2, "same", activation="relu")(inputs)
    x = Codebook()(kl.Conv2D(4, 1)(x))
    x = kl.Conv2DTranspose(8, 3, 2, "same", activation="relu")(x)
    return keras.Model(inputs, kl.Conv2D(1, 3, padding="same")(x))


def diffusion():
    """Ho et al. 2020: a U-Net that knows how much noise there is."""
    inputs, level = image(8), keras.Input((8,), name="noise_level")
    time = kl.Dense(8, "silu")(level)
    x = first = kl.Conv2D(8, 1)(inputs)

    def block(x, filters):
        y = kl.Conv2D(filters, 3, padding="same")(ops.silu(kl.GroupNormalization(2)(x)))
        y = y + kl.Dense(filters)(time)[:, None, None, :]
        return residual(y, filters, act="silu")

    x = block(kl.AveragePooling2D(2)(x), 12)
    y = kl.Reshape((16, 12))(kl.GroupNormalization(2)(x))
    x = x + kl.Reshape((4, 4, 12))(kl.MultiHeadAttention(1, 12)(y, y))
    x = block(kl.Concatenate()([kl.UpSampling2D()(x), first]), 8)
    return keras.Model([inputs, level], kl.Conv2D(3, 1)(x))


def coupling_flow():
    """Dinh et al. 2016: half of the input scales and shifts the other half."""
    x = inputs = keras.Input((4,), name="point")
    for swap in (False, True):
        kept, moved = x[:, :2], x[:, 2:]
        scale = kl.Dense(2, "tanh")(kl.Dense(16, "relu")(kept))
        moved = moved * ops.exp(scale) + kl.Dense(2)(kl.Dense(16, "relu")(kept))
        x = ops.concatenate([moved, kept] if swap else [kept, moved], axis=-1)
    return keras.Model(inputs, x)


def style_transfer():
    """Huang and Belongie 2017: the statistics of one image given to another."""
    content, style = image(8), keras.Input((8, 8, 3), name="style")
    encoder = keras.Sequential(
        [keras.Input((8, 8, 3)), kl.Conv2D(8, 3, padding="same", activation="relu")]
    )
    x, y = encoder(content), encoder(style)
    means = [ops.mean(each, axis=(1, 2), keepdims=True) for each in (x, y)]
    spreads = [ops.std(each, axis=(1, 2), keepdims=True) + 1e-2 for each in (x, y)]
    x = spreads[1] * (x - means[0]) / spreads[0] + means[1]
    return keras.Model([content, style], kl.Conv2D(3, 3, padding="same", activation="sigmoid")(x))


def super_resolution_gan():
    """Ledig et al. 2016: the generator."""
    x = inputs = image(8)
    x = first = kl.PReLU(shared_axes=[1, 2])(kl.Conv2D(8, 5, padding="same")(x))
    for _ in range(2):
        y = kl.PReLU(shared_axes=[1, 2])(
            kl.BatchNormalization()(kl.Conv2D(8, 3, padding="same")(x))
        )
        x = kl.Add()([x, kl.BatchNormalization(momentum=0.5)(kl.Conv2D(8, 3, padding="same")(y))])
    x = kl.UpSampling2D()(kl.Add()([x, first]))
    return keras.Model(
        inputs, kl.Conv2D(3, 5, padding="same", activation="tanh")(kl.PReLU(shared_axes=[1, 2])(x))
    )


def points(count=16):
    """Return the input of a network on points."""
    return keras.Input((count, 3), name="points")


def point_net():
    """Qi et al. 2016, with the transformation that it learns."""
    inputs = points()
    x = kl.GlobalMaxPooling1D()(kl.ReLU()(kl.BatchNormalization()(kl.Conv1D(8, 1)(inputs))))
    turn = kl.Reshape((3, 3))(kl.Dense(9, kernel_initializer="zeros")(kl.Dense(8, "relu")(x)))
    x = kl.Dot((2, 1))([inputs, turn])
    for filters in (8, 16):
        x = kl.ReLU()(kl.BatchNormalization()(kl.Conv1D(filters, 1)(x)))
    x = kl.Dropout(0.3)(kl.Dense(8, "relu")(kl.GlobalMaxPooling1D()(x)))
    return keras.Model(inputs, kl.Dense(CLASSES, "softmax")(x))


def point_segmentation():
    """A class for each point, from it and the whole cloud."""
    inputs = points()
    x = kl.Conv1D(16, 1, activation="relu")(kl.Conv1D(8, 1, activation="relu")(inputs))
    whole = ops.tile(ops.max(x, axis=1, keepdims=True), (1, 16, 1))
    return keras.Model(inputs, kl.Conv1D(4, 1, activation="softmax")(kl.Concatenate()([x, whole])))


def deep_set():
    """Zaheer et al. 2017: a sum over a set."""
    inputs = points()
    x = ops.sum(kl.Dense(8)(kl.Dense(16, "tanh")(inputs)), axis=1)
    return keras.Model(inputs, kl.Dense(1)(kl.Dense(16, "relu")(x)))


def siamese():
    """Hadsell et al. 2006: the distance of two images."""
    left, right = image(16, 1), keras.Input((16, 16, 1), name="other")
    one = image(16, 1)
    x = kl.AveragePooling2D(2)(kl.Conv2D(4, 5, activation="tanh")(kl.BatchNormalization()(one)))
    tower = keras.Model(one, kl.Dense(8, "tanh")(kl.BatchNormalization()(kl.Flatten()(x))))
    squares = ops.sum(ops.square(tower(left) - tower(right)), axis=1, keepdims=True)
    distance = ops.sqrt(ops.maximum(squares, 1e-7))
    return keras.Model([left, right], kl.Dense(1, "sigmoid")(kl.BatchNormalization()(distance)))


def metric_embedding():
    """Images as vectors of length one."""
    inputs = image()
    x = kl.Dense(8)(kl.GlobalAveragePooling2D()(conv(conv(inputs, 8, stride=2), 12, stride=2)))
    return keras.Model(inputs, ops.normalize(x, axis=-1))


def contrastive():
    """Chen et al. 2020: an encoder and the head that is thrown away."""
    inputs = image()
    x = kl.Flatten()(
        kl.Conv2D(12, 3, 2, activation="relu")(kl.Conv2D(8, 3, 2, activation="relu")(inputs))
    )
    return keras.Model(inputs, kl.Dense(8)(kl.Dense(16, "relu")(x)))


def multiple_instances():
    """Ilse et al. 2018: attention weighs the images of a bag."""
    bag = [keras.Input((8, 8, 1), name=f"image_{index}") for index in range(3)]
    embed = keras.Sequential([kl.Flatten(), kl.Dense(16, "relu"), kl.Dense(8, "relu")])
    gate, value, score = kl.Dense(6, "sigmoid"), kl.Dense(6, "tanh"), kl.Dense(1, use_bias=False)
    embedded = [embed(each) for each in bag]
    weights = ops.softmax(ops.stack([score(value(e) * gate(e)) for e in embedded]), axis=0)
    parts = [kl.Multiply()([weights[i], e]) for i, e in enumerate(embedded)]
    return keras.Model(bag, kl.Dense(2, "softmax")(kl.Concatenate()(parts)))


def graph_convolutions():
    """Kipf and Welling 2016: neighbours of a fixed graph."""
    inputs = keras.Input((6, 4), name="nodes")
    ring = np.eye(6) + np.roll(np.eye(6), 1, 0) + np.roll(np.eye(6), -1, 0)
    x = inputs
    for units in (8, 8):
        x = ops.relu(ops.matmul((ring / 3).astype("float32"), kl.Dense(units)(x)))
    return keras.Model(inputs, head(x))


def graph_attention():
    """Velickovic et al. 2017: scores between nodes, where there is an edge."""
    inputs, edges = keras.Input((6, 4), name="nodes"), keras.Input((6, 6), name="edges")
    x = kl.Dense(8)(inputs)
    scores = kl.Dense(1)(x) + ops.transpose(kl.Dense(1)(x), (0, 2, 1))
    scores = ops.leaky_relu(scores, 0.2) + (1.0 - edges) * -1e4
    x = kl.ELU()(ops.matmul(ops.softmax(scores), x))
    return keras.Model([inputs, edges], head(x))


def q_network():
    """Mnih et al. 2015: what each action is worth, as a value and advantages."""
    x = inputs = image(16, 4)
    x = kl.Conv2D(8, 4, 2, activation="relu")(kl.Rescaling(1 / 255)(x))
    x = kl.Dense(16, "relu")(kl.Flatten()(kl.Conv2D(8, 3, 1, activation="relu")(x)))
    value, advantage = kl.Dense(1)(x), kl.Dense(4)(x)
    return keras.Model(inputs, value + advantage - ops.mean(advantage, axis=1, keepdims=True))


def actor_critic():
    """Probabilities of actions, and the worth of the state."""
    inputs = keras.Input((4,), name="state")
    x = kl.Dense(16, "relu")(inputs)
    return keras.Model(
        inputs, [kl.Dense(2, "softmax", name="action")(x), kl.Dense(1, name="worth")(x)]
    )


def continuous_actor():
    """Lillicrap et al. 2015: an action from a state, scaled."""
    inputs = keras.Input((3,), name="state")
    x = kl.Dense(16, "relu")(kl.Dense(16, "relu")(inputs))
    return keras.Model(inputs, kl.Dense(1, "tanh")(x) * 2.0)


def radiance_field():
    """Mildenhall et al. 2020: colour and density of encoded points."""
    x = inputs = keras.Input((24,), name="encoded")
    for index in range(4):
        x = kl.Dense(16, "relu")(x)
        if index == 1:
            x = kl.Concatenate()([x, inputs])
    colour, density = ops.sigmoid(kl.Dense(3)(x)), ops.relu(kl.Dense(1)(x))
    return keras.Model(inputs, kl.Concatenate()([colour, density]))


def memory_network():
    """Sukhbaatar et al. 2015: a story answers a question."""
    story, question = tokens(8, "story"), tokens(4, "question")
    asked = kl.Embedding(20, 8)(question)
    match = ops.softmax(kl.Dot((2, 2))([kl.Embedding(20, 8)(story), asked]), axis=1)
    response = kl.Permute((2, 1))(kl.Add()([match, kl.Embedding(20, 4)(story)]))
    answer = kl.LSTM(8)(kl.Concatenate()([response, asked]))
    return keras.Model([story, question], kl.Dense(20, "softmax")(answer))


def image_and_text():
    """Radford et al. 2021: an image and a text in one space."""
    picture, text = image(), tokens()
    left = kl.Dense(8)(kl.GlobalAveragePooling2D()(conv(picture, 8, stride=2)))
    right = kl.Dense(8)(kl.GlobalAveragePooling1D()(kl.Embedding(20, 8)(text)))
    both = [kl.UnitNormalization()(each) for each in (left, right)]
    return keras.Model([picture, text], kl.Dot(1)(both) * 5.0)


def several_tasks():
    """One body, three heads."""
    inputs = image()
    x = kl.GlobalAveragePooling2D()(residual(conv(inputs, 8), 8))
    outputs = {
        "age": kl.Dense(1, name="age")(x),
        "kind": kl.Dense(CLASSES, "softmax", name="kind")(x),
        "tags": kl.Dense(3, "sigmoid", name="tags")(x),
    }
    return keras.Model(inputs, outputs)
