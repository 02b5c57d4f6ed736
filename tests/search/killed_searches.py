"""Kill one search again and again, and let it go on: `python killed_searches.py FOLDER TIMES`.

Each time in a process that is forked after the imports and before TensorFlow computes anything.
Prints what is wrong, if anything, and how many trials there are, as JSON.
"""

import hashlib
import json
import os
import pathlib
import signal
import sys
import time

import keras
import numpy as np
import optuna
from small_search import search, trained_model

from tfcompress.search.candidates import Candidate
from tfcompress.search.results import read_result
from tfcompress.search.study import _MAX_RETRIES, finished_trials
from tfcompress.tflite.flatbuffer import read_model

SILENCE = 7  # seconds after which a worker with heartbeats of one second counts as dead


def forked(work, log, seconds=None):
    """Run a function in a process of its own, and kill it after some seconds; return the status."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.dup2(output, 1), os.dup2(output, 2)
            work()
            status = 0
        finally:
            os._exit(status)
    if seconds is not None:
        time.sleep(seconds)
        os.kill(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def trials_in(directory):
    """Return all trials of the study, as Optuna has them."""
    url = f"sqlite:///{directory / 'study.db'}"
    storage = optuna.storages.RDBStorage(url)
    try:
        (study,) = storage.get_all_studies()
        return optuna.load_study(study_name=study.study_name, storage=storage), storage
    finally:
        storage.remove_session()


class Watched:
    """What was seen of a search, and what was wrong with it."""

    def __init__(self, directory):
        self.directory = directory
        self.problems: list[str] = []
        self.finished: dict[int, str] = {}
        self.begun: dict[int, Candidate] = {}  # trials that a kill ended, by number
        self.candidates: set[Candidate] = set()
        self.tried: list[Candidate] = []
        self.states: list[str] = []
        self.gain = -np.inf

    def look(self):
        """Compare with what was seen before."""
        study, storage = trials_in(self.directory)
        trials = finished_trials(study)
        running = study.get_trials(states=[optuna.trial.TrialState.RUNNING])
        self.begun |= {trial.number: Candidate(**trial.params) for trial in running if trial.params}
        self.states = [trial.state.name for trial in study.get_trials()]
        self.tried = [Candidate(**t.params) for t in study.get_trials() if t.params]
        storage.engine.dispose()
        now = {trial.number: self._digest(trial) for trial in trials}
        for number, digest in self.finished.items():
            if now.get(number) != digest:
                self.problems.append(f"trial {number} is lost, or another one")
        self.finished = now
        self.candidates = {trial.candidate for trial in trials}
        self._look_at_the_result()

    def _digest(self, trial):
        text = json.dumps(trial.to_json(), default=float, sort_keys=True)
        found = hashlib.sha256(text.encode())
        for name in trial.files.values():
            if name is not None:
                found.update((self.directory / name).read_bytes())
        if trial.files["file"] is not None:
            read_model((self.directory / trial.files["file"]).read_bytes())
            json.loads((self.directory / trial.files["evidence"]).read_text())
        return found.hexdigest()

    def _look_at_the_result(self):
        result = json.loads((self.directory / "result.json").read_text())
        read_result(self.directory)
        best = next(t for t in result["trials"] if t["number"] == result["nearest"])
        gain = np.log(best["compression_ratio"] * best["speed_up"]) if result["met"] else -np.inf
        if gain < self.gain:
            self.problems.append(f"the best got worse: {gain} after {self.gain}")
        self.gain = gain
        best_file = (self.directory / "best.tflite").read_bytes()
        files = [self.directory / "trials" / str(n) / "model.tflite" for n in self.finished]
        if best_file not in [file.read_bytes() for file in files if file.exists()]:
            self.problems.append("best.tflite is that of no trial")

    def lost(self):
        """Return candidates that a kill ended, which were neither finished nor given up."""
        return [
            candidate
            for candidate in set(self.begun.values()) - self.candidates
            if self.tried.count(candidate) <= _MAX_RETRIES
        ]


def main():
    folder, times = pathlib.Path(sys.argv[1]), int(sys.argv[2])
    log, directory = folder / "log", folder / "search"
    if forked(lambda: trained_model().save(folder / "model.keras"), log):
        sys.exit(log.read_text()[-3000:])

    def work(**settings):
        search(keras.saving.load_model(folder / "model.keras"), directory, heartbeat=1, **settings)

    watched, generator = Watched(directory), np.random.default_rng(0)
    for trials in (1, 2):  # the second goes on, as those do that are killed
        begin = time.monotonic()
        if forked(lambda most=trials: work(max_trials=most), log):
            sys.exit(log.read_text()[-3000:])
        duration = time.monotonic() - begin
    watched.look()
    for _ in range(times):
        status = forked(work, log, duration * float(generator.uniform(0.2, 2.0)))
        if status != -signal.SIGKILL:
            watched.problems.append(f"status {status}: {log.read_text()[-1000:]}")
        watched.look()
    time.sleep(SILENCE)
    waiting = len(set(watched.begun.values()) - watched.candidates)
    status = forked(lambda: work(max_trials=len(watched.finished) + waiting + 1), log)
    if status:
        watched.problems.append(f"at the end, status {status}: {log.read_text()[-1000:]}")
    watched.look()
    watched.problems += [f"{candidate} is lost" for candidate in watched.lost()]
    row = {
        "kills": times,
        "ended in a trial": len(watched.begun),
        "finished": len(watched.finished),
        "under way": watched.states.count("RUNNING"),
        "problems": watched.problems,
    }
    print(json.dumps(row))


if __name__ == "__main__":
    main()
