"""Audio, time series, video and text."""

import keras
import numpy as np
from keras import layers as kl
from keras import ops

from zoo.blocks import (
    CLASSES,
    Positions,
    RelativeBias,
    TokensAndPositions,
    conv,
    conv1d,
    head,
    mlp,
    sinusoids,
    tokens,
    transformer,
)


def series(steps=16, features=4):
    """Return the input of a network on a series."""
    return keras.Input((steps, features), name="series")


def frames(count=4, size=8, channels=2):
    """Return the input of a network on a video."""
    return keras.Input((count, size, size, channels), name="video")


def speaker_network():
    """Residual convolutions along the spectrum of a voice."""
    x = inputs = series(16, 1)
    for filters in (8, 12):
        shortcut = kl.Conv1D(filters, 1, padding="same")(x)
        x = kl.Conv1D(filters, 3, padding="same", activation="relu")(x)
        x = kl.Conv1D(filters, 3, padding="same")(x)
        x = kl.MaxPooling1D(2, 2)(kl.Activation("relu")(kl.Add()([x, shortcut])))
    x = kl.Flatten()(kl.AveragePooling1D(3, 3)(x))
    return keras.Model(inputs, kl.Dense(CLASSES, "softmax")(kl.Dense(16, "relu")(x)))


def keyword_network():
    """Zhang et al. 2017: depthwise separable convolutions on a spectrogram."""
    inputs = keras.Input((20, 10, 1), name="spectrogram")
    x = conv(inputs, 8, (10, 4), 2)
    for _ in range(2):
        x = kl.ReLU()(kl.BatchNormalization()(kl.SeparableConv2D(8, 3, padding="same")(x)))
    return keras.Model(inputs, head(x))


def speech_ctc():
    """Amodei et al. 2015: convolutions, recurrence both ways, a character for each step."""
    inputs = keras.Input((12, 8), name="spectrogram")
    x = kl.Reshape((12, 8, 1))(inputs)
    for filters, kernel, strides in ((4, (5, 3), (2, 2)), (4, (3, 3), (1, 2))):
        x = conv(x, filters, kernel, strides)
    x = kl.Reshape((-1, x.shape[-2] * x.shape[-1]))(x)
    x = kl.Bidirectional(kl.GRU(6, return_sequences=True))(x)
    return keras.Model(inputs, kl.Dense(11, "softmax")(kl.Dropout(0.5)(kl.Dense(8, "relu")(x))))


def audio_transformer():
    """Convolutions that shorten a spectrogram, then attention."""
    inputs = keras.Input((32, 8), name="spectrogram")
    x = inputs
    for _ in range(3):
        x = kl.Conv1D(16, 5, 2, "same", activation="relu")(x)
    return keras.Model(inputs, kl.Dense(11)(transformer(x, first=False)))


def whisper_encoder():
    """Radford et al. 2022: the encoder."""
    inputs = keras.Input((16, 8), name="spectrogram")
    x = kl.Conv1D(16, 3, padding="same", activation="gelu")(inputs)
    x = kl.Conv1D(16, 3, 2, "same", activation="gelu")(x)
    x = transformer(transformer(x + sinusoids(8, 16), hidden=64), hidden=64)
    return keras.Model(inputs, kl.LayerNormalization()(x))


def wave_encoder():
    """Baevski et al. 2020: features of the wave, and places by convolution."""
    inputs = series(64, 1)
    x = kl.Activation("gelu")(
        kl.GroupNormalization(16)(kl.Conv1D(16, 8, 4, use_bias=False)(inputs))
    )
    x = kl.LayerNormalization()(kl.Conv1D(16, 3, 2, activation="gelu", use_bias=False)(x))
    x = x + kl.Conv1D(16, 4, padding="same", groups=4, activation="gelu")(x)
    return keras.Model(inputs, transformer(x))


