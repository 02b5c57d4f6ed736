"""Runs the tests that prove files on devices, or on what stands for them; writes docs/proofs.md.

    python tests/proofs.py

A proof whose tools are missing is named with the reason. `--only` runs some, by words of their
names; the others keep what the page says of them.
"""

import argparse
import datetime
import importlib.metadata
import platform
import subprocess
import sys

from written_tables import ROOT, has_failed, rows_between, run_tests, write_between

PAGE = ROOT / "docs/proofs.md"
BEGIN, END = "<!-- proofs -->\n", "<!-- end of proofs -->\n"
TITLES = ("what", "where", "tests", "came of it", "run")
# What is proven, where, and the tests that do; {package} stands for its version.
PROOFS = (
    (
        "trained networks give the Keras model's integers, in XNNPACK and the reference kernels",
        "ai-edge-litert {ai-edge-litert}, this computer",
        ["tests/quantization/test_deployed_layers.py"],
    ),
    (
        "apps' other interface to a file, `CompiledModel`, gives what the interpreter gives",
        "ai-edge-litert {ai-edge-litert}, this computer",
        ["tests/exporters/running/test_compiled_model.py"],
    ),
    (
        "bundles pass, with the verdict of x86-64",
        "ARM in QEMU: Debian on a Cortex-A72, with ai-edge-litert 2.3.0 and tflite-runtime 2.14.0, "
        "and of 32 bits on a Cortex-A7, with tflite-runtime 2.14.0",
        ["-m", "emulation", "tests/exporters/bundling/test_arm_boards.py"],
    ),
    (
        "networks give the Keras model's bytes in TFLite Micro",
        "tflite-micro {tflite-micro}, this computer",
        ["tests/quantization/test_micro_runtime.py"],
    ),
    (
        "encoded kernels give the bytes of the file before",
        "tflite-micro {tflite-micro}, this computer",
        ["tests/exporters/test_weight_encoding.py"],
    ),
    (
        "files compiled to C give the Keras model's bytes",
        "Cortex-M4 in QEMU; BakeNN {bakenn} and GNU's compiler for Arm",
        ["-m", "emulation", "tests/exporters/bundling/test_cortex_m.py"],
    ),
    (
        "Arm's compiler takes the files, and what it leaves on the CPU is named",
        "Vela {ethos-u-vela}, for Ethos-U55, U65 and U85",
        ["tests/exporters/test_vela.py"],
    ),
    (
        "the Kotlin of bundles compiles, and its numbers are right",
        "kotlinc and Java, against stubs of the classes of Android and LiteRT",
        ["tests/exporters/bundling/test_android.py"],
    ),
    (
        "MediaPipe's tasks take the files and answer as they do",
        "mediapipe {mediapipe}, this computer",
        ["tests/exporters/test_mediapipe.py"],
    ),
    (
        "verdicts are those of Google's compiler, on published pairs of files",
        "the Edge TPU's rules as data; no compiler, no board",
        ["tests/exporters/test_compatibility.py", "-k", "edge_tpu or edgetpu or pairs"],
    ),
    (
        "signed bundles are verified, and a changed one is not",
        "model-signing {model-signing}, this computer",
        ["tests/exporters/bundling/test_signing.py"],
    ),
)


def run(arguments):
    """Run tests; return what came of them, in words."""
    cases, _ = run_tests(arguments)
    failed = [case for case in cases if has_failed(case)]
    skipped = [case for case in cases if case.find("skipped") is not None]
    passed = len(cases) - len(failed) - len(skipped)
    told = [f"{len(failed)} **failed**"] if failed else []
    told += [f"{passed} passed"] if passed else []
    reasons = dict.fromkeys(case.find("skipped").get("message") for case in skipped)
    told += [f"{len(skipped)} skipped: {'; '.join(reasons)}"] if skipped else []
    return ", ".join(told) or "no test was found", not failed and bool(cases)


def versions():
    """Return the versions of installed packages, "(not installed)" for others."""

    class Versions(dict):
        def __missing__(self, name):
            try:
                return importlib.metadata.version(name)
            except importlib.metadata.PackageNotFoundError:
                return "(not installed)"

    return Versions()


def known():
    """Return the rows of the page by what they prove."""
    rows = rows_between(PAGE, BEGIN, END)[1:]
    return {row[0]: row for row in rows}


def main():
    """Run the proofs that are asked for, and write what is known of all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", default=[""], help="words of what is proven")
    given = parser.parse_args()
    rows, all_passed = known(), True
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty=+"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    for what, where, arguments in PROOFS:
        if any(word in what for word in given.only):
            print(what, flush=True)
            told, passed = run(arguments)
            all_passed &= passed
            tests = next(each for each in arguments if each.startswith("tests/"))
            when = f"{datetime.date.today()}, {commit}, Python {platform.python_version()}"
            rows[what] = [what, where.format_map(versions()), f"`{tests}`", told, when]
    lines = [TITLES, ["---"] * len(TITLES)]
    lines += [rows[what] for what, _, _ in PROOFS if what in rows]
    table = "".join(f"| {' | '.join(cells)} |\n" for cells in lines)
    write_between(PAGE, BEGIN, END, table)
    sys.exit(not all_passed)


if __name__ == "__main__":
    main()
