"""The main job from end to end, through the public API, on photos of hand signs."""

import contextlib
import pathlib
import time
import warnings
from collections.abc import Iterator

import keras
import tensorflow as tf
from keras import layers as kl
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

import tfcompress as tfc
from exporters import export_tflite
from keras_callbacks import MagnitudePruning
from tfcompress.backends import jit_compile_on_cpu
from tfcompress.cli.report_command import files_table, remarks
from tfcompress.datasets import sign_digits
from tfcompress.extras import missing_extra
from tfcompress.interruption import raise_pending_interruption
from tfcompress.report import examine
from tfcompress.report.findings import Findings
from tfcompress.report.histories import Training
from tfcompress.report.rendering import write_data, write_report

BATCH = 64
TEACHER_EPOCHS, STUDENT_EPOCHS, COMPRESSION_EPOCHS = 15, 20, 34
FINAL_SPARSITY = 0.8
TEMPERATURE = 4.0


def convolution(x, filters, kernel=3, strides=1):
    """Convolution, normalization and ReLU6; depthwise when ``filters`` is None."""
    if filters is None:
        x = kl.DepthwiseConv2D(kernel, strides, "same", use_bias=False)(x)
    else:
        x = kl.Conv2D(filters, kernel, strides, "same", use_bias=False)(x)
    return kl.ReLU(6.0)(kl.BatchNormalization(momentum=0.9)(x))


def make_teacher(width: int = 24) -> keras.Model:
    """Build a residual network of 0.5 million weights for 64x64 RGB images."""
    inputs = keras.Input((64, 64, 3), name="image")
    x = convolution(inputs, width, strides=2)
    for filters in (2 * width, 4 * width, 6 * width):
        shortcut = x = convolution(x, filters, strides=2)
        x = kl.Add()([convolution(x, filters), shortcut])
    x = kl.Dropout(0.2)(kl.GlobalAveragePooling2D()(x))
    return keras.Model(inputs, kl.Dense(10, name="logits")(x), name="teacher")


def make_student(width: int = 28) -> keras.Model:
    """Build a depthwise-separable network of 0.1 million weights for 64x64 RGB images."""
    inputs = keras.Input((64, 64, 3), name="image")
    x = convolution(inputs, width, strides=2)
    for filters in (2 * width, 4 * width, 8 * width):
        x = convolution(convolution(x, None, strides=2), filters, kernel=1)
        x = convolution(convolution(x, None), filters, kernel=1)
    x = kl.Dropout(0.1)(kl.GlobalAveragePooling2D()(x))
    return keras.Model(inputs, kl.Dense(10, name="logits")(x), name="student")


def training_batches(photos, labels, seed: int) -> tf.data.Dataset:
    """Shuffle and augment photos that are scaled to [0, 1]."""
    layers = [
        kl.RandomFlip("horizontal", seed=seed),
        kl.RandomTranslation(0.1, 0.1, fill_mode="nearest", seed=seed + 1),
        kl.RandomRotation(0.08, fill_mode="nearest", seed=seed + 2),
        kl.RandomZoom(0.15, fill_mode="nearest", seed=seed + 3),
        kl.RandomBrightness(0.15, value_range=(0, 1), seed=seed + 4),
    ]

    def augment(images):
        for layer in layers:  # one by one: tf.data runs no models of other backends
            images = layer(images, training=True)
        return images

    examples = tf.data.Dataset.from_tensor_slices((photos, labels))
    return (
        examples.shuffle(len(photos), seed=seed)
        .batch(BATCH, drop_remainder=True)
        .map(lambda x, y: (augment(x), y), num_parallel_calls=2, deterministic=True)
        .prefetch(2)
    )


@contextlib.contextmanager
def _progress(console: Console, title: str, steps: int) -> Iterator[keras.callbacks.Callback]:
    """Yield a callback that shows a training: a bar on a terminal, else a line per epoch."""
    start = time.perf_counter()
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:3.0f} %"),
        TimeElapsedColumn(),
        TextColumn("{task.fields[metrics]}"),
        console=console,
        disable=not console.is_terminal,
    )
    task = bar.add_task(title, total=steps, metrics="")

    def on_batch(batch, logs):
        raise_pending_interruption()
        bar.advance(task)

    def on_epoch(epoch, logs):
        shown = f"val_accuracy {logs['val_accuracy']:.3f}"
        bar.update(task, metrics=shown)
        if bar.disable:
            done = f"{epoch + 1}/{callback.params['epochs']}"
            seconds = f"{time.perf_counter() - start:.0f} s"
            console.print(f"{title}: epoch {done}  {seconds}  {shown}", highlight=False)

    callback = keras.callbacks.LambdaCallback(on_epoch_end=on_epoch, on_train_batch_end=on_batch)
    with bar:
        yield callback


