"""What structure removal gives: exactness over architectures, accuracy on sign digits, latency.

- exactness: half the channels of each architecture are removed. The smaller model is compared with
  the original whose weights that read removed channels are zero: they have to compute the same.
- accuracy: a net trained on sign digits loses half and 70 % of its multiplications by several
  criteria; accuracy right after the removal, and after a fine-tuning that the untouched net gets
  as well.
- latency: MobileNet and the same with half of its multiplications; two small nets, trained on sign
  digits, and what is left of them when channels go until the file is fast enough. Float and int8
  files, in turns in one run.

Each finished row goes into a file of JSON lines, so that an interrupted run goes on.

    python benchmarks/structure.py exactness --json structure.jsonl
    python benchmarks/structure.py accuracy --seeds 5 --json structure.jsonl
    python benchmarks/structure.py latency --json structure.jsonl
    python benchmarks/structure.py table --json structure.jsonl --write docs/structure_table.md
"""

import argparse
import gc
import os
import pathlib
import tempfile
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from finished_rows import FinishedRows
from small_nets import residual_net, sign_net, u_net
from structure_table import tables
from training_data import SHARED, sign_digits

import tfcompress as tfc
from exporters import benchmark, export_tflite
from tfcompress.keras_graph.channels import read_channels
from tfcompress.pruning.channels.importance import CRITERIA
from tfcompress.pruning.channels.selection import ChannelSelection

KEYS = ("part", "model", "what", "seed")
EPOCHS, FINE_TUNING, BATCH = 25, 15, 32
WAYS = {
    "L1": {"criterion": "l1"},
    "L2": {"criterion": "l2"},
    "geometric median": {"criterion": "geometric_median"},
    "gamma": {"criterion": "gamma"},
    "Taylor": {"criterion": "taylor"},
    "random": {"criterion": "random"},
    "LASSO": {"criterion": "lasso"},
    "L1, reconstructed": {"criterion": "l1", "reconstruction": True},
    "LASSO, reconstructed": {"criterion": "lasso", "reconstruction": True},
}
TRAINED_ON = ("L1", "Taylor", "random", "LASSO, reconstructed")


