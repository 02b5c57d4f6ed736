"""Long trials of what must hold, with the figures written into docs/reliability.md.

    python benchmarks/soak.py --page docs/reliability.md     # make soak

Three parts, each in processes of its own: damaged input, trainings killed at random steps and
resumed, and the memory of long trainings. Everything is seeded. Exit status 1 if something failed.
"""

import argparse
import json
import os
import pathlib
import platform
import resource
import signal
import subprocess
import sys
import tempfile
import time

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[1]
TRIALS = ROOT / "tests" / "reliability"
BEGIN, END = "<!-- soak: begin -->\n", "<!-- soak: end -->\n"
TRAININGS = ("pruning", "quantization", "clustering", "distillation")
LAST_STEP = 24
MOST_GROWTH = 8  # MiB between a tenth of a long training and its end


def fuzz(count):
    """Feed every reader; return a row for each."""
    sys.path.insert(0, str(TRIALS))
    from hostile_readers import all_readers, feed

    rows = []
    readers = all_readers()
    with tempfile.TemporaryDirectory() as folder:
        for reader in readers:
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            outcome = feed(reader, range(count // len(readers) + 1), pathlib.Path(folder))
            grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
            rows.append(
                {
                    "reader": reader.name,
                    "inputs": sum(outcome.counts.values()) + len(outcome.failures),
                    "read": outcome.counts["read"],
                    "refused": sum(outcome.counts.values()) - outcome.counts["read"],
                    "failures": outcome.failures,
                    "longest": outcome.longest,
                    "grown": grown / 1024,
                }
            )
    return rows


def output_of(script, *arguments):
    """Run a script in a process of its own; return the lines that it prints."""
    answer = subprocess.run(
        [sys.executable, str(script), *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
        capture_output=True,
        text=True,
    )
    if answer.returncode:
        raise RuntimeError(f"{script} ended with {answer.returncode}: {answer.stderr[-2000:]}")
    return answer.stdout.splitlines()


def kill(technique, times):
    """Kill a training at random steps and resume it; return how many ended otherwise."""
    generator = np.random.default_rng([TRAININGS.index(technique), 0])
    steps = sorted(int(step) for step in generator.integers(1, LAST_STEP, times))
    different = []
    with tempfile.TemporaryDirectory() as folder:
        # One process forks before each training: the import is paid once.
        for line in output_of(TRIALS / "killed_training.py", technique, folder, *steps):
            if line.startswith("{"):
                result = json.loads(line)
                if not result["equal"] or result["signal"] != signal.SIGKILL:
                    different.append(result)
    return {"technique": technique, "kills": len(steps), "steps": steps, "different": different}


def lasting(technique, steps):
    """Train for long; return the memory early and late, and how often it traced anew."""
    return json.loads(output_of(TRIALS / "long_training.py", technique, steps)[-1])


def damaged_input(count):
    """Fuzz in a process of its own: a crash there is a result here."""
    return json.loads(output_of(__file__, "--fuzz", count)[-1])


def tables(results):
    """Write the figures as Markdown."""
    inputs = sum(row["inputs"] for row in results["fuzz"])
    lines = [
        f"Run of {results['date']}: Python {platform.python_version()}, {platform.machine()}; "
        f"{inputs:,} damaged inputs, numbers 0 to {results['fuzz'][0]['inputs'] - 1:,} of each "
        "reader.",
        "",
        "| damaged | inputs | read | refused by documented errors | anything else | slowest "
        "| memory grown |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {row['reader']} | {row['inputs']:,} | {row['read']:,} | {row['refused']:,} "
        f"| {len(row['failures'])} | {1000 * row['longest']:.0f} ms | {row['grown']:.0f} MiB |"
        for row in results["fuzz"]
    ]
    if results["kill"]:
        lines += ["", "| training | kills | resumed, but not bit for bit |", "|---|---|---|"]
        lines += [
            f"| {row['technique']} | {row['kills']} | {len(row['different'])} |"
            for row in results["kill"]
        ]
    if results["lasting"]:
        lines += [
            "",
            "| training | steps | memory after a tenth | at the end | traced again after that |",
            "|---|---|---|---|---|",
        ]
        lines += [
            f"| {row['technique']} | {row['steps']:,} | {row['early']:.0f} MiB "
            f"| {row['late']:.0f} MiB | {row['retraced']} |"
            for row in results["lasting"]
        ]
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--page", type=pathlib.Path, help="the page to write the figures into")
    parser.add_argument("--inputs", type=int, default=100_000)
    parser.add_argument("--kills", type=int, default=20, help="of each training")
    parser.add_argument("--steps", type=int, default=5_000, help="of each long training")
    parser.add_argument("--fuzz", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.fuzz:
        print(json.dumps(fuzz(arguments.fuzz)))
        return 0
    results = {"date": time.strftime("%Y-%m-%d"), "fuzz": damaged_input(arguments.inputs)}
    results["kill"] = [kill(name, arguments.kills) for name in TRAININGS if arguments.kills]
    results["lasting"] = [lasting(name, arguments.steps) for name in TRAININGS if arguments.steps]
    text = tables(results)
    print(text)
    if arguments.page:
        page = arguments.page.read_text(encoding="utf-8")
        head, _, rest = page.partition(BEGIN)
        tail = rest.partition(END)[2]
        arguments.page.write_text(head + BEGIN + "\n" + text + "\n" + END + tail, encoding="utf-8")
    failed = [row for row in results["fuzz"] if row["failures"]]
    failed += [row for row in results["kill"] if row["different"]]
    failed += [
        row
        for row in results["lasting"]
        if row["retraced"] or row["late"] - row["early"] > MOST_GROWTH
    ]
    for row in failed:
        print(json.dumps(row), file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
