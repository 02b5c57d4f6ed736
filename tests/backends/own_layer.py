"""A layer of a user's own, in a module that another process can import."""

import keras


@keras.saving.register_keras_serializable(package="tests")
class Cosine(keras.layers.Layer):
    """A layer that no integer kernel computes."""

    def call(self, inputs):
        return keras.ops.cos(inputs)