class _Session:
    """What the trainings of one quickstart share."""

    def __init__(self, console: Console, seed: int):
        (x_train, y_train), (x_test, y_test) = sign_digits.load_data()
        self.console = console
        self.test = (x_test.astype("float32") / 255, y_test)
        self.batches = training_batches(x_train.astype("float32") / 255, y_train, seed)
        self.steps = len(x_train) // BATCH
        self.trained: list[Training] = []

    def train(self, title, model, epochs, learning_rate, callbacks=()):
        decay = keras.optimizers.schedules.CosineDecay(learning_rate, epochs * self.steps)
        model.compile(
            keras.optimizers.AdamW(decay, weight_decay=1e-3),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            metrics=["accuracy"],
            jit_compile=jit_compile_on_cpu(),
        )
        start = time.perf_counter()
        with _progress(self.console, title, epochs * self.steps) as progress:
            history = model.fit(
                self.batches,
                epochs=epochs,
                validation_data=self.test,
                verbose=0,
                callbacks=[*callbacks, progress],
            )
        self.trained.append(
            Training(
                title,
                {name: [float(x) for x in values] for name, values in history.history.items()},
                model.count_params(),
                time.perf_counter() - start,
            )
        )


def compute_reproducibly() -> None:
    """Make TensorFlow give the same numbers for the same machine and seed, in this process."""
    tf.config.experimental.enable_op_determinism()


def quickstart(
    out: pathlib.Path, seed: int = 0, html: bool = False, progress: bool = True
) -> Findings:
    """Train, compress, export, check and measure; write both files and reports into a folder.

    The seed is of weights, the order of the photos and their augmentation; ``html`` needs the extra
    ``report``.
    """
    start = time.perf_counter()
    console = Console(quiet=not progress)
    keras.utils.set_random_seed(seed)
    # Keras warns that it leaves the shuffling to the dataset, which does it.
    warnings.filterwarnings("ignore", message="`shuffle=True` was passed")
    session = _Session(console, seed)
    console.print(
        f"{len(session.test[1])} of 2062 photos are held out; {session.steps} steps an epoch"
    )

    teacher, student = make_teacher(), make_student()
    session.train("teacher", teacher, TEACHER_EPOCHS, 4e-3)
    session.train("student", student, STUDENT_EPOCHS, 4e-3)
    settings = {"validation_data": session.test, "progress": progress}
    float_file = export_tflite(student, out / "model_float.tflite", "float32", **settings)

    quantized = tfc.quantize_aware(student)
    distiller = tfc.Distiller(quantized, teacher, losses=tfc.SoftLabels(temperature=TEMPERATURE))
    # The masks are complete after three fifths of the training; the rest is for recovery.
    pruning = MagnitudePruning(
        tfc.PolynomialDecay(
            initial_sparsity=0.0,
            final_sparsity=FINAL_SPARSITY,
            begin_step=0,
            end_step=session.steps * COMPRESSION_EPOCHS * 3 // 5,
            frequency=10,
        )
    )
    session.train("compressed student", distiller, COMPRESSION_EPOCHS, 3e-3, [pruning])
    int8_file = export_tflite(quantized, out / "model_int8.tflite", **settings)

    console.print("measuring both files")
    findings = examine(
        int8_file.path,
        model=quantized,
        baseline=float_file.path,
        data=session.test,
        history=session.trained,
        runs=200,
        command=f"tfcompress quickstart --out DIR --seed {seed}",
    )
    (write_report if html else write_data)(findings, out)
    console.print(files_table(findings))
    lines = [*remarks(findings), f"{time.perf_counter() - start:.0f} s in all"]
    written = ["model_float.tflite", "model_int8.tflite", "report.json", "report.md"]
    lines.append(f"{out}: {', '.join(written + ['report.html'] * html)}")
    if not html:
        lines.append(missing_extra("report.html", "report"))
    for line in lines:
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    return findings
