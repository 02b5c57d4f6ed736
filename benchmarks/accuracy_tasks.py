"""Data sets, networks for them and how long they are trained: what accuracies are measured on."""

import dataclasses
import os
from collections.abc import Callable

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf
from quiet_converter import convert
from small_nets import keyword_net, lenet, sign_net
from timed_models import resnet8
from training_data import cifar10, mnist, sign_digits, spoken_digits

from exporters.converting import convert_model
from exporters.running.runtime import load
from tfcompress.tflite.editing import compact

CALIBRATION = 200


@dataclasses.dataclass(frozen=True, eq=False)
class Task:
    """A data set, a network for it, and how long it is trained.

    Attributes:
        name: of both.
        build: makes the network with a library.
        data: training images and labels.
        test: those that accuracy is measured on.
        batch: examples of a step.
        dense_epochs: of the training before.
        epochs: of the training that prunes.
        rate: the learning rate; where it ``decays``, along a cosine.
        weights: of the network before the dense training, which is then the same for all seeds;
            None for random ones.
        vary: takes a batch of images and a generator, and returns what is trained on.
        logits: whether the network ends with logits.
    """

    name: str
    build: Callable
    data: tuple
    test: tuple
    batch: int
    dense_epochs: int
    epochs: int
    rate: float = 1e-3
    decays: bool = False
    weights: list | None = None
    vary: Callable = lambda images, generator: images
    logits: bool = True

    @property
    def steps(self):
        """The steps of the training that prunes."""
        return self.epochs * self.steps_per_epoch

    @property
    def steps_per_epoch(self):
        return -(-len(self.data[0]) // self.batch)

    def batches(self, seed):
        """Return a dataset whose every epoch has an order, and variations, of its own."""
        x, y = self.data
        generator = np.random.default_rng(seed)

        def epoch():
            order = generator.permutation(len(x))
            for start in range(0, len(x), self.batch):
                chosen = order[start : start + self.batch]
                yield self.vary(x[chosen], generator).astype("float32"), y[chosen]

        shapes = tf.TensorSpec((None, *x.shape[1:])), tf.TensorSpec((None,), y.dtype)
        batches = tf.data.Dataset.from_generator(epoch, output_signature=shapes)
        return batches.apply(tf.data.experimental.assert_cardinality(self.steps_per_epoch))


def fit(library, task, model, seed, epochs, callbacks=()):
    """Train a model of a library."""
    library.utils.set_random_seed(seed)
    rate = task.rate
    if task.decays:
        rate = library.optimizers.schedules.CosineDecay(rate, epochs * task.steps_per_epoch)
    model.compile(
        library.optimizers.Adam(rate),
        library.losses.SparseCategoricalCrossentropy(from_logits=task.logits),
    )
    model.fit(task.batches(seed), epochs=epochs, verbose=0, callbacks=list(callbacks))
    return model


def started(library, task, weights):
    model = task.build(library)
    model.set_weights(weights)
    return model


def calibration(task):
    return task.data[0][:CALIBRATION].astype("float32")


def our_file(task, model, quantization="int8"):
    converted = convert_model(model, quantization, representative_data=calibration(task))
    return compact(converted.flatbuffer)


def their_file(task, model):
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([image[None]] for image in calibration(task))
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    return convert(converter)


def accuracy(content, test):
    """Return the accuracy of a file."""
    with load(content) as loaded:
        (scores,) = loaded.predict(test[0].astype("float32"))
    return float(np.mean(scores.argmax(-1) == test[1]))


def dense_weights(task, seed, file):
    """Return the weights of the dense training that all others go on from, kept in a file."""

    def train():
        keras.backend.clear_session()
        keras.utils.set_random_seed(seed)
        dense = task.build(keras)
        if task.weights is not None:
            dense.set_weights(task.weights)
        return fit(keras, task, dense, seed, task.dense_epochs).get_weights()

    return kept_weights(file, train)


def kept_weights(file, train):
    """Return the weights that a file holds, or that a training gives and the file then holds."""
    if file is not None and file.exists():
        with np.load(file) as kept:
            return [kept[name] for name in kept.files]
    weights = train()
    if file is not None:
        draft = file.with_name("draft_" + file.name)
        np.savez(draft, *weights)
        draft.replace(file)  # whole, also after an interruption
    return weights


def flipped_and_shifted(images, generator):
    """Return photos, half of them mirrored, each moved by up to four pixels."""
    padded = np.pad(images, ((0, 0), (4, 4), (4, 4), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, images.shape[1:3], (1, 2))
    rows, columns = generator.integers(0, 9, (2, len(images)))
    moved = windows[np.arange(len(images)), rows, columns].transpose(0, 2, 3, 1)
    mirrored = generator.random(len(images)) < 0.5
    return np.where(mirrored[:, None, None, None], moved[:, :, ::-1], moved)


def mlperf_weights(path):
    """Return the weights of MLPerf Tiny's ResNet-8, whose layers come in another order."""
    theirs = [layer.get_weights() for layer in keras.saving.load_model(path).layers]
    ours = resnet8(keras)
    for layer in ours.layers:
        shapes = [tuple(w.shape) for w in layer.weights]
        index = next(i for i, found in enumerate(theirs) if [w.shape for w in found] == shapes)
        layer.set_weights(theirs.pop(index))
    return ours.get_weights()


def cifar_task(data, fast):
    (x, y), test = cifar10(data)
    if fast:
        x, y, test = x[:4000], y[:4000], (test[0][:1000], test[1][:1000])
    return Task(
        "CIFAR-10, ResNet-8",
        resnet8,
        (x, y),
        test,
        batch=64,
        dense_epochs=1 if fast else 4,
        epochs=3,
        rate=5e-4,
        decays=True,
        weights=mlperf_weights(data.parent / "models" / "mlperf_tiny" / "ic01_resnet8.keras"),
        vary=flipped_and_shifted,
        logits=False,
    )


TASKS = {
    "mnist": lambda data, fast: Task(
        "MNIST, LeNet",
        lenet,
        *mnist(5000 if fast else 20000, data),
        *((64, 3, 4) if fast else (128, 5, 5)),
    ),
    "signs": lambda data, fast: Task(
        "sign digits, sign net",
        sign_net,
        *sign_digits(data),
        32,
        *((8, 6) if fast else (30, 12)),
        rate=4e-3,
        decays=True,
        vary=flipped_and_shifted,
    ),
    "cifar": cifar_task,
    "spoken": lambda data, fast: Task(
        "spoken digits, DS-CNN",
        keyword_net,
        *spoken_digits(data),
        32,
        *((8, 4) if fast else (40, 12)),
        rate=4e-3,
        decays=True,
    ),
}


def make_tasks(names, data, fast):
    """Return {name: task} of data sets in a folder."""
    return {name: TASKS[name](data, fast) for name in names}
