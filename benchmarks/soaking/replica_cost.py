"""What techniques cost on two logical devices, beside what they cost on one.

    python replica_cost.py STEPS

Plain and compressed trainings, on one device and on two, take turns every few steps; ratios are
those of turns of one round, of the clock's seconds and of the processor's on all cores: two devices
of one processor leave fewer cores idle, and the clock shows that, too. Two devices train once with
a batch each, as large as that of the one device, and once with half of it: what is done to weights
is done on every device, and weighs more beside half a batch.
"""

import itertools
import json
import os
import pathlib
import sys

if __name__ == "__main__":  # in a process of its own: devices are set before TensorFlow starts
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.path[:0] = [str(pathlib.Path(__file__).resolve().parents[1])]

from soaking.processes import rows_of, table

BATCH, STEPS_AN_EPOCH = 32, 20
MOST = 0.05
CLOCK, PROCESSOR = "the clock", "the processor"
NAMES = {
    "pruning": "Keras 3, pruning",
    "quantization": "Keras 3, QAT",
    "clustering": "Keras 3, clustering",
    "distillation": "Keras 3, distillation",
}


def measure(sizes):
    """Return rows for each technique."""
    return rows_of(__file__, sizes.replica_steps)


def text(rows):
    """Return the figures as Markdown."""
    return table(
        [
            "training",
            "seconds of",
            "step against plain, one device",
            "two devices, a batch each",
            "more",
            "two devices, half a batch each",
            "more",
            "turns",
        ],
        [
            (
                row["technique"],
                row["seconds"],
                f"{row['one']:.3f}",
                *(
                    figure
                    for devices in ("two", "halves")
                    for figure in (f"{row[devices]:.3f}", f"{100 * more(row, devices):+.1f} %")
                ),
                row["turns"],
            )
            for row in rows
        ],
    )


def more(row, devices="two"):
    """Return by which part a step costs more on two devices than on one, both beside plain."""
    return row[devices] / row["one"] - 1


def failed(rows):
    """Return the rows that show a fault."""
    return [row for row in rows if more(row) > MOST]


def time_all(steps):
    """Train; return rows for each technique."""
    import keras
    import numpy as np
    import tensorflow as tf
    from contenders import CONTENDERS
    from ratios import compare
    from timed_models import CLASSES, resnet8
    from turns import STEPS_PER_TURN, batches, make_timer, take_turns

    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    two_devices = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    settings = {
        "one": (tf.distribute.get_strategy(), BATCH),
        "two": (two_devices, 2 * BATCH),
        "halves": (two_devices, BATCH),
    }
    generator = np.random.default_rng(0)
    x = generator.random((2 * BATCH * STEPS_AN_EPOCH, 32, 32, 3), dtype=np.float32)
    y = generator.integers(0, CLASSES, len(x))
    epochs, times = 1 + steps // STEPS_AN_EPOCH, {}

    def train(key, turns):
        devices, technique = key
        timer = make_timer(keras, turns, key)
        strategy, batch = settings[devices]
        examples = batch * STEPS_AN_EPOCH
        with strategy.scope():
            contender = CONTENDERS[NAMES.get(technique, "Keras 3, plain")]
            model, callbacks = contender.set_up(resnet8(keras), epochs * STEPS_AN_EPOCH)
            model.compile("sgd", "sparse_categorical_crossentropy", jit_compile=False)
        # Repeated, so that no iterator ends, see ``batches``: what feeds two devices tunes itself.
        data = batches(x[:examples], y[:examples], batch).repeat()
        model.fit(
            data,
            epochs=epochs,
            steps_per_epoch=STEPS_AN_EPOCH,
            verbose=0,
            callbacks=[*callbacks, timer],
            shuffle=False,
        )
        taken = {CLOCK: timer.times, PROCESSOR: timer.processor_times}
        for seconds, (first, *later) in taken.items():
            times[seconds, key] = {
                "first_epoch_s": [first],
                "step_s": [turn / STEPS_PER_TURN for turn in later],
            }

    keys = [(devices, name) for devices in settings for name in ("plain", *NAMES)]
    take_turns({key: lambda turns, key=key: train(key, turns) for key in keys})
    rows = []
    for technique, seconds in itertools.product(NAMES, (CLOCK, PROCESSOR)):
        ratios = {
            devices: compare(
                times[seconds, (devices, technique)], times[seconds, (devices, "plain")]
            )
            for devices in settings
        }
        rows.append(
            {
                "technique": technique,
                "seconds": seconds,
                **{devices: ratio["step"] for devices, ratio in ratios.items()},
                "turns": ratios["one"]["turns"],
                "quartiles": {
                    devices: ratio["step_quartiles"] for devices, ratio in ratios.items()
                },
            }
        )
    return rows


if __name__ == "__main__":
    for found in time_all(int(sys.argv[1])):
        print(json.dumps(found))
