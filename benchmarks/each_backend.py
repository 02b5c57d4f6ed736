"""The whole path on each backend of Keras, and what a step of pruning costs there.

On spoken digits one teacher is trained, on TensorFlow. For each backend and seed a student is
trained in float, and then pruned, quantization-aware and distilled at once, in `fit`; exported, and
its file is run on the test's examples beside the model. Last, plain and pruned trainings take turns
epoch by epoch. Each backend has processes of its own, in which KERAS_BACKEND says which it is;
finished pieces are kept.

    python benchmarks/each_backend.py --rows rows.jsonl --json backends.json
    python benchmarks/each_backend.py --fast                    # one seed, few epochs: does it run?
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from finished_rows import FinishedRows

BACKENDS = {"tensorflow": "TensorFlow", "jax": "JAX", "torch": "PyTorch"}
TIMED = ("ResNet-8",)


def save_digits(folder):
    """Save the spoken digits where the processes of all backends find them."""
    import numpy as np
    from training_data import spoken_digits

    (x, y), (x_test, y_test) = spoken_digits()
    np.savez(folder / "digits.npz", x=x, y=y, x_test=x_test, y_test=y_test)


def do(backend, **call):
    """Have a process on a backend do a piece of work; return what it found."""
    work = pathlib.Path(__file__).with_name("backend_work.py")
    run = subprocess.run(
        [sys.executable, work, json.dumps(call)],
        env=os.environ | {"KERAS_BACKEND": backend},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return json.loads(run.stdout.splitlines()[-1])


def compress(rows, options, folder):
    """Compress a student for each backend and seed that has no row."""
    pieces = [
        {"backend": backend, "seed": seed, "epochs": options.epochs}
        for seed in range(options.seeds)
        for backend in options.backends
    ]
    missing = [piece for piece in pieces if rows.find(work="compress", **piece) is None]
    if missing:
        save_digits(folder)
        taught = do("tensorflow", work="teach", folder=str(folder), epochs=options.epochs)
        print(f"teacher: {taught['accuracy']:.2%}", flush=True)
    for piece in missing:
        call = {key: value for key, value in piece.items() if key != "backend"}
        found = do(piece["backend"], work="compress", folder=str(folder), **call)
        row = rows.add(work="compress", **piece, **found)
        print(shown(row), flush=True)


def shown(row):
    """Return a line about a compressed student."""
    return (
        f"{row['backend']:11} seed {row['seed']}: float {row['float_accuracy']:.2%}, compressed "
        f"{row['accuracy']:.2%}, {row['sparsity']:.1%} zeros, {row['float_operations']} float "
        f"operations, {row['different']} of {row['outputs']} outputs differ"
    )


def time_steps(rows, options):
    """Time the steps of pruning on each backend and model that has no row."""
    for model in TIMED:
        for backend in options.backends:
            piece = {"backend": backend, "seed": model, "epochs": options.timed_epochs}
            if rows.find(work="time_steps", **piece) is None:
                call = {"model": model, "steps": options.steps, "epochs": options.timed_epochs}
                found = do(backend, work="time_steps", **call)
                rows.add(work="time_steps", **piece, **found)
                print(backend, model, ratios(found), flush=True)


def ratios(times):
    """Return the milliseconds of both steps, and their ratio in the same turn, with quartiles.

    The first epochs compile. The ratio of the processor's seconds tells more where other work runs.
    """
    plain, pruned = ({k: t[1:] for k, t in times[name].items()} for name in ("plain", "pruned"))
    each = {
        kind: [after / before for after, before in zip(pruned[kind], plain[kind], strict=True)]
        for kind in plain
    }
    lower, _, upper = statistics.quantiles(each["clock"], n=4)
    return {
        "plain_ms": 1e3 * statistics.median(plain["clock"]),
        "pruned_ms": 1e3 * statistics.median(pruned["clock"]),
        "ratio": statistics.median(each["clock"]),
        "quartiles": [lower, upper],
        "processor_ratio": statistics.median(each["processor"]),
        "turns": len(each["clock"]),
    }


def figures(rows, options):
    """Return all figures by backend."""

    def of(work, backend, epochs):
        wanted = {"work": work, "backend": backend, "epochs": epochs}
        return [row for row in rows.rows if wanted.items() <= row.items()]

    return {
        backend: {
            "students": of("compress", backend, options.epochs)[: options.seeds],
            "steps": {
                row["seed"]: ratios(row) for row in of("time_steps", backend, options.timed_epochs)
            },
        }
        for backend in options.backends
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=30, help="of each of both trainings")
    parser.add_argument("--timed-epochs", type=int, default=21)
    parser.add_argument("--steps", type=int, default=20, help="of an epoch that is timed")
    parser.add_argument("--backends", nargs="+", choices=BACKENDS, default=list(BACKENDS))
    parser.add_argument("--fast", action="store_true", help="one seed, few epochs")
    parser.add_argument("--rows", help="the file of finished rows")
    parser.add_argument("--json", type=pathlib.Path, help="where to write the figures")
    options = parser.parse_args()
    if options.fast:
        options.seeds, options.epochs, options.timed_epochs = 1, 2, 5
    rows = FinishedRows(options.rows, ("work", "backend", "seed", "epochs"))
    with tempfile.TemporaryDirectory() as folder:
        compress(rows, options, pathlib.Path(folder))
    time_steps(rows, options)
    found = figures(rows, options)
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