def conformer():
    """Gulati et al. 2020: attention and convolution between two halves of a feedforward part."""
    inputs = series(12, 16)
    x = inputs + 0.5 * mlp(kl.LayerNormalization()(inputs), 32, act="silu")
    x = x + kl.MultiHeadAttention(2, 8)(kl.LayerNormalization()(x), x)
    left, right = ops.split(kl.Conv1D(32, 1)(kl.LayerNormalization()(x)), 2, axis=-1)
    y = kl.DepthwiseConv1D(5, padding="same")(left * ops.sigmoid(right))
    x = x + kl.Conv1D(16, 1)(ops.silu(kl.BatchNormalization()(y)))
    x = x + 0.5 * mlp(kl.LayerNormalization()(x), 32, act="silu")
    return keras.Model(inputs, kl.Dense(11)(kl.LayerNormalization()(x)))


def temporal_convolutions():
    """Bai et al. 2018: dilated causal convolutions."""
    x = inputs = series()
    for dilation in (1, 2, 4):
        y = kl.Conv1D(8, 3, padding="causal", dilation_rate=dilation, activation="relu")(x)
        y = kl.SpatialDropout1D(0.1)(y)
        y = kl.Conv1D(8, 3, padding="causal", dilation_rate=dilation, activation="relu")(y)
        x = kl.Activation("relu")(kl.Add()([kl.Conv1D(8, 1)(x), y]))
    return keras.Model(inputs, kl.Dense(1)(x[:, -1]))


def wavenet():
    """van den Oord et al. 2016: gates of tanh and sigmoid, skips that add up."""
    inputs = series()
    x, skips = kl.Conv1D(8, 2, padding="causal")(inputs), []
    for dilation in (1, 2, 4):
        gate = kl.Conv1D(8, 2, padding="causal", dilation_rate=dilation, activation="sigmoid")(x)
        y = kl.Conv1D(8, 2, padding="causal", dilation_rate=dilation, activation="tanh")(x) * gate
        skips.append(kl.Conv1D(8, 1)(y))
        x = x + kl.Conv1D(8, 1)(y)
    x = kl.Conv1D(8, 1, activation="relu")(kl.ReLU()(kl.Add()(skips)))
    return keras.Model(inputs, kl.Conv1D(8, 1, activation="softmax")(x))


def source_separation():
    """Luo and Mesgarani 2018: a mask for each source, over a learned basis."""
    inputs = series(64, 1)
    basis = kl.Conv1D(8, 4, 2, "same", activation="relu")(inputs)
    x = kl.Conv1D(6, 1)(kl.LayerNormalization()(basis))
    for dilation in (1, 2):
        h = kl.LayerNormalization(axis=[1, 2])(kl.PReLU(shared_axes=[1])(kl.Conv1D(8, 1)(x)))
        h = kl.Conv1D(8, 3, padding="same", dilation_rate=dilation, groups=8)(h)
        h = kl.LayerNormalization(axis=[1, 2])(kl.PReLU(shared_axes=[1])(h))
        x = x + kl.Conv1D(6, 1)(h)
    masks = ops.split(kl.Conv1D(16, 1, activation="sigmoid")(x), 2, axis=-1)
    decoder = kl.Conv1DTranspose(1, 4, 2, "same")
    return keras.Model(inputs, [decoder(basis * mask) for mask in masks])


def vocoder():
    """Kumar et al. 2019: a wave from a spectrogram."""
    inputs = series(8, 6)
    x = kl.Conv1D(8, 7, padding="same")(inputs)
    for filters in (8, 4):
        x = kl.Conv1DTranspose(filters, 4, 2, "same")(kl.LeakyReLU(0.2)(x))
        y = kl.Conv1D(filters, 3, padding="same", dilation_rate=3)(kl.LeakyReLU(0.2)(x))
        x = kl.Add()([x, kl.Conv1D(filters, 1)(kl.LeakyReLU(0.2)(y))])
    return keras.Model(inputs, kl.Conv1D(1, 7, padding="same", activation="tanh")(x))


