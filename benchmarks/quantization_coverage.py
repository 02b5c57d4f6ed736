"""Which models quantization-aware training takes whole: wrapped, trained, exported and run.

Each model has a process of its own, with a time limit. Finished rows are kept in the JSON file, so
that an interrupted run goes on where it was; ``--only`` makes its rows anew.

    python benchmarks/quantization_coverage.py --json coverage.json
"""

import argparse
import concurrent.futures
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

TRAINED_STEPS, BATCH, COMPARED = 2, 4, 32


def measure(name):
    """Take one model through training and export, and return its row."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import coverage_models
    import keras

    import tfcompress as tfc
    from exporters import export_tflite

    row = coverage_models.ROWS[name]
    keras.utils.set_random_seed(0)
    model = row.build(keras)
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


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=pathlib.Path, default=pathlib.Path("coverage.json"))
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
    sys.exit(any(row["error"] for row in found.values()))


if __name__ == "__main__":
    main()
