"""What combinations of techniques give: MNIST, the network of TFMOT's notebooks, ours and TFMOT's.

For each seed a float model is trained on Keras 3. Its weights are then the start of every method,
on Keras 3 with this package and on tf_keras with TFMOT, with the same data, optimizer, rates,
sparsity, clusters and number of epochs in each stage. Reported is the accuracy of the
.tflite file in the interpreter, and its bytes after gzip; the ratio is to the float file that the
plain TFLite converter makes of the start.

The last row of ours has no counterpart: every stage is taught by a larger network, and the settings
are those of a smaller file and a longer training.

    python benchmarks/compression_combinations.py --rows rows.jsonl --json combinations.json \
        --table docs/combinations_table.md
    python benchmarks/compression_combinations.py --fast
"""

import argparse
import json
import os
import pathlib
import statistics
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tf_keras
from combinations_methods import (
    DENSE_RATE,
    LOW_MOBILITY,
    METHODS,
    TAUGHT_CLUSTERS,
    TAUGHT_SPARSITY,
    Task,
    fit,
)
from finished_rows import FinishedRows
from small_nets import lenet, notebook_net
from stored_kernels import stored_kernels
from training_data import SHARED, mnist

from exporters.report import gzip_size
from exporters.running.runtime import load

PAGE = """# Combinations, measured

The network of TFMOT's notebooks for MNIST (20,410 weights), {images:,} training images, the 3,000
test images, {seeds} seeds: mean ± standard deviation. Every method starts from the same weights,
and each of its stages (pruning, clustering, quantization-aware training) takes {epochs} epochs.

{table}

- "to float": points of accuracy against the start, in the same seed.
- "ratio": gzipped bytes of the start's float file, as the plain TFLite converter makes it, to those
  of the file.
- "zeros", "values": the share of zeros over all kernels, and the different numbers in each, read
  from the file; of the seeds, the most.
- Settings that both sides have are the same: sparsity 80 % over all kernels, 16 clusters that start
  evenly spaced, optimizer and rates. Ours leaves the small first kernel denser, and the dense one
  sparser for it (`sparsity_distribution="erk"`), and clusters pruned kernels with
  `mobility={mobility}`.
- The last row has no counterpart in TFMOT: {smallest:.0%} zeros and {fewest} values; every stage is
  taught by LeNet-5 on twice the images (each once more, shifted by a pixel), and takes longer:
  {longer} epochs of pruning, half as many of each of the others.
- Some settings of ours were chosen by the first seed's accuracy on these test images.

Written by `benchmarks/compression_combinations.py`; what the orders mean is told in
[Combinations](combinations.md).
"""
HEADINGS = (
    "| method | by | accuracy % | to float | bytes, gzip | ratio | zeros % | values |\n"
    "|---|---|---|---|---|---|---|---|"
)


def larger_net(library):
    """Return LeNet-5 behind the same input."""
    kl = library.layers
    return library.Sequential([kl.InputLayer((28, 28)), kl.Reshape((28, 28, 1)), lenet(library)])


def described(content, test):
    """Measure a file."""
    with load(content) as loaded:
        (scores,) = loaded.predict(test[0])
    kernels = stored_kernels(content)
    zeros, size = sum(k.zeros for k in kernels), sum(k.values.size for k in kernels)
    return {
        "accuracy": float(np.mean(scores.argmax(-1) == test[1])),
        "bytes": len(content),
        "gzip_bytes": gzip_size(content),
        "sparsity": zeros / size,
        "values": [kernel.unique for kernel in kernels],
    }


def run_seed(seed, methods, task, test, rows):
    """Add a row for each method that has none yet."""
    key = {"seed": seed, "epochs": task.epochs}
    missing = [name for name in methods if rows.find(method=name, **key) is None]
    if not missing:
        return
    keras.backend.clear_session()
    keras.utils.set_random_seed(seed)
    model = fit(keras, notebook_net(keras), task, rate=DENSE_RATE, epochs=task.dense_epochs)
    teacher = None
    for name in missing:
        if METHODS[name].taught and teacher is None:
            keras.utils.set_random_seed(seed)
            teacher = larger_net(keras)
            fit(keras, teacher, task, rate=DENSE_RATE, epochs=task.teacher_epochs)
        keras.utils.set_random_seed(seed)
        tf_keras.utils.set_random_seed(seed)
        begin = time.perf_counter()
        content = METHODS[name].run(task, model.get_weights(), teacher)
        row = rows.add(
            method=name, seconds=time.perf_counter() - begin, **described(content, test), **key
        )
        print(
            f"seed {seed}  {name:32}{row['accuracy']:8.2%}{row['gzip_bytes']:8,} bytes  "
            f"{row['sparsity']:6.1%} zeros  values {row['values']}",
            flush=True,
        )