def fully_convolutional_series():
    """Wang et al. 2016: three convolutions and an average."""
    x = inputs = series()
    for _ in range(3):
        x = conv1d(x, 8)
    return keras.Model(inputs, head(x, act="softmax"))


def series_transformer():
    """Attention on a short series, with convolutions as its feedforward part."""
    x = inputs = series()
    for _ in range(2):
        y = kl.MultiHeadAttention(2, 8, dropout=0.1)(x, x)
        x = kl.LayerNormalization(epsilon=1e-6)(kl.Dropout(0.1)(y)) + x
        y = kl.Conv1D(4, 1)(kl.Conv1D(8, 1, activation="relu")(x))
        x = kl.LayerNormalization(epsilon=1e-6)(y) + x
    x = kl.GlobalAveragePooling1D(data_format="channels_first")(x)
    return keras.Model(inputs, kl.Dense(CLASSES, "softmax")(kl.Dense(16, "relu")(x)))


def forecasting_lstm():
    x = inputs = series()
    x = kl.LSTM(8, return_sequences=True)(x)
    return keras.Model(inputs, kl.Dense(3)(kl.Dropout(0.2)(kl.LSTM(8)(x))))


def conv_lstm_series():
    """Convolutions before an LSTM, as forecasts of energy do."""
    inputs = series()
    x = kl.MaxPooling1D()(kl.Conv1D(8, 3, activation="relu")(inputs))
    return keras.Model(inputs, kl.Dense(1)(kl.Bidirectional(kl.LSTM(6))(x)))


def series_autoencoder():
    """Reconstruction finds what is unusual."""
    inputs = series(16, 1)
    x = kl.Conv1D(8, 7, 2, "same", activation="relu")(inputs)
    x = kl.Conv1D(4, 7, 2, "same", activation="relu")(kl.Dropout(0.2)(x))
    x = kl.Conv1DTranspose(4, 7, 2, "same", activation="relu")(x)
    x = kl.Conv1DTranspose(8, 7, 2, "same", activation="relu")(x)
    return keras.Model(inputs, kl.Conv1DTranspose(1, 7, padding="same")(x))


def decomposed_forecast():
    """Zeng et al. 2022: a moving average and the rest, each with its own linear layer."""
    inputs = series(16, 1)
    trend = kl.AveragePooling1D(5, 1, "same")(inputs)
    rest = inputs - trend
    parts = [kl.Dense(4)(kl.Flatten()(part)) for part in (trend, rest)]
    return keras.Model(inputs, kl.Add()(parts))


def patched_forecast():
    """Nie et al. 2022: each feature normalized by itself, its patches as tokens."""
    inputs = series(16, 3)
    mean = ops.mean(inputs, axis=1, keepdims=True)
    spread = ops.sqrt(ops.var(inputs, axis=1, keepdims=True) + 1e-5)
    x = kl.Permute((2, 1))((inputs - mean) / spread)
    x = kl.Dense(8)(kl.Reshape((3, 4, 4))(x))
    x = kl.LayerNormalization()(x + kl.MultiHeadAttention(2, 4, attention_axes=2)(x, x))
    x = kl.Permute((2, 1))(kl.Dense(4)(kl.Reshape((3, 32))(x)))
    return keras.Model(inputs, x * spread + mean)


def basis_forecast():
    """Oreshkin et al. 2019: blocks that subtract what they explain."""
    inputs = keras.Input((12,), name="past")
    rest, forecast = inputs, 0.0
    for _ in range(2):
        x = kl.Dense(16, "relu")(kl.Dense(16, "relu")(rest))
        rest = rest - kl.Dense(12, use_bias=False)(kl.Dense(4)(x))
        forecast = forecast + kl.Dense(4, use_bias=False)(kl.Dense(4)(x))
    return keras.Model(inputs, forecast)


