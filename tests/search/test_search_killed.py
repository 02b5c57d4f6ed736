"""A search that is killed with SIGKILL goes on where it was."""

import pathlib
import time

import optuna
import pytest
from small_search import search, trained_model
from started_script import StartedScript

SCRIPT = pathlib.Path(__file__).with_name("killed_search.py")


def running(directory):
    """Return the parameters of the trials under way, by number."""
    url = f"sqlite:///{directory / 'study.db'}"
    (name,) = optuna.get_all_study_names(url)
    study = optuna.load_study(study_name=name, storage=url)
    trials = study.get_trials(states=[optuna.trial.TrialState.RUNNING])
    return {trial.number: trial.params for trial in trials}


@pytest.mark.process
def test_a_killed_search_goes_on_and_loses_no_trial(tmp_path):
    model = trained_model()
    model.save(tmp_path / "model.keras")
    directory = tmp_path / "search"
    process = StartedScript(SCRIPT, tmp_path / "model.keras", directory)
    try:
        end = time.monotonic() + 120
        while not (directory / "trials" / "0").exists() or 1 not in running(directory):
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < end
            time.sleep(0.2)
        time.sleep(1.0)  # well into the training of 400 epochs
    finally:
        process.kill()
        process.wait()
    ((_, params),) = running(directory).items()
    kept = (directory / "trials" / "0" / "model.tflite").read_bytes()
    assert [path.name for path in (directory / "trials").iterdir()] == ["0"]
    # After six silent heartbeats of a second the killed worker counts as dead.
    time.sleep(6.5)
    result = search(model, directory, heartbeat=1, max_trials=2)
    assert (directory / "trials" / "0" / "model.tflite").read_bytes() == kept
    first, again = result.trials
    assert first.number == 0
    assert {name: getattr(again.candidate, name) for name in params} == params
    assert again.epochs == 1
    assert running(directory) == {}
