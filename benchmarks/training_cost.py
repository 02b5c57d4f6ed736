"""What each technique costs while training, beside plain trainings and TFMOT's, in turns.

Trainings of the same length take turns every few steps, each round with fresh models. Timed are the
set-up, the first epoch (tracing included), each turn of later steps and the export to .tflite; the
peak memory is that of a process of its own which trains a few steps. Whatever a peer cannot train
is left out with the reason that it gives.

    python benchmarks/training_cost.py --model MobileNetV2-0.35 --json cost.json
    python benchmarks/training_cost.py --model ResNet-8 --fast
    python benchmarks/training_cost.py --only "Keras 3, plain" "Keras 3, pruning"
"""

import argparse
import dataclasses
import functools
import json
import os
import pathlib
import subprocess
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from contenders import CONTENDERS, NO_PEERS, RIVALS
from ratios import compare
from timed_models import CLASSES, MODELS
from turns import STEPS_PER_TURN, batches, make_timer, take_turns

from exporters.running.child import peak_memory
from tfcompress.keras_graph.kernels import find_kernels

BATCH = 32
STEPS_FOR_MEMORY = 4


def make_data(model, steps):
    """Make batches of random inputs and labels for an epoch of that many steps."""
    rng = np.random.default_rng(0)
    x = rng.random((BATCH * steps, *model.input_shape[1:]), dtype=np.float32)
    return batches(x, rng.integers(0, CLASSES, len(x)), BATCH)


def timed(work):
    start = time.perf_counter()
    value = work()
    return time.perf_counter() - start, value


def train(contender, build, data, epochs, timers=()):
    """Set a model up and train it.

    Returns:
        The seconds of the set-up, and the trained model.
    """
    plain = build(contender.library)
    seconds, (model, callbacks) = timed(lambda: contender.set_up(plain, epochs * len(data)))
    model.compile("sgd", "sparse_categorical_crossentropy")
    callbacks = [*callbacks, *timers]
    model.fit(data, epochs=epochs, verbose=0, callbacks=callbacks, shuffle=False)
    return seconds, model


@dataclasses.dataclass(frozen=True)
class Times:
    """Seconds of a contender: of each round, and of the steps of each turn."""

    set_up_s: list[float] = dataclasses.field(default_factory=list)
    first_epoch_s: list[float] = dataclasses.field(default_factory=list)
    step_s: list[float] = dataclasses.field(default_factory=list)
    export_s: list[float] = dataclasses.field(default_factory=list)


def take_part(name, build, data, epochs, times, turns):
    """Train, in turns, and export; add the seconds to the times."""
    contender = CONTENDERS[name]
    timer = make_timer(contender.library, turns, name)
    set_up, model = train(contender, build, data, epochs, [timer])
    export, _ = timed(lambda: contender.export(model))
    first_epoch, *later = timer.times
    times.set_up_s.append(set_up)
    times.first_epoch_s.append(first_epoch)
    times.step_s.extend(turn / STEPS_PER_TURN for turn in later)
    times.export_s.append(export)
    print(f"{name}: set up in {set_up:.2f} s, exported in {export:.2f} s", flush=True)


def run_round(names, build, data, epochs, times):
    """Train contenders once, with fresh models.

    A peer may refuse a model with any exception; what it says is the reason to leave it out.

    Returns:
        {name: reason} of those that could not be trained or exported.
    """
    reasons = {name: NO_PEERS for name in names if CONTENDERS[name].library is None}
    keras.backend.clear_session()

    def work(name, turns):
        try:
            take_part(name, build, data, epochs, times[name], turns)
        except Exception as error:
            reasons[name] = f"{type(error).__name__}: {error}".splitlines()[0][:200]

    take_turns({n: functools.partial(work, n) for n in names if n not in reasons})
    return reasons