def video_recurrent():
    """Features of each frame, then a GRU."""
    inputs = frames()
    small = keras.Sequential(
        [keras.Input((8, 8, 2)), kl.Conv2D(4, 3, activation="relu"), kl.GlobalAveragePooling2D()]
    )
    x = kl.GRU(6, return_sequences=True)(kl.TimeDistributed(small)(inputs))
    return keras.Model(inputs, kl.Dense(CLASSES, "softmax")(kl.Dropout(0.4)(kl.GRU(4)(x))))


def video_transformer():
    """Features of each frame, then attention between frames."""
    inputs = frames()
    x = kl.TimeDistributed(kl.Conv2D(8, 3, 2, activation="relu"))(inputs)
    x = kl.TimeDistributed(kl.GlobalMaxPooling2D())(x)
    x = transformer(Positions()(x), hidden=16)
    return keras.Model(inputs, kl.Dense(CLASSES)(kl.GlobalMaxPooling1D()(x)))


def next_frame():
    """Shi et al. 2015: ConvLSTM layers that predict frames."""
    inputs = frames(3, 6, 1)
    x = kl.ConvLSTM2D(3, 3, padding="same", return_sequences=True, activation="relu")(inputs)
    x = kl.ConvLSTM2D(3, 1, padding="same", return_sequences=True, activation="relu")(x)
    return keras.Model(inputs, kl.Conv3D(1, 3, padding="same", activation="sigmoid")(x))


def volumes():
    """Convolutions in space, as scans of lungs are classified."""
    x = inputs = keras.Input((8, 8, 8, 1), name="scan")
    for filters in (4, 6):
        x = kl.Conv3D(filters, 3, padding="same", activation="relu")(x)
        x = kl.BatchNormalization()(kl.MaxPooling3D(2)(x))
    x = kl.Dense(8, "relu")(kl.GlobalAveragePooling3D()(x))
    return keras.Model(inputs, kl.Dense(1, "sigmoid")(kl.Dropout(0.3)(x)))


def space_then_time():
    """Tran et al. 2017: convolutions in space, then in time, with residuals."""
    inputs = frames(4, 8, 2)

    def both(x):
        x = kl.Conv3D(4, (1, 3, 3), padding="same")(x)
        return kl.Conv3D(4, (3, 1, 1), padding="same")(x)

    x = kl.ReLU()(kl.BatchNormalization()(both(inputs)))
    y = kl.LayerNormalization()(both(kl.ReLU()(kl.LayerNormalization()(both(x)))))
    return keras.Model(inputs, head(kl.add([x, y])))


def vivit():
    """Arnab et al. 2021: tubes of a video as tokens."""
    inputs = frames(4, 8, 2)
    x = kl.Conv3D(16, (2, 4, 4), (2, 4, 4))(inputs)
    x = transformer(Positions()(kl.Reshape((-1, 16))(x)))
    return keras.Model(inputs, head(kl.LayerNormalization(epsilon=1e-6)(x)))


def text_cnn():
    """Kim 2014: filters of several widths."""
    inputs = tokens()
    x = kl.Embedding(20, 8)(inputs)
    found = [kl.GlobalMaxPooling1D()(kl.Conv1D(6, width, activation="relu")(x)) for width in (2, 3)]
    return keras.Model(inputs, kl.Dense(CLASSES)(kl.Dropout(0.5)(kl.Concatenate()(found))))


def text_bilstm():
    inputs = tokens()
    x = kl.Bidirectional(kl.LSTM(4, return_sequences=True))(kl.Embedding(20, 8)(inputs))
    return keras.Model(inputs, kl.Dense(1, "sigmoid")(kl.Bidirectional(kl.LSTM(4))(x)))


def text_average():
    """Joulin et al. 2016: the mean of embeddings."""
    inputs = tokens()
    x = kl.GlobalAveragePooling1D()(kl.Embedding(20, 8)(inputs))
    return keras.Model(inputs, kl.Dense(1, "sigmoid")(kl.Dropout(0.2)(kl.Dense(8, "relu")(x))))


