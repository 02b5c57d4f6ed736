"""What ``tfcompress compress`` makes of a student of the sign digits, seed by seed.

Each seed trains the float student of the quickstart, and runs the command as anyone would, on the
photos as arrays, without augmentation: target raspberry-pi-4, one point of accuracy at most,
15 minutes. Each finished seed is a line of the file of rows, so that an interrupted run goes on.

    python benchmarks/compress_signs.py --seeds 0 1 2 3 4 --folder signs --rows signs.jsonl
"""

import argparse
import json
import os
import pathlib
import resource
import subprocess
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from finished_rows import FinishedRows

ALLOWED = 0.01


def arrays(folder):
    """Return the .npz files of training and validation photos; write them first if need be."""
    import numpy as np

    from tfcompress.datasets import sign_digits

    paths = folder / "train.npz", folder / "val.npz"
    if not all(path.exists() for path in paths):
        for path, (x, y) in zip(paths, sign_digits.load_data(), strict=True):
            np.savez(path, x=x.astype("float32") / 255, y=y)
    return paths


def student(folder, seed):
    """Return the float student of a seed; train it first if need be."""
    path = folder / f"student_{seed}.keras"
    if path.exists():
        return path
    import keras

    from tfcompress.cli import quickstart
    from tfcompress.datasets import sign_digits

    (x, y), _ = sign_digits.load_data()
    keras.utils.set_random_seed(seed)
    model = quickstart.make_student()
    steps = quickstart.STUDENT_EPOCHS * (len(x) // quickstart.BATCH)
    model.compile(
        keras.optimizers.AdamW(
            keras.optimizers.schedules.CosineDecay(4e-3, steps), weight_decay=1e-3
        ),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        jit_compile=False,
    )
    batches = quickstart.training_batches(x.astype("float32") / 255, y, seed)
    model.fit(batches, epochs=quickstart.STUDENT_EPOCHS, verbose=0)
    model.save(path)
    return path


def compress(folder, seed, seconds):
    """Run the command on the student of a seed; return the row of what it found."""
    train, validation = arrays(folder)
    out = folder / f"search_{seed}"
    command = [
        sys.executable, "-c", "from tfcompress.cli.main import run; run()",
        "compress", student(folder, seed), "--data", train, "--validation-data", validation,
        "--out", out, "--target", "raspberry-pi-4", "--max-accuracy-drop", str(ALLOWED),
        "--time-budget", str(seconds), "--seed", str(seed), "--json",
    ]  # fmt: skip
    start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    processor = sum(getattr(after, t) - getattr(before, t) for t in ("ru_utime", "ru_stime"))
    result = json.loads(done.stdout)
    nearest = next(t for t in result["trials"] if t["number"] == result["nearest"])
    return {
        "seed": seed,
        "exit_code": done.returncode,
        "met": result["met"],
        "wall_seconds": wall,
        "processor_seconds": processor,  # of how many other work beside it has left
        "trials": len(result["trials"]),
        "float_accuracy": result["reference"]["accuracy"],
        **{
            name: nearest[name]
            for name in ("number", "candidate", "accuracy", "accuracy_drop", "gzip_size",
                         "compression_ratio", "speed_up", "epochs", "shortfalls")
        },
    }  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=list(range(5)))
    parser.add_argument("--folder", type=pathlib.Path, default=pathlib.Path("signs"))
    parser.add_argument("--rows", help="the file of finished rows")
    parser.add_argument("--seconds", type=float, default=900)
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    rows = FinishedRows(arguments.rows, ("seed",))
    for seed in arguments.seeds:
        if not rows.find(seed=seed):
            rows.add(**compress(arguments.folder, seed, arguments.seconds))
    print("seed    float    found    ratio  speed-up  trials      s  processor s")
    for row in rows.rows:
        print(
            f"{row['seed']:>4} {row['float_accuracy']:>8.2%} {row['accuracy']:>8.2%} "
            f"{row['compression_ratio']:>7.1f}x {row['speed_up']:>8.1f}x {row['trials']:>7} "
            f"{row['wall_seconds']:>6.0f} {row['processor_seconds']:>12.0f}  "
            + ("met" if row["met"] else "NOT met")
        )


if __name__ == "__main__":
    main()
