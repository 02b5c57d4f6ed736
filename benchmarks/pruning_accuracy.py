"""What pruning costs in accuracy and leaves in bytes, ours beside TFMOT's: int8 files, three nets.

For each seed a model is trained dense on Keras 3. Its weights are then the start of trainings at
each sparsity, with the same schedule, data, optimizer and number of epochs: MagnitudePruning as it
is by default, and with the same sparsity in every kernel, on Keras 3, and TFMOT on tf_keras, in
the same architecture. Each result is quantized to int8 after training. "ours, recipe" is what
`tfc.recipe` makes for as many epochs: its own optimizer, quantization-aware, taught by the dense
net, from zeros that `tfc.prune_weights` has set before. Reported are the accuracy of the file on
held-out data and its bytes after gzip, mean and deviation over the seeds, and the sparsity of the
kernels that both prune. Trainings as long without pruning, on each library, stand beside them.

"signs" varies its photos, in dense training and pruning alike, and its rate decays: the settings,
of five tried, at which the dense net did best on a fifth of the training photos held out. "cifar"
prunes MLPerf Tiny's ResNet-8 in three epochs, after four in which it learns these photos, once for
all seeds.

    python benchmarks/pruning_accuracy.py --only cifar --seeds 5 --json pruning_accuracy.json
    python benchmarks/pruning_accuracy.py --fast
"""

import argparse
import dataclasses
import importlib
import json
import os
import pathlib
import statistics
from collections.abc import Callable

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf
from finished_rows import FinishedRows
from peers import those_present
from quiet_converter import convert
from small_nets import lenet, sign_net
from timed_models import resnet8
from training_data import SHARED, cifar10, mnist, sign_digits

import tfcompress as tfc
from exporters.converting import convert_model
from exporters.report import gzip_size
from exporters.running.runtime import load
from keras_callbacks import MagnitudePruning
from tfcompress.pruning import PolynomialDecay
from tfcompress.tflite.editing import compact

SPARSITIES = (0.5, 0.75, 0.9)
FREQUENCY = 10
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


def our_file(task, model):
    converted = convert_model(model, "int8", representative_data=calibration(task))
    return compact(converted.flatbuffer)


def their_file(task, model):
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([image[None]] for image in calibration(task))
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    return convert(converter)


def kernel_sparsity(model):
    """Return the share of zeros in kernels that are not depthwise; those are (3, 3, n, 1)."""
    kernels = [w for w in model.get_weights() if w.ndim >= 2 and w.shape[3:] != (1,)]
    return sum(np.count_nonzero(k == 0) for k in kernels) / sum(k.size for k in kernels)


def trained_further(name, task, weights, sparsity, seed):
    """Train the dense model on a library, for as long as the others are pruned."""
    library = importlib.import_module(name)
    model = fit(library, task, started(library, task, weights), seed, task.epochs)
    return model, (our_file if library is keras else their_file)(task, model)


def pruned(task, weights, sparsity, seed, **arguments):
    schedule = PolynomialDecay(0.0, sparsity, 0, task.steps * 2 // 3, frequency=FREQUENCY)
    pruning = MagnitudePruning(schedule, **arguments)
    model = fit(keras, task, started(keras, task, weights), seed, task.epochs, [pruning])
    return model, our_file(task, model)


def pruned_uniformly(task, weights, sparsity, seed):
    return pruned(task, weights, sparsity, seed, sparsity_distribution="uniform")


def by_recipe(task, weights, sparsity, seed):
    """Prune, quantize and teach by `recipe`, from a net that `prune_weights` has made sparse."""
    dense = started(keras, task, weights)
    seen = task.data[0][:1024].astype("float32")
    model = tfc.prune_weights(dense, seen, min(sparsity, 0.8), max_examples=len(seen))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=task.logits)
    length = {"steps_per_epoch": task.steps_per_epoch, "epochs": task.epochs}
    made = tfc.recipe(model, **length, sparsity=sparsity, teacher=dense, loss=loss)
    keras.utils.set_random_seed(seed)
    made.model.compile(made.optimizer, loss, jit_compile=False)
    made.model.fit(task.batches(seed), epochs=made.epochs, verbose=0, callbacks=made.callbacks)
    return model, compact(convert_model(made.model).flatbuffer)


def pruned_by_tfmot(task, weights, sparsity, seed):
    import tensorflow_model_optimization as tfmot
    import tf_keras

    # Its updates fall on multiples of the frequency alone: the end must be one.
    end = task.steps * 2 // 3 // FREQUENCY * FREQUENCY
    schedule = tfmot.sparsity.keras.PolynomialDecay(0.0, sparsity, 0, end, frequency=FREQUENCY)
    model = started(tf_keras, task, weights)
    wrapped = tfmot.sparsity.keras.prune_low_magnitude(model, schedule)
    callbacks = [tfmot.sparsity.keras.UpdatePruningStep()]
    fit(tf_keras, task, wrapped, seed, task.epochs, callbacks)
    model = tfmot.sparsity.keras.strip_pruning(wrapped)
    return model, their_file(task, model)


