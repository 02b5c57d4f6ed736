"""Seeding TensorFlow in less time where nothing has drawn from its generator."""

import keras


def seed_lightly(patch):
    """Let ``tf.random.set_seed`` do nothing where that seed is set and nothing was drawn since.

    TensorFlow forgets all its kernels with each seed: the test that comes next makes them anew, for
    as long as it runs otherwise. The first seed is set in any case.
    """
    if keras.backend.backend() != "tensorflow":
        return
    import tensorflow as tf
    from tensorflow.python.eager import context

    def set_seed(seed):
        if not left or left != [seed, context.context()._rng.getstate()]:
            original(seed)
            left[:] = [seed, context.context()._rng.getstate()]

    original, left = tf.random.set_seed, []
    patch.setattr(tf.random, "set_seed", set_seed)
