"""Small networks that benchmarks train, built with a library: keras or tf_keras.

Normalizations have a momentum of 0.9: a short training needs statistics that follow soon.
"""


def normalized(library, x, activation="relu6"):
    """Append a BatchNormalization and its rectifier."""
    kl = library.layers
    x = kl.BatchNormalization(momentum=0.9)(x)
    return kl.ReLU(6.0)(x) if activation == "relu6" else kl.ReLU()(x)


def sign_net(library):
    """Return a depthwise-separable network with BatchNorm and ReLU6, of about 40,000 weights."""
    kl = library.layers
    inputs = library.Input((32, 32, 3))
    x = kl.Conv2D(16, 3, 1, padding="same", use_bias=False)(inputs)
    for channels, stride in ((32, 2), (64, 2), (64, 1), (128, 2), (128, 1)):
        x = normalized(library, x)
        x = kl.DepthwiseConv2D(3, stride, padding="same", use_bias=False)(x)
        x = normalized(library, x)
        x = kl.Conv2D(channels, 1, use_bias=False)(x)
    x = normalized(library, x)
    return library.Model(inputs, kl.Dense(10)(kl.GlobalAveragePooling2D()(x)))


def lenet(library):
    """Return LeNet-5 with rectifiers, of 61,706 weights."""
    kl = library.layers
    return library.Sequential(
        [
            kl.InputLayer((28, 28, 1)),
            kl.Conv2D(6, 5, padding="same", activation="relu"),
            kl.MaxPooling2D(),
            kl.Conv2D(16, 5, activation="relu"),
            kl.MaxPooling2D(),
            kl.Flatten(),
            kl.Dense(120, activation="relu"),
            kl.Dense(84, activation="relu"),
            kl.Dense(10),
        ]
    )


def larger_sign_net(library):
    """Return a depthwise-separable network of 40,202 weights for photos at 64x64."""
    kl = library.layers
    inputs = library.Input((64, 64, 3))
    x = normalized(library, kl.Conv2D(16, 3, 2, padding="same", use_bias=False)(inputs))
    for channels, stride in ((32, 2), (32, 1), (64, 2), (64, 1), (128, 2), (128, 1)):
        x = kl.DepthwiseConv2D(3, stride, padding="same", use_bias=False)(x)
        x = normalized(library, x)
        x = normalized(library, kl.Conv2D(channels, 1, use_bias=False)(x))
    return library.Model(inputs, kl.Dense(10)(kl.GlobalAveragePooling2D()(x)))


def residual_net(library):
    """Return a network of three residual blocks for photos at 32x32."""
    kl = library.layers

    def convolution(x, channels, kernel=3, stride=1):
        x = kl.Conv2D(channels, kernel, stride, padding="same", use_bias=False)(x)
        return kl.BatchNormalization(momentum=0.9)(x)

    inputs = library.Input((32, 32, 3))
    x = kl.ReLU()(convolution(inputs, 16))
    for channels, stride in ((16, 1), (32, 2), (64, 2)):
        branch = kl.ReLU()(convolution(x, channels, stride=stride))
        branch = convolution(branch, channels)
        shortcut = x if stride == 1 else convolution(x, channels, 1, stride)
        x = kl.ReLU()(kl.Add()([branch, shortcut]))
    return library.Model(inputs, kl.Dense(10)(kl.GlobalAveragePooling2D()(x)))


def perceptron(library):
    """Return a network of three fully connected layers for digits at 28x28."""
    kl = library.layers
    return library.Sequential(
        [
            kl.InputLayer((28, 28, 1)),
            kl.Flatten(),
            kl.Dense(128, activation="relu"),
            kl.Dense(64, activation="relu"),
            kl.Dense(10),
        ]
    )


def u_net(library):
    """Return a U-Net of two levels that puts each pixel at 32x32 into one of two classes."""
    return _u_net(library, lambda x, channels: library.layers.UpSampling2D()(x))


def transposed_u_net(library):
    """Return a U-Net whose resolution grows by transposed convolutions."""
    return _u_net(library, lambda x, channels: library.layers.Conv2DTranspose(channels, 2, 2)(x))


def _u_net(library, enlarged):
    """Return a U-Net, with a function that doubles the resolution."""
    kl = library.layers

    def block(x, channels):
        return normalized(
            library, kl.Conv2D(channels, 3, padding="same", use_bias=False)(x), "relu"
        )

    inputs = library.Input((32, 32, 3))
    first = block(inputs, 8)
    second = block(kl.MaxPooling2D()(first), 16)
    x = block(kl.MaxPooling2D()(second), 32)
    x = block(kl.Concatenate()([enlarged(x, 16), second]), 16)
    x = block(kl.Concatenate()([enlarged(x, 8), first]), 8)
    return library.Model(inputs, kl.Conv2D(2, 1)(x))


def transformer(library):
    """Return an encoder of one layer for spectrograms of 30 frames with 40 bands."""
    kl = library.layers
    inputs = library.Input((30, 40, 1))
    x = kl.Dense(32)(kl.Reshape((30, 40))(inputs))
    x = kl.LayerNormalization()(kl.Add()([x, kl.MultiHeadAttention(2, 16)(x, x)]))
    inner = kl.Dense(32)(kl.Dense(64, activation="relu")(x))
    x = kl.LayerNormalization()(kl.Add()([x, inner]))
    return library.Model(inputs, kl.Dense(10)(kl.GlobalAveragePooling1D()(x)))


def vision_transformer(library):
    """Return an encoder of two layers for the patches of a photo at 32x32."""
    kl = library.layers

    class Positions(kl.Layer):
        """Adds to each patch a vector of its place."""

        def build(self, input_shape):
            self.vectors = self.add_weight(
                shape=input_shape[1:], initializer="random_normal", name="vectors"
            )

        def call(self, inputs):
            return inputs + self.vectors

    inputs = library.Input((32, 32, 3))
    x = Positions()(kl.Reshape((64, 32))(kl.Conv2D(32, 4, 4)(inputs)))
    for _ in range(2):
        normal = kl.LayerNormalization()(x)
        x = kl.Add()([x, kl.MultiHeadAttention(2, 16)(normal, normal)])
        inner = kl.Dense(64, activation="gelu")(kl.LayerNormalization()(x))
        x = kl.Add()([x, kl.Dense(32)(inner)])
    x = kl.GlobalAveragePooling1D()(kl.LayerNormalization()(x))
    return library.Model(inputs, kl.Dense(10)(x))


def keyword_net(library):
    """Return a DS-CNN for spectrograms of 30 frames with 40 bands."""
    kl = library.layers
    inputs = library.Input((30, 40, 1))
    x = normalized(library, kl.Conv2D(16, 3, 2, padding="same", use_bias=False)(inputs), "relu")
    for channels, stride in ((32, 1), (48, 2)):
        x = kl.DepthwiseConv2D(3, stride, padding="same", use_bias=False)(x)
        x = normalized(library, x, "relu")
        x = normalized(library, kl.Conv2D(channels, 1, use_bias=False)(x), "relu")
    return library.Model(inputs, kl.Dense(10)(kl.GlobalAveragePooling2D()(x)))


def notebook_net(library):
    """Return the network of TFMOT's notebooks for MNIST, of 20,410 weights."""
    kl = library.layers
    return library.Sequential(
        [
            kl.InputLayer((28, 28)),
            kl.Reshape((28, 28, 1)),
            kl.Conv2D(12, 3, activation="relu"),
            kl.MaxPooling2D(),
            kl.Flatten(),
            kl.Dense(10),
        ]
    )