PRUNING = {
    "ours": pruned,
    "ours, uniform": pruned_uniformly,
    "ours, recipe": by_recipe,
    "TFMOT": pruned_by_tfmot,
}
CONTROLS = {
    "Keras 3, dense": lambda *args: trained_further("keras", *args),
    "tf_keras, dense": lambda *args: trained_further("tf_keras", *args),
}
PEERS = {"TFMOT": "TFMOT", "tf_keras, dense": "TFMOT"}


def accuracy(content, test):
    """Return the accuracy of a file."""
    with load(content) as loaded:
        (scores,) = loaded.predict(test[0].astype("float32"))
    return float(np.mean(scores.argmax(-1) == test[1]))


def cases(present):
    """Return the (method, sparsity) of the methods that are present."""
    controls = [(method, 0.0) for method in CONTROLS]
    pruning = [(method, sparsity) for sparsity in SPARSITIES for method in PRUNING]
    return [case for case in controls + pruning if case[0] in present]


def dense_weights(task, seed, file):
    """Return the weights of the dense training that all others go on from, kept in a file."""
    if file is not None and file.exists():
        with np.load(file) as kept:
            return [kept[name] for name in kept.files]
    keras.backend.clear_session()
    keras.utils.set_random_seed(seed)
    dense = task.build(keras)
    if task.weights is not None:
        dense.set_weights(task.weights)
    weights = fit(keras, task, dense, seed, task.dense_epochs).get_weights()
    if file is not None:
        draft = file.with_name("draft_" + file.name)
        np.savez(draft, *weights)
        draft.replace(file)  # whole, also after an interruption
    return weights


def run_seed(name, task, present, seed, rows, kept):
    """Add a row for each case that has none yet."""
    key = {"data": task.name, "seed": seed, "epochs": task.epochs}
    missing = [
        (method, target)
        for method, target in cases(present)
        if rows.find(method=method, target=target, **key) is None
    ]
    if not missing:
        return
    start = seed if task.weights is None else 0
    file = kept and kept.with_name(f"{kept.name}.dense_{name}_{start}.npz")
    weights = dense_weights(task, start, file)
    for method, target in missing:
        model, content = (CONTROLS | PRUNING)[method](task, weights, target, seed)
        row = rows.add(
            method=method,
            target=target,
            accuracy=accuracy(content, task.test),
            gzip_bytes=gzip_size(content),
            sparsity=kernel_sparsity(model),
            **key,
        )
        print(row, flush=True)


def summarize(rows, tasks, present, seeds):
    """Print and return means and deviations over the seeds."""
    print(f"{'data':24}{'method':18}{'target':>8}{'sparsity':>10}{'accuracy':>10}{'bytes':>8}")
    summary = []
    for task in tasks:
        for method, target in cases(present):
            found = [
                rows.find(data=task.name, seed=s, epochs=task.epochs, method=method, target=target)
                for s in range(seeds)
            ]
            accuracies = [row["accuracy"] for row in found]
            row = {
                "data": task.name,
                "method": method,
                "target": target,
                "sparsity": statistics.mean(row["sparsity"] for row in found),
                "accuracy": statistics.mean(accuracies),
                "deviation": statistics.stdev(accuracies) if seeds > 1 else 0.0,
                "gzip_bytes": statistics.mean(row["gzip_bytes"] for row in found),
                "seeds": accuracies,
            }
            summary.append(row)
            print(
                f"{task.name:24}{method:18}{target:8.0%}{row['sparsity']:10.2%}"
                f"{row['accuracy']:10.2%} ± {row['deviation']:.2%}{row['gzip_bytes']:10,.0f}"
            )
    return summary


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
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, help="5 by default, 2 when fast")
    parser.add_argument("--fast", action="store_true", help="fewer seeds, shorter trainings")
    parser.add_argument("--only", choices=TASKS, help="one data set alone")
    parser.add_argument("--data", type=pathlib.Path, default=SHARED, help="folder of the data sets")
    parser.add_argument(
        "--rows",
        type=pathlib.Path,
        help="file of finished work, to go on from after an interruption; dense starts lie beside",
    )
    parser.add_argument("--json", help="where to write the figures")
    arguments = parser.parse_args()
    # The dense start of a seed is the same when the work goes on after an interruption.
    tf.config.experimental.enable_op_determinism()
    seeds = arguments.seeds or (2 if arguments.fast else 5)
    try:
        chosen = {
            name: make(arguments.data, arguments.fast)
            for name, make in TASKS.items()
            if arguments.only in (None, name)
        }
    except FileNotFoundError as missing:
        parser.error(f"--data needs the data sets, shared/data beside the project: {missing}")
    rows = FinishedRows(arguments.rows, ("data", "seed", "epochs", "method", "target"))
    present, left_out = those_present([*CONTROLS, *PRUNING], PEERS)
    for seed in range(seeds):
        for name, task in chosen.items():
            run_seed(name, task, present, seed, rows, arguments.rows)
    summary = summarize(rows, chosen.values(), present, seeds)
    summary += [{"method": method, "left_out": reason} for method, reason in left_out.items()]
    if arguments.json:
        with open(arguments.json, "w", encoding="utf-8") as file:
            json.dump(summary, file, indent=2)


if __name__ == "__main__":
    main()
