"""Which models quantization-aware training takes: wrapped, trained, exported and run, one by one.

Each model has a process of its own, with a time limit. Finished rows are kept in the JSON file, so
that an interrupted run goes on where it was; ``--only`` makes its rows anew.

    python benchmarks/quantization_coverage.py --json coverage.json --table docs/coverage.md
"""

import argparse
import concurrent.futures
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import textwrap
import time

TRAINED_STEPS, BATCH, COMPARED = 2, 4, 32
OUTCOMES = {True: "works", False: "fails", None: ""}


def measure(name):
    """Take one model through training and export, and return its row."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import coverage_models
    import keras

    import tfcompress as tfc
    from exporters import export_tflite

    row = coverage_models.ROWS[name]
    keras.utils.set_random_seed(0)
    model = row.build()
    x, y = coverage_models.examples(model, TRAINED_STEPS * BATCH)
    seconds = {}

    def timed(stage, work):
        start = time.perf_counter()
        value = work()
        seconds[stage] = round(time.perf_counter() - start, 2)
        return value

    quantized = timed("wrapping_s", lambda: tfc.quantize_aware(model, allow_float=row.allow_float))
    quantized.compile(keras.optimizers.SGD(1e-3), "mse", jit_compile=False)
    timed("training_s", lambda: quantized.fit(x, y, batch_size=BATCH, verbose=0))
    compared, _ = coverage_models.examples(model, COMPARED, seed=1)
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "model.tflite"
        export = lambda: export_tflite(quantized, path, validation_data=compared)  # noqa: E731
        report = timed("export_s", export).report
    run = report.agreement.ran[0]
    return {
        **seconds,
        "float_operations": list(report.float_operations),
        "operations": sum(report.operations.values()),
        "weights": model.count_params(),
        "equal": min(output.equal for output in run.outputs),
        "within_one": min(output.within_one for output in run.outputs),
        "largest": max(output.largest for output in run.outputs),
        "same_class": min(
            (o.same_class for o in run.outputs if o.same_class is not None), default=None
        ),
    }


def in_a_process(name, limit):
    """Measure one model in a process of its own; return its row, with the error if it failed."""
    start = time.perf_counter()
    command = [sys.executable, __file__, "--measure", name]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=limit, check=False)
    except subprocess.TimeoutExpired:
        return {"error": f"not done in {limit} s"}
    if done.returncode == 0:
        return {**json.loads(done.stdout.splitlines()[-1]), "error": None}
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    reason = lines[-12:] if done.returncode > 0 else [f"ended by signal {-done.returncode}"]
    return {"error": "\n".join(reason), "process_s": round(time.perf_counter() - start, 2)}


def measure_all(names, path, limit, jobs):
    """Measure the models that the file does not have yet, and write the file after each."""
    found = json.loads(path.read_text()) if path.exists() else {}
    missing = [name for name in names if name not in found]
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        pending = {pool.submit(in_a_process, name, limit): name for name in missing}
        for done in concurrent.futures.as_completed(pending):
            name = pending[done]
            found[name] = done.result()
            path.write_text(json.dumps(found, indent=1) + "\n")
            print(f"{name:32}{summary(found[name])}", flush=True)
    return found


def summary(row):
    if row["error"]:
        return "FAILS  " + row["error"].splitlines()[-1][:200]
    floats = ", ".join(row["float_operations"]) or "no float"
    return (
        f"{floats}; {row['within_one']:.1%} within 1 LSB, largest {row['largest']:.0f}; wrapped in "
        f"{row['wrapping_s']} s, exported in {row['export_s']} s"
    )


def table(rows, found):
    """Return the page: a table for each group of models."""
    lines = [
        "# Coverage",
        "",
        "Written by `make coverage` (`benchmarks/quantization_coverage.py`). Each model is made",
        f"quantization-aware with 8 bits, trained for {TRAINED_STEPS} steps, exported, and run in",
        f"the LiteRT interpreter on {COMPARED} random inputs, beside the Keras model. Networks",
        "have random weights and inputs of 32 to 75 pixels. TFMOT: its `quantize_model` on",
        "tf_keras 2.21, empty where it was not tried.",
    ]
    done = {name: row for name, row in found.items() if name in rows}
    works = [name for name, row in done.items() if not row["error"]]
    lines += ["", f"**{len(works)} of {len(done)} models work.**"]
    for group in dict.fromkeys(row.group for row in rows.values()):
        lines += [
            "",
            f"## {group.capitalize()}",
            "",
            "| model | TFMOT | tfcompress | float operations | equal | within 1 LSB | largest "
            "| same class | wrapping | export |",
            "|---|---|---|---|---|---|---|---|---|---|",
        ]
        members = [name for name in rows if name in done and rows[name].group == group]
        lines += [cells(name, rows[name], done[name]) for name in members]
    return "\n".join(lines) + "\n"


def cells(name, row, result):
    start = f"| {name} | {OUTCOMES[row.tfmot]} "
    if result["error"]:
        reason = textwrap.shorten(result["error"].splitlines()[-1], 100, placeholder=" ...")
        return start + f"| fails: {reason} |" + " |" * 7
    same = "" if result["same_class"] is None else f"{result['same_class']:.1%}"
    return (
        start + f"| works | {', '.join(result['float_operations']) or 'none'} "
        f"| {result['equal']:.1%} | {result['within_one']:.1%} | {result['largest']:.0f} LSB "
        f"| {same} | {result['wrapping_s']:.1f} s | {result['export_s']:.1f} s |"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=pathlib.Path, default=pathlib.Path("coverage.json"))
    parser.add_argument("--table", type=pathlib.Path, help="where to write the page")
    parser.add_argument("--only", help="names of models, separated by ';'; measured anew")
    parser.add_argument("--again", action="store_true", help="measure anew what failed")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--limit", type=float, default=600, help="seconds for a model")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(measure(arguments.measure)))
        return
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from coverage_models import ROWS

    names = list(ROWS)
    if arguments.only:
        names = arguments.only.split(";")
        if unknown := [name for name in names if name not in ROWS]:
            parser.error(f"no model is called {unknown}; there are {list(ROWS)}")
    if arguments.json.exists() and (arguments.only or arguments.again):
        kept = json.loads(arguments.json.read_text())
        for name in names:
            if arguments.only or kept.get(name, {}).get("error"):
                kept.pop(name, None)
        arguments.json.write_text(json.dumps(kept, indent=1) + "\n")
    found = measure_all(names, arguments.json, arguments.limit, arguments.jobs)
    if arguments.table:
        arguments.table.write_text(table(ROWS, found))
    sys.exit(any(row["error"] for row in found.values()))


if __name__ == "__main__":
    main()