def text_bigrams():
    """Tokens as many-hot vectors."""
    inputs = keras.Input((20,), name="counts")
    return keras.Model(
        inputs, kl.Dense(1, "sigmoid")(kl.Dropout(0.5)(kl.Dense(16, "relu")(inputs)))
    )


def text_transformer():
    """Vaswani et al. 2017: one encoder block on tokens."""
    inputs = tokens()
    x = transformer(TokensAndPositions()(inputs), first=False, act="relu")
    x = kl.Dropout(0.1)(kl.GlobalAveragePooling1D()(x))
    return keras.Model(inputs, kl.Dense(2, "softmax")(kl.Dense(16, "relu")(x)))


def switch_transformer():
    """Fedus et al. 2021, with a gate that weighs all experts."""
    inputs = tokens()
    x = TokensAndPositions()(inputs)
    x = kl.LayerNormalization()(x + kl.MultiHeadAttention(2, 8)(x, x))
    gates = kl.Dense(3, "softmax")(x)
    experts = ops.stack([mlp(x, 16, act="relu") for _ in range(3)], axis=2)
    x = kl.LayerNormalization()(x + ops.sum(experts * ops.expand_dims(gates, -1), axis=2))
    return keras.Model(inputs, head(x))


def gpt():
    """Radford et al. 2018: causal blocks, the next token for each place."""
    inputs = tokens()
    x = transformer(TokensAndPositions()(inputs), causal=True)
    x = kl.LayerNormalization()(transformer(x, causal=True))
    return keras.Model(inputs, kl.Dense(20)(x))


def llama():
    """Touvron et al. 2023: gated feedforward parts, RMS norms, grouped queries, rotary places."""
    inputs = tokens()
    x = kl.Embedding(20, 16)(inputs)
    h = kl.RMSNormalization()(x)
    angles = np.arange(12)[:, None] / 100.0 ** (np.arange(8) / 8)
    turned = ops.concatenate([-h[..., 8:], h[..., :8]], axis=-1)
    h = h * np.tile(np.cos(angles), 2).astype("float32")
    h = h + turned * np.tile(np.sin(angles), 2).astype("float32")
    x = x + kl.GroupQueryAttention(8, 2, 1)(h, h, use_causal_mask=True)
    h = kl.RMSNormalization()(x)
    x = x + kl.Dense(16)(kl.Dense(32, "silu")(h) * kl.Dense(32)(h))
    return keras.Model(inputs, kl.Dense(20, use_bias=False)(kl.RMSNormalization()(x)))


def relative_transformer():
    """Raffel et al. 2019: scores know distances, RMS norms, a gated feedforward part."""
    inputs = tokens()
    x = kl.Embedding(20, 16)(inputs)
    h = kl.RMSNormalization()(x)
    query, key, value = (
        ops.transpose(kl.Reshape((12, 2, 8))(kl.Dense(16, use_bias=False)(h)), (0, 2, 1, 3))
        for _ in range(3)
    )
    scores = RelativeBias()(ops.matmul(query, ops.transpose(key, (0, 1, 3, 2))))
    attended = ops.transpose(ops.matmul(ops.softmax(scores), value), (0, 2, 1, 3))
    x = x + kl.Dense(16, use_bias=False)(kl.Reshape((12, 16))(attended))
    h = kl.RMSNormalization()(x)
    x = x + kl.Dense(16, use_bias=False)(kl.Dense(32, "gelu")(h) * kl.Dense(32)(h))
    return keras.Model(inputs, kl.Dense(20)(kl.RMSNormalization()(x)))


