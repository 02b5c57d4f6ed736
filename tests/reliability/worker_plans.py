"""Plans of trainings that two workers go through together."""

import contextlib
import json
import pathlib
import socket

import numpy as np
from started_script import StartedScript

SCRIPT = pathlib.Path(__file__).with_name("two_workers.py")
WORKERS = 2


def free_ports():
    with contextlib.ExitStack() as stack:
        sockets = [
            stack.enter_context(socket.create_server(("localhost", 0))) for _ in range(WORKERS)
        ]
        return [one.getsockname()[1] for one in sockets]


def planned(technique, folder, kill_at=None):
    """Return a training for the plan."""
    return {
        "technique": technique,
        "folder": str(folder),
        "ports": free_ports(),
        "kill_at": kill_at,
    }


def run_plan(plan, folder):
    """Run trainings on two workers; return the exit statuses of both, a pair for each."""
    for training in plan:
        pathlib.Path(training["folder"]).mkdir(parents=True, exist_ok=True)
    file = folder / "plan.json"
    file.write_text(json.dumps(plan))
    workers = [StartedScript(SCRIPT, index, file) for index in range(WORKERS)]
    try:
        outputs = [worker.communicate(timeout=60 + 30 * len(plan)) for worker in workers]
    finally:
        for worker in workers:
            worker.kill()
    for worker, (_, errors) in zip(workers, outputs, strict=True):
        if worker.returncode:
            raise RuntimeError(errors[-3000:])
    return list(zip(*(map(int, output.split()) for output, _ in outputs), strict=True))


def end_of(folder, index=0):
    """Return the last loss, the weights and the optimizer's variables of a worker."""
    with np.load(pathlib.Path(folder) / f"end_{index}.npz") as file:
        return [file[name] for name in file.files]