def grouped_net():
    """Return a network like RegNetX: bottlenecks of grouped convolutions, at 224x224."""
    kl = keras.layers

    def convolution(x, channels, kernel, stride=1, groups=1):
        x = kl.Conv2D(channels, kernel, stride, "same", groups=groups, use_bias=False)(x)
        return kl.BatchNormalization()(x)

    inputs = keras.Input((224, 224, 3))
    x = kl.ReLU()(convolution(inputs, 32, 3, 2))
    for width, depth in ((24, 1), (56, 1), (152, 4), (368, 7)):
        for block in range(depth):
            stride = 2 if block == 0 else 1
            y = kl.ReLU()(convolution(x, width, 1))
            y = kl.ReLU()(convolution(y, width, 3, stride, groups=width // 8))
            y = convolution(y, width, 1)
            x = kl.ReLU()(kl.Add()([x if block else convolution(x, width, 1, 2), y]))
    return keras.Model(inputs, kl.Dense(1000)(kl.GlobalAveragePooling2D()(x)))


def application(name):
    def build():
        make = getattr(keras.applications, name)
        size = 299 if name in ("InceptionV3", "Xception") else 224
        return make(weights=None, classifier_activation=None, input_shape=(size, size, 3))

    return build


ARCHITECTURES = {
    **{
        name: application(name)
        for name in (
            "MobileNet", "MobileNetV2", "MobileNetV3Small", "MobileNetV3Large", "EfficientNetB0",
            "EfficientNetV2B0", "ResNet50", "ResNet50V2", "DenseNet121", "InceptionV3", "Xception",
            "VGG16",
        )
    },
    "like RegNetX": grouped_net,
    "U-Net": lambda: u_net(keras),
}  # fmt: skip


def fill(model, generator):
    """Give every variable random values: fresh normalizations and biases would hide mistakes."""
    for variable in model.weights:
        shape = tuple(variable.shape)
        if variable.name in ("gamma", "moving_variance", "variance"):
            variable.assign(generator.uniform(0.5, 1.5, shape))
        elif len(shape) == 1 or not shape:
            variable.assign(generator.normal(0.0, 0.1, shape))
        else:
            fan_in = max(np.prod(shape[:-1]), 1)
            draw = generator.standard_normal(shape, dtype=np.float32)
            variable.assign(draw * np.float32(1.4 / np.sqrt(fan_in)))


def silence(model, flow, removed):
    """Zero every weight of the model that makes or reads a removed channel."""
    kept = flow.kept(removed)
    for record in flow.records.values():
        for variable, axis, ids in record.slices:
            values = keras.ops.convert_to_numpy(variable).copy()
            np.moveaxis(values, axis, 0)[~kept[ids]] = 0.0
            variable.assign(values)


def exactness(rows):
    for name, build in ARCHITECTURES.items():
        key = {"part": "exactness", "model": name, "what": "half the channels", "seed": 0}
        if rows.find(**key):
            continue
        keras.backend.clear_session()
        gc.collect()
        generator = np.random.default_rng(0)
        model = build()
        fill(model, generator)
        start = time.perf_counter(), time.process_time()
        smaller = tfc.remove_channels(model, ratio=0.5)
        seconds = time.perf_counter() - start[0], time.process_time() - start[1]
        flow = read_channels(model)
        scores = CRITERIA["l1"](model, flow)
        removed = ChannelSelection(flow, flow.groups, scores).by_ratio(0.5)
        silence(model, flow, removed)
        x = generator.random((1, *model.input_shape[1:]), dtype=np.float32)
        if any(isinstance(layer, keras.layers.Rescaling) for layer in model.layers):
            x *= 255.0
        expected, found = (np.asarray(m(x, training=False)) for m in (model, smaller))
        row = rows.add(
            **key,
            seconds=seconds[0],
            processor_seconds=seconds[1],
            parameters=[model.count_params(), smaller.count_params()],
            macs=[flow.macs(), read_channels(smaller).macs()],
            difference=float(np.abs(expected - found).max() / np.abs(expected).max()),
            spread=float(expected.std() / np.abs(expected).max()),
        )
        print(row, flush=True)


def compiled(model, rate):
    model.compile(
        keras.optimizers.Adam(rate),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    return model


def fine_tuned(model, data, test, seed):
    keras.utils.set_random_seed(seed)
    steps = FINE_TUNING * -(-len(data[0]) // BATCH)
    compiled(model, keras.optimizers.schedules.CosineDecay(1e-3, steps))
    model.fit(*data, BATCH, FINE_TUNING, verbose=0)
    return model.evaluate(*test, verbose=0)[1]


def accuracy(rows, seeds, folder):
    data, test = sign_digits()
    removals = {f"{way} at {share:.0%}": (way, share) for share in (0.5, 0.3) for way in WAYS}
    for seed in range(seeds):
        key = {"part": "accuracy", "model": "residual net", "seed": seed}
        missing = [what for what in ("float", *removals) if not rows.find(**key, what=what)]
        if not missing:
            continue
        keras.backend.clear_session()
        keras.utils.set_random_seed(seed)
        path = pathlib.Path(folder) / f"float_{seed}.weights.h5"
        model = compiled(residual_net(keras), 1e-3)
        if path.exists():
            model.load_weights(path)
        else:
            model.fit(*data, BATCH, EPOCHS, verbose=0)
            model.save_weights(path)
        all_macs = read_channels(model).macs()
        for what in missing:
            if what == "float":
                net, trained = residual_net(keras), True
                net.set_weights(model.get_weights())
            else:
                way, share = removals[what]
                sample = data if way == "Taylor" else data[0][:400]
                net = tfc.remove_channels(model, target_macs=share, data=sample, **WAYS[way])
                trained = way in TRAINED_ON
            row = rows.add(
                **key,
                what=what,
                before=compiled(net, 1e-3).evaluate(*test, verbose=0)[1],
                after=fine_tuned(net, data, test, seed) if trained else None,
                share=read_channels(net).macs() / all_macs,
            )
            print(row, flush=True)


# Small nets pay for each operation beside its arithmetic: half of their multiplications is not half
# of their time. Their channels are chosen by seconds: of which numbers, and how much faster, with
# a margin over what is asked for.
NETS_BY_SECONDS = {"residual net": (residual_net, "int8"), "sign net": (sign_net, "float32")}
FASTER = 1.68


def files_of(net, sample, folder, label):
    """Export a net in floats and in integers; return the paths."""
    paths = []
    for numbers in ("float32", "int8"):
        paths.append(pathlib.Path(folder) / f"{label}_{numbers}.tflite")
        calibration = {"representative_data": sample} if numbers == "int8" else {}
        export_tflite(net, paths[-1], numbers, **calibration)
    return paths


def seconds_with(sample, numbers):
    """Return what measures the fastest run of a model's file."""

    def measure(model):
        with tempfile.TemporaryDirectory() as folder:
            files = files_of(model, sample, folder, "model")
            chosen = files[("float32", "int8").index(numbers)]
            return benchmark(chosen, runs=300).measurements[0].minimum

    return measure


def add_latency(rows, key, model, smaller, sample, runs, **more):
    """Time two nets in turns, and add the row."""
    with tempfile.TemporaryDirectory() as folder:
        nets = {"original": model, "smaller": smaller}
        files = [f for label, net in nets.items() for f in files_of(net, sample, folder, label)]
        result = benchmark(files, runs=runs)
    times = {pathlib.Path(m.file).stem: m.median for m in result.measurements}
    macs = [read_channels(net).macs() for net in (model, smaller)]
    print(rows.add(**key, macs=macs, medians=times, runtime=result.runtime, **more), flush=True)


def latency(rows, seeds):
    key = {"part": "latency", "model": "MobileNet", "what": "half of the MACs", "seed": 0}
    if not rows.find(**key):
        model = keras.applications.MobileNet(weights=None)
        smaller = tfc.remove_channels(model, target_macs=0.5, round_to=8)
        sample = np.random.default_rng(0).random((8, 224, 224, 3), dtype=np.float32)
        add_latency(rows, key, model, smaller, sample, 50)
    data, test = sign_digits()
    for name, (build, numbers) in NETS_BY_SECONDS.items():
        for seed in range(seeds):
            key = {"part": "latency", "model": name, "what": f"seconds, {numbers}", "seed": seed}
            if rows.find(**key):
                continue
            keras.backend.clear_session()
            keras.utils.set_random_seed(seed)
            model = compiled(build(keras), 1e-3)
            model.fit(*data, BATCH, EPOCHS, verbose=0)
            sample = data[0][:100]
            measure = seconds_with(sample, numbers)
            smaller = tfc.remove_channels(
                model,
                target_cost=(measure, measure(model) / FASTER),
                round_to=8,
                criterion="taylor",
                data=data,
            )
            accuracies = [fine_tuned(net, data, test, seed) for net in (smaller, model)]
            add_latency(rows, key, model, smaller, sample, 300, accuracies=accuracies[::-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("part", choices=("exactness", "accuracy", "latency", "table"))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--json", help="the file of finished rows")
    parser.add_argument("--folder", default=".", help="for the weights of the float nets")
    parser.add_argument("--write", help="where to write the tables, as Markdown")
    arguments = parser.parse_args()
    rows = FinishedRows(arguments.json, KEYS)
    if arguments.part == "exactness":
        exactness(rows)
    elif arguments.part in ("accuracy", "latency"):
        if not SHARED.is_dir():
            parser.error("needs the data sets in shared/data beside the project")
        if arguments.part == "accuracy":
            accuracy(rows, arguments.seeds, arguments.folder)
        else:
            latency(rows, arguments.seeds)
    text = tables(rows.rows)
    print(text)
    if arguments.write:
        pathlib.Path(arguments.write).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