def bert():
    """Devlin et al. 2018: masked tokens from both sides, with segments as a second input."""
    inputs, segments = tokens(), tokens(name="segments")
    x = TokensAndPositions()(inputs) + kl.Embedding(20, 16)(segments)
    x = transformer(kl.LayerNormalization()(x), first=False)
    return keras.Model(
        [inputs, segments], kl.Dense(20)(kl.LayerNormalization()(kl.Dense(16, "gelu")(x)))
    )


def shared_blocks():
    """Lan et al. 2019: one block, again and again, and a narrow table of tokens."""
    inputs = tokens()
    x = block_input = keras.Input((12, 16))
    block = keras.Model(block_input, transformer(x, first=False))
    x = kl.Dense(16)(TokensAndPositions(20, 8)(inputs))
    return keras.Model(inputs, head(block(block(x))))


def named_entities():
    """A class for each token."""
    inputs = tokens()
    x = kl.Dropout(0.1)(transformer(TokensAndPositions()(inputs)))
    return keras.Model(inputs, kl.Dense(CLASSES, "softmax")(kl.Dense(16, "relu")(x)))


def translation_lstm():
    """Sutskever et al. 2014: the states of one LSTM start the other."""
    source, target = series(8, 6), keras.Input((8, 6), name="target")
    _, *states = kl.LSTM(6, return_state=True)(source)
    x = kl.LSTM(6, return_sequences=True)(target, initial_state=states)
    return keras.Model([source, target], kl.Dense(6, "softmax")(x))


def translation_transformer():
    """Vaswani et al. 2017: encoder and decoder."""
    source, target = tokens(name="source"), tokens(name="target")
    memory = transformer(TokensAndPositions()(source), first=False, act="relu")
    x = transformer(TokensAndPositions()(target), causal=True, memory=memory, first=False)
    return keras.Model([source, target], kl.Dense(20)(x))


def translation_attention():
    """Bahdanau et al. 2014: additive attention between two recurrent networks."""
    source, target = tokens(8, "source"), tokens(8, "target")
    memory = kl.GRU(8, return_sequences=True)(kl.Embedding(20, 8)(source))
    query = kl.GRU(8, return_sequences=True)(kl.Embedding(20, 8)(target))
    context = kl.AdditiveAttention()([query, memory])
    return keras.Model([source, target], kl.Dense(20)(kl.Concatenate()([query, context])))


def hierarchical_attention():
    """Yang et al. 2016: words to sentences, sentences to a document."""
    inputs = keras.Input((3, 6), dtype="int32", name="words")

    def attended(x):
        weights = ops.softmax(kl.Dense(1)(kl.Dense(8, "tanh")(x)), axis=1)
        return ops.sum(x * weights, axis=1)

    words = keras.Input((6,), dtype="int32")
    x = kl.GRU(6, return_sequences=True)(kl.Embedding(20, 8)(words))
    sentence = keras.Model(words, attended(x))
    x = kl.GRU(6, return_sequences=True)(kl.TimeDistributed(sentence)(inputs))
    return keras.Model(inputs, kl.Dense(CLASSES)(attended(x)))


def characters():
    """Zhang et al. 2015: characters as one-hot vectors, read by convolutions."""
    inputs = tokens(16, "characters")
    x = ops.one_hot(inputs, 20)
    x = kl.MaxPooling1D(2)(kl.Conv1D(8, 5, activation="relu")(x))
    x = kl.Flatten()(kl.Conv1D(8, 3, activation="relu")(x))
    return keras.Model(inputs, kl.Dense(CLASSES)(kl.Dense(16, "relu")(x)))


def siamese_text():
    """Reimers and Gurevych 2019: the cosine of two sentences."""
    left, right = tokens(name="left"), tokens(name="right")
    words = keras.Input((12,), dtype="int32")
    x = kl.GlobalAveragePooling1D()(transformer(TokensAndPositions()(words)))
    encoder = keras.Model(words, kl.UnitNormalization()(x))
    return keras.Model([left, right], kl.Dot(1)([encoder(left), encoder(right)]))
