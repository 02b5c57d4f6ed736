#!/usr/bin/env python3
"""Run the model of this folder on this device: does it give what it gave where it was made?

Needs NumPy and one of tflite_runtime, ai_edge_litert or tensorflow. Exit status: 0 pass, 1 fail,
2 could not run.
"""

import argparse
import hashlib
import importlib
import json
import os
import platform
import sys
import time

import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))


RUNTIMES = ("tflite_runtime", "ai_edge_litert", "tensorflow")


def find_runtime(wanted=None):
    """Import a runtime; return its name, its Interpreter and its load_delegate."""
    for name in RUNTIMES if wanted is None else (wanted,):
        try:
            if name == "tensorflow":
                import tensorflow as tf

                return name, tf.lite.Interpreter, tf.lite.experimental.load_delegate
            module = importlib.import_module(name + ".interpreter")
            return name, module.Interpreter, module.load_delegate
        except ImportError:
            continue
    sys.exit(
        f"No runtime found of {wanted or ', '.join(RUNTIMES)}. Install one: "
        "pip install ai-edge-litert (32-bit ARM: pip install tflite-runtime==2.14.0 'numpy<2')"
    )


def changed_files(manifest):
    """List which of the model and the golden data are not what the manifest says."""
    changed = []
    for name in (manifest["model"], "golden.npz"):
        digest = hashlib.sha256()
        try:
            with open(os.path.join(HERE, name), "rb") as file:
                digest.update(file.read())
        except OSError:
            changed.append(name + " (missing)")
            continue
        if digest.hexdigest() != manifest["files"][name]["sha256"]:
            changed.append(name)
    return changed


def wrong_signature(public_key):
    """Say why the folder is not what the owner of a key signed; None if it is."""
    try:
        from model_signing import verifying
    except ImportError:
        return "model-signing is not installed: pip install model-signing pyopenssl"
    try:
        verifier = verifying.Config().use_elliptic_key_verifier(public_key=public_key)
        verifier.verify(HERE, os.path.join(HERE, "model.sig"))
    except Exception as error:  # whatever a damaged key, signature or file raises
        return str(error) or type(error).__name__
    return None


def load(manifest, threads, runtime=None):
    """Load the model, on the Edge TPU if it was compiled for one."""
    name, interpreter, load_delegate = find_runtime(runtime)
    delegates = []
    if manifest["edgetpu"]:
        try:
            delegates = [load_delegate("libedgetpu.so.1")]
        except (ValueError, OSError) as error:
            sys.exit(f"The model is compiled for an Edge TPU, whose library is missing: {error}")
    loaded = interpreter(
        model_path=os.path.join(HERE, manifest["model"]),
        num_threads=threads,
        experimental_delegates=delegates,
    )
    loaded.allocate_tensors()
    return name, loaded


def run(loaded, golden, runs):
    """Run every golden input; return the outputs and the seconds of each run."""
    inputs = [detail["index"] for detail in loaded.get_input_details()]
    outputs = [detail["index"] for detail in loaded.get_output_details()]
    count = len(golden["output_0"])
    rows, seconds = [], []
    for place in range(max(count, runs)):
        for number, index in enumerate(inputs):
            loaded.set_tensor(index, golden[f"input_{number}"][place % count])
        loaded.reset_all_variables()  # recurrent operations keep their state between runs
        begin = time.perf_counter()
        loaded.invoke()
        seconds.append(time.perf_counter() - begin)
        if place < count:
            rows.append([loaded.get_tensor(index) for index in outputs])
    columns = [np.stack([row[number] for row in rows]) for number in range(len(outputs))]
    return columns, seconds


def compare(details, output, golden):
    """Compare an output with the golden one, in its own steps."""
    steps = np.abs(output.astype(np.float64) - golden.astype(np.float64)) / details["step"]
    within = float((steps <= details["tolerance"]).mean())
    result = {
        "output": details["name"],
        "equal": float((steps == 0).mean()),
        "within": within,
        "largest": float(steps.max()) if steps.size else 0.0,
        "pass": within >= details["share"],
    }
    if output.shape[-1] > 1:
        result["same_class"] = float((output.argmax(-1) == golden.argmax(-1)).mean())
        result["pass"] = result["pass"] and result["same_class"] >= details["same_class"]
    return result


def sentence(result, details):
    """Say how an output agrees."""
    text = (
        f"{result['output']}: {100 * result['equal']:.1f} % equal, "
        f"{100 * result['within']:.1f} % within {details['tolerance']:g} steps of "
        f"{details['step']:g}, "
        f"largest {result['largest']:g} steps"
    )
    if "same_class" in result:
        text += f", {100 * result['same_class']:.1f} % same class"
    return text


def main():
    """Check, run, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--runs", type=int, default=50)
    parser.add_argument("--runtime", choices=RUNTIMES, help="the first that is found by default")
    parser.add_argument("--public-key", help="PEM of who signed the folder; checked first")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    wrong = wrong_signature(arguments.public_key) if arguments.public_key else None
    if wrong:
        print("FAIL: the signature does not hold: " + wrong)
        return 1
    with open(os.path.join(HERE, "manifest.json")) as file:
        manifest = json.load(file)
    changed = changed_files(manifest)
    if changed:
        print("FAIL: changed since the bundle was written: " + ", ".join(changed))
        return 1
    golden = np.load(os.path.join(HERE, "golden.npz"), allow_pickle=False)
    try:
        name, loaded = load(manifest, arguments.threads, arguments.runtime)
        outputs, seconds = run(loaded, golden, arguments.runs)
    except (RuntimeError, ValueError) as error:
        print(f"FAIL: the runtime refuses the model: {error}")
        return 2
    results = [
        compare(details, outputs[number], golden[f"output_{number}"])
        for number, details in enumerate(manifest["outputs"])
    ]
    passed = all(result["pass"] for result in results)
    later = sorted(seconds[1:]) or seconds
    latency = {
        "first": seconds[0],
        "median": later[len(later) // 2],
        "p90": later[min(len(later) - 1, int(0.9 * len(later)))],
    }
    if arguments.json:
        report = {
            "pass": passed,
            "runtime": name,
            "machine": platform.machine(),
            "outputs": results,
            "seconds": latency,
        }
        print(json.dumps(report))
        return 0 if passed else 1
    print("PASS" if passed else "FAIL", "on", name, "on", platform.machine())
    for number, details in enumerate(manifest["outputs"]):
        print(sentence(results[number], details))
    first, median, p90 = (1000 * latency[key] for key in ("first", "median", "p90"))
    print(
        f"latency: first {first:.3f} ms, median {median:.3f} ms, p90 {p90:.3f} ms "
        f"({arguments.threads} threads)"
    )
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