def peak_of_training(model, name):
    """Return the peak of bytes of a process that trains a contender for a few steps."""
    command = [sys.executable, __file__, "--model", model, "--memory-of", name]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    return int(run.stdout.splitlines()[-1])


def own_peak(name, build):
    train(CONTENDERS[name], build, make_data(build(keras), STEPS_FOR_MEMORY), 1)
    return peak_memory()


def mask_bytes_per_weight(build):
    """Return the memory of the masks of pruning over the number of weights that they mask."""
    _, model = train(CONTENDERS["Keras 3, pruning"], build, make_data(build(keras), 1), 1)
    kernels = [kernel for kernel in find_kernels(model) if not kernel.depthwise]
    masks = sum(kernel.variable.constraint.mask.value.numpy().nbytes for kernel in kernels)
    return masks / sum(kernel.size for kernel in kernels)


def measure(model, names, options):
    """Return all figures of a model."""
    build = MODELS[model]
    times = {name: Times() for name in names}
    data = make_data(build(keras), options.steps)
    reasons = {}
    for _ in range(options.rounds):
        left = [name for name in names if name not in reasons]
        reasons |= run_round(left, build, data, options.epochs, times)
    names = [name for name in names if name not in reasons]
    found = {name: dataclasses.asdict(times[name]) for name in names}
    if not options.no_memory:
        for name in names:
            found[name]["peak_bytes"] = peak_of_training(model, name)
    result = {"model": model, "weights": build(keras).count_params(), "batch": BATCH}
    if "Keras 3, pruning" in names:
        result["mask_bytes_per_weight"] = mask_bytes_per_weight(build)
    return result | {"contenders": found, "left_out": reasons, "pairs": pairs(found)}


def pairs(found):
    """Return the ratios within each turn, of each contender to its plain training and its rival."""
    wanted = [(name, CONTENDERS[name].beside) for name in found]
    wanted += RIVALS.items()
    return {
        f"{name} / {beside}": compare(found[name], found[beside])
        for name, beside in wanted
        if name in found and beside in found
    }


def show(result):
    print(f"{'':34}{'set-up':>9}{'first epoch':>13}{'step':>11}{'export':>9}{'peak':>10}")
    for name, found in result["contenders"].items():
        middle = {kind: np.median(times) for kind, times in found.items()}
        print(
            f"{name:34}{middle['set_up_s']:7.2f} s{middle['first_epoch_s']:11.2f} s"
            f"{1e3 * middle['step_s']:8.1f} ms{middle['export_s']:7.2f} s"
            f"{middle.get('peak_bytes', np.nan) / 2**20:7.0f} MB"
        )
    for name, ratio in result["pairs"].items():
        lower, upper = ratio["step_quartiles"]
        print(f"{name:64}{ratio['step']:7.3f} x ({lower:.3f} to {upper:.3f})")
    for name, reason in result["left_out"].items():
        print(f"{name} is left out: {reason}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", choices=MODELS, default="MobileNetV2-0.35")
    parser.add_argument("--only", nargs="+", choices=CONTENDERS, default=list(CONTENDERS))
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--steps", type=int, default=40, help="of an epoch")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--no-memory", action="store_true", help="without the peaks of memory")
    parser.add_argument("--fast", action="store_true", help="one round of 20 steps and 3 epochs")
    parser.add_argument("--json", type=pathlib.Path, help="where to write the figures")
    parser.add_argument("--memory-of", choices=CONTENDERS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.memory_of:
        print(own_peak(options.memory_of, MODELS[options.model]))
        return
    if options.fast:
        options.rounds, options.steps, options.epochs, options.no_memory = 1, 20, 3, True
    if (options.epochs - 1) * options.steps < 3 * STEPS_PER_TURN:
        parser.error(
            f"quartiles need three turns of {STEPS_PER_TURN} steps after the first epoch. "
            f"Received: {options.epochs} epochs of {options.steps} steps"
        )
    result = measure(options.model, options.only, options)
    show(result)
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
