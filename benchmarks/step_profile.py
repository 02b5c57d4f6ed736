"""Where the milliseconds of a training step go, by type of TensorFlow operation.

TensorFlow's profiler times each operation of a few steps. Operations run side by side on several
cores, so that their sum is more than the step takes; and what is not an operation is not seen.
The time of all cores together, which other work on the machine moves least, stands above.

    python benchmarks/step_profile.py --model MobileNetV3Small
    python benchmarks/step_profile.py --model ResNet50 --only "Keras 3, plain" "Keras 3, QAT"
"""

import argparse
import collections
import os
import pathlib
import re
import tempfile
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import tensorflow as tf
from contenders import CONTENDERS
from tensorflow.tsl.profiler.protobuf import xplane_pb2
from timed_models import MODELS
from training_cost import make_data

STEPS = 5
OPERATION = re.compile(r"[\w/.\-]+:([A-Z_]\w*)")


def profile(contender, build):
    """Return the milliseconds of a step, those of all cores, and of its operations.

    The last are {type: [milliseconds, number]}.
    """
    plain = build(keras)
    ((x, y),) = make_data(plain, 1)
    model, _ = contender.set_up(plain, 4 * STEPS)
    model.compile("sgd", "sparse_categorical_crossentropy", jit_compile=False)

    def train():
        for _ in range(STEPS):
            model.train_on_batch(x, y)

    train()  # traced and optimized
    start, start_of_cores = time.perf_counter(), time.process_time()
    train()
    step = 1e3 * (time.perf_counter() - start) / STEPS
    of_cores = 1e3 * (time.process_time() - start_of_cores) / STEPS
    with tempfile.TemporaryDirectory() as folder:
        with tf.profiler.experimental.Profile(folder):
            train()
        (file,) = pathlib.Path(folder).rglob("*.xplane.pb")
        return step, of_cores, operations(xplane_pb2.XSpace.FromString(file.read_bytes()))


def operations(space):
    """Sum up the events of operations, which are named `node:Type`, by type."""
    found = collections.defaultdict(lambda: [0.0, 0])
    for plane in space.planes:
        for event in (event for line in plane.lines for event in line.events):
            name = OPERATION.fullmatch(plane.event_metadata[event.metadata_id].name)
            if name:
                kind = name[1]
                found[kind][0] += event.duration_ps / 1e9 / STEPS
                found[kind][1] += 1 / STEPS
    return found


def show(profiles, most):
    """Print a line for each of the operations that take longest, a column for each contender."""
    names = list(profiles)
    print(f"{'':40}" + "".join(f"{name:>30}" for name in names))
    for row, label in enumerate(("step", "step, time of all cores")):
        print(f"{label:40}" + "".join(f"{profiles[name][row]:27.1f} ms" for name in names))
    tables = [table for *_, table in profiles.values()]
    longest = {kind: max(table[kind][0] for table in tables) for kind in set().union(*tables)}
    for kind in sorted(longest, key=longest.get, reverse=True)[:most]:
        cells = (table[kind] for table in tables)
        print(f"{kind:40}" + "".join(f"{ms:17.2f} ms of {count:6.0f}" for ms, count in cells))
    sums = [map(sum, zip(*table.values(), strict=True)) for table in tables]
    print(f"{'all':40}" + "".join(f"{ms:17.2f} ms of {count:6.0f}" for ms, count in sums))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", choices=MODELS, default="MobileNetV3Small")
    names = [name for name, contender in CONTENDERS.items() if contender.library is keras]
    default = ["Keras 3, plain", "Keras 3, accelerated", "Keras 3, QAT"]
    parser.add_argument("--only", nargs="+", choices=names, default=default)
    parser.add_argument("--most", type=int, default=25, help="how many operations are listed")
    options = parser.parse_args()
    build = MODELS[options.model]
    show({name: profile(CONTENDERS[name], build) for name in options.only}, options.most)


if __name__ == "__main__":
    main()
