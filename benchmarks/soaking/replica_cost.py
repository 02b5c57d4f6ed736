"""What techniques cost on two logical devices, beside what they cost on one.

    python replica_cost.py STEPS

Plain and compressed trainings, on one device and on two, take turns every few steps; ratios are
those of turns of one round.
"""

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
NAMES = {
    "pruning": "Keras 3, pruning",
    "quantization": "Keras 3, QAT",
    "clustering": "Keras 3, clustering",
    "distillation": "Keras 3, distillation",
}


def measure(sizes):
    """Return a row for each technique."""
    return rows_of(__file__, sizes.replica_steps)


def text(rows):
    """Return the figures as Markdown."""
    return table(
        ["training", "step against plain, one device", "two devices", "more", "turns"],
        [
            (
                row["technique"],
                f"{row['one']:.3f}",
                f"{row['two']:.3f}",
                f"{100 * row['more']:+.1f} %",
                row["turns"],
            )
            for row in rows
        ],
    )


def failed(rows):
    """Return the rows that show a fault."""
    return [row for row in rows if row["more"] > MOST]


def time_all(steps):
    """Train; return a row for each technique."""
    import keras
    import numpy as np
    import tensorflow as tf
    from contenders import CONTENDERS
    from ratios import compare
    from timed_models import CLASSES, resnet8
    from turns import STEPS_PER_TURN, make_timer, take_turns

    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    strategies = {
        "one": tf.distribute.get_strategy(),
        "two": tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]),
    }
    generator = np.random.default_rng(0)
    x = generator.random((BATCH * STEPS_AN_EPOCH, 32, 32, 3), dtype=np.float32)
    y = generator.integers(0, CLASSES, len(x))
    epochs, times = 1 + steps // STEPS_AN_EPOCH, {}

    def train(key, turns):
        devices, technique = key
        timer = make_timer(keras, turns, key)
        with strategies[devices].scope():
            contender = CONTENDERS[NAMES.get(technique, "Keras 3, plain")]
            model, callbacks = contender.set_up(resnet8(keras), epochs * STEPS_AN_EPOCH)
            model.compile("sgd", "sparse_categorical_crossentropy", jit_compile=False)
        model.fit(x, y, BATCH, epochs, verbose=0, callbacks=[*callbacks, timer])
        first, *later = timer.times
        times[key] = {"first_epoch_s": [first], "step_s": [t / STEPS_PER_TURN for t in later]}

    keys = [(devices, name) for devices in strategies for name in ("plain", *NAMES)]
    take_turns({key: lambda turns, key=key: train(key, turns) for key in keys})
    rows = []
    for technique in NAMES:
        ratios = {
            devices: compare(times[devices, technique], times[devices, "plain"])
            for devices in strategies
        }
        one, two = (ratios[devices]["step"] for devices in strategies)
        quartiles = {devices: ratios[devices]["step_quartiles"] for devices in strategies}
        turns = ratios["one"]["turns"]
        row = {"technique": technique, "one": one, "two": two, "more": two / one - 1}
        rows.append({**row, "turns": turns, "quartiles": quartiles})
    return rows


if __name__ == "__main__":
    for found in time_all(int(sys.argv[1])):
        print(json.dumps(found))
