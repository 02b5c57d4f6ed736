"""The main job from end to end, through the public API, on photos of hand signs."""

import contextlib
import pathlib
import time
import warnings

import keras
import tensorflow as tf
from keras import layers as kl
from rich.console import Console

import tfcompress as tfc
from exporters import export_tflite
from keras_callbacks import MagnitudePruning
from tfcompress.cli.progress import TrainingProgress
from tfcompress.cli.summary import files_table, remarks
from tfcompress.datasets import sign_digits
from tfcompress.extras import missing_extra
from tfcompress.report import examine
from tfcompress.report.findings import Findings
from tfcompress.report.trainings import Training
from tfcompress.report.writing import write_data, write_report

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
    augment = keras.Sequential(
        [
            kl.RandomFlip("horizontal", seed=seed),
            kl.RandomTranslation(0.1, 0.1, fill_mode="nearest", seed=seed + 1),
            kl.RandomRotation(0.08, fill_mode="nearest", seed=seed + 2),
            kl.RandomZoom(0.15, fill_mode="nearest", seed=seed + 3),
            kl.RandomBrightness(0.15, value_range=(0, 1), seed=seed + 4),
        ]
    )
    examples = tf.data.Dataset.from_tensor_slices((photos, labels))
    return (
        examples.shuffle(len(photos), seed=seed)
        .batch(BATCH, drop_remainder=True)
        .map(lambda x, y: (augment(x, training=True), y), num_parallel_calls=2, deterministic=True)
        .prefetch(2)
    )


class _Run:
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
            jit_compile=False,  # several times slower on the CPU
        )
        start = time.perf_counter()
        with contextlib.closing(TrainingProgress(self.console, title)) as progress:
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


def quickstart(
    out: pathlib.Path, seed: int = 0, html: bool = False, progress: bool = True
) -> Findings:
    """Train, compress, export, check and measure; write the results into a folder.

    Args:
        out: an existing folder, for model_float.tflite, model_int8.tflite, report.json, report.md
            and report.html.
        seed: seeds the weights, the order of the photos and their augmentation.
        html: whether to write report.html, which needs the extra ``report``.
        progress: whether to show how far it has come, and what was found.

    Returns:
        What was measured.
    """
    start = time.perf_counter()
    console = Console(quiet=not progress)
    keras.utils.set_random_seed(seed)
    # Keras warns that it leaves the shuffling to the dataset, which does it.
    warnings.filterwarnings("ignore", message="`shuffle=True` was passed")
    run = _Run(console, seed)
    console.print(f"{len(run.test[1])} of 2062 photos are held out; {run.steps} steps an epoch")

    teacher, student = make_teacher(), make_student()
    run.train("teacher", teacher, TEACHER_EPOCHS, 4e-3)
    run.train("student", student, STUDENT_EPOCHS, 4e-3)
    float_file = export_tflite(
        student, out / "model_float.tflite", "float32", validation_data=run.test
    )

    quantized = tfc.quantize_aware(student)
    distiller = tfc.Distiller(quantized, teacher, losses=tfc.SoftLabels(temperature=TEMPERATURE))
    # The masks are complete after three fifths of the training; the rest is for recovery.
    pruning = MagnitudePruning(
        tfc.PolynomialDecay(
            initial_sparsity=0.0,
            final_sparsity=FINAL_SPARSITY,
            begin_step=0,
            end_step=run.steps * COMPRESSION_EPOCHS * 3 // 5,
            frequency=10,
        )
    )
    run.train("compressed student", distiller, COMPRESSION_EPOCHS, 3e-3, [pruning])
    int8_file = export_tflite(quantized, out / "model_int8.tflite", validation_data=run.test)

    console.print("measuring both files")
    findings = examine(
        int8_file.path,
        model=quantized,
        baseline=float_file.path,
        data=run.test,
        history=run.trained,
        runs=200,
        command=f"tfcompress quickstart --out DIR --seed {seed}",
    )
    (write_report if html else write_data)(findings, out)
    console.print(files_table(findings))
    for line in (*remarks(findings), f"{time.perf_counter() - start:.0f} s in all"):
        console.print(line, highlight=False, soft_wrap=True)
    written = ["model_float.tflite", "model_int8.tflite", "report.json", "report.md"]
    written += ["report.html"] if html else []
    console.print(f"{out}: {', '.join(written)}", highlight=False, soft_wrap=True)
    if not html:
        console.print(
            missing_extra("report.html", "report"), highlight=False, markup=False, soft_wrap=True
        )
    return findings