def summarize(rows, methods, seeds, epochs):
    """Return the figures of each method over the seeds."""
    table, floats = [], {}
    for seed in range(seeds):
        floats[seed] = rows.find(method="float", seed=seed, epochs=epochs)
    for name in methods:
        found = [rows.find(method=name, seed=seed, epochs=epochs) for seed in range(seeds)]
        accuracy = [row["accuracy"] for row in found]
        table.append(
            {
                "method": name,
                "accuracy": statistics.mean(accuracy),
                "deviation": statistics.stdev(accuracy) if seeds > 1 else 0.0,
                "to_float": statistics.mean(
                    row["accuracy"] - floats[row["seed"]]["accuracy"] for row in found
                ),
                "gzip_bytes": statistics.mean(row["gzip_bytes"] for row in found),
                "bytes": statistics.mean(row["bytes"] for row in found),
                "ratio": statistics.mean(
                    floats[row["seed"]]["gzip_bytes"] / row["gzip_bytes"] for row in found
                ),
                "sparsity": statistics.mean(row["sparsity"] for row in found),
                "values": [max(v) for v in zip(*(row["values"] for row in found), strict=True)],
                "seeds": [
                    {"seed": r["seed"], "accuracy": r["accuracy"], "gzip_bytes": r["gzip_bytes"]}
                    for r in found
                ],
            }
        )
    return table


def to_markdown(table):
    """Return the table, a line for each method."""
    lines = [HEADINGS]
    for row in table:
        name, comma, by = row["method"].rpartition(", ")
        name, by = (name, by) if comma else (by, "-")
        lines.append(
            f"| {name} | {by} | {row['accuracy'] * 100:.2f} ± {row['deviation'] * 100:.2f} | "
            f"{row['to_float'] * 100:+.2f} | {row['gzip_bytes']:,.0f} | {row['ratio']:.1f}x | "
            f"{row['sparsity'] * 100:.0f} | {', '.join(map(str, row['values']))} |"
        )
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, help="5 by default, 2 when fast")
    parser.add_argument("--fast", action="store_true", help="fewer seeds, shorter trainings")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--rows", type=pathlib.Path, help="keeps finished work, to go on from")
    parser.add_argument("--json", type=pathlib.Path, help="where to write the figures")
    parser.add_argument("--table", type=pathlib.Path, help="where to write the table, as Markdown")
    arguments = parser.parse_args()
    if not SHARED.is_dir():
        parser.error("needs the data sets in shared/data beside the project")
    seeds = arguments.seeds or (2 if arguments.fast else 5)
    data, test = (
        (images[..., 0], labels) for images, labels in mnist(5000 if arguments.fast else 30000)
    )
    task = Task(data, 64, *((3, 1, 2, 2) if arguments.fast else (8, 2, 4, 6)))
    rows = FinishedRows(arguments.rows, ("method", "seed", "epochs"))
    methods = [name for name in METHODS if name in arguments.methods or name == "float"]
    for seed in range(seeds):
        run_seed(seed, methods, task, test, rows)
    table = summarize(rows, methods, seeds, task.epochs)
    text = to_markdown(table)
    print(text)
    if arguments.json:
        arguments.json.write_text(json.dumps(table, indent=2), encoding="utf-8")
    if arguments.table:
        page = PAGE.format(
            table=text,
            images=len(data[0]),
            seeds=seeds,
            epochs=task.epochs,
            smallest=TAUGHT_SPARSITY,
            fewest=TAUGHT_CLUSTERS,
            longer=task.taught_epochs,
            mobility=LOW_MOBILITY,
        )
        arguments.table.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
