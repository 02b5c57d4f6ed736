"""The models whose training is timed, built with a library: keras or tf_keras.

Each has ten classes and softmax outputs, as all its libraries and peers can train it.
"""

CLASSES = 10


def mobilenet_v2(library):
    """Return MobileNetV2-0.35 for photos at 96x96."""
    return library.applications.MobileNetV2((96, 96, 3), alpha=0.35, weights=None, classes=CLASSES)


def mobilenet_v3(library):
    """Return MobileNetV3Small for photos at 96x96."""
    return library.applications.MobileNetV3Small((96, 96, 3), weights=None, classes=CLASSES)


def resnet50(library):
    """Return ResNet50 for photos at 64x64."""
    return library.applications.ResNet50(input_shape=(64, 64, 3), weights=None, classes=CLASSES)


def efficientnet_b0(library):
    """Return EfficientNetB0 for photos at 96x96."""
    return library.applications.EfficientNetB0(
        input_shape=(96, 96, 3), weights=None, classes=CLASSES
    )


def resnet8(library):
    """Return the ResNet-8 of MLPerf Tiny for photos at 32x32, of 78,666 weights."""
    kl = library.layers

    def convolution(x, channels, kernel=3, stride=1):
        return kl.Conv2D(channels, kernel, stride, padding="same")(x)

    inputs = library.Input((32, 32, 3))
    x = kl.ReLU()(kl.BatchNormalization()(convolution(inputs, 16)))
    for channels, stride in ((16, 1), (32, 2), (64, 2)):
        branch = kl.ReLU()(kl.BatchNormalization()(convolution(x, channels, stride=stride)))
        branch = kl.BatchNormalization()(convolution(branch, channels))
        shortcut = x if stride == 1 else convolution(x, channels, 1, stride)
        x = kl.ReLU()(kl.Add()([shortcut, branch]))
    x = kl.Flatten()(kl.AveragePooling2D(8)(x))
    return library.Model(inputs, kl.Dense(CLASSES, activation="softmax")(x))


def ds_cnn(library):
    """Return the DS-CNN of MLPerf Tiny for 49 frames of 10 cepstral coefficients."""
    kl = library.layers

    def rectified(x):
        return kl.ReLU()(kl.BatchNormalization()(x))

    inputs = library.Input((49, 10, 1))
    x = kl.Dropout(0.2)(rectified(kl.Conv2D(64, (10, 4), 2, padding="same")(inputs)))
    for _ in range(4):
        x = rectified(kl.DepthwiseConv2D(3, padding="same")(x))
        x = rectified(kl.Conv2D(64, 1, padding="same")(x))
    x = kl.Flatten()(kl.AveragePooling2D((25, 5))(kl.Dropout(0.4)(x)))
    return library.Model(inputs, kl.Dense(CLASSES, activation="softmax")(x))


MODELS = {
    "MobileNetV2-0.35": mobilenet_v2,
    "ResNet-8": resnet8,
    "DS-CNN": ds_cnn,
    "MobileNetV3Small": mobilenet_v3,
    "ResNet50": resnet50,
    "EfficientNetB0": efficientnet_b0,
}
