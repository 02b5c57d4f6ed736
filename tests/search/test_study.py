"""A study that several workers share, and what becomes of the trial of one that dies."""

import contextlib
import dataclasses
import pathlib
import sqlite3
import time

import optuna
import postgresql_cluster
import pytest
from started_script import StartedScript
from study_worker import SPACE, TRIALS, measured, study_in

from tfcompress.search.candidates import Candidate
from tfcompress.search.study import (
    LostTrialError,
    finished_trials,
    open_study,
    run_next,
    running_candidates,
)

SCRIPT = pathlib.Path(__file__).with_name("study_worker.py")


@pytest.fixture(params=["sqlite", "postgresql"])
def storage(request):
    """A place for a study: None for SQLite in the directory, or the URL of a server."""
    if request.param == "sqlite":
        yield None
        return
    pytest.importorskip("psycopg", reason="needs psycopg, the driver of PostgreSQL")
    if reason := postgresql_cluster.missing():
        pytest.skip(reason)
    with postgresql_cluster.cluster() as url:
        yield url


def start(directory, storage, seconds):
    return StartedScript(SCRIPT, directory, storage or "", seconds)


def wait_until(condition, seconds=30):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.mark.process
def test_the_trial_of_a_killed_worker_is_taken_up(tmp_path, storage):
    study = study_in(tmp_path, storage)
    patient, doomed = start(tmp_path, storage, 0.8), start(tmp_path, storage, 600)
    try:
        wait_until(lambda: len(running_candidates(study)) == 2)
        wait_until(lambda: len(finished_trials(study)) >= 1)
        (killed,) = (  # the one that does not get anywhere
            trial
            for trial in study.get_trials(states=[optuna.trial.TrialState.RUNNING])
            if trial.number < 2
        )
        doomed.kill()
        output = patient.communicate(timeout=60)
        assert patient.returncode == 0, output
    finally:
        for worker in (patient, doomed):
            worker.kill()
            worker.wait()
    trials = finished_trials(study)
    assert len(trials) >= TRIALS
    assert Candidate(**killed.params) in [trial.candidate for trial in trials]
    assert running_candidates(study) == ()
    ended = study.get_trials()[killed.number]
    assert ended.state == optuna.trial.TrialState.FAIL
    (again,) = (t for t in study.get_trials() if t.system_attrs.get("failed_trial") == ended.number)
    assert again.params == killed.params
    assert again.state == optuna.trial.TrialState.COMPLETE


def test_a_worker_that_was_taken_for_dead_says_so(tmp_path):
    study = study_in(tmp_path, None)

    def work(number, candidate):
        # What another worker does with the trial of one that it believes dead.
        study._storage.set_trial_state_values(
            study.get_trials()[number]._trial_id, state=optuna.trial.TrialState.FAIL
        )
        return measured(number, candidate)

    with pytest.raises(LostTrialError, match="another worker"):
        run_next(study, SPACE, work)
    assert finished_trials(study) == ()


def test_an_interrupted_trial_waits_for_the_next_worker(tmp_path):
    study = study_in(tmp_path, None)
    begun = []

    def interrupted(number, candidate):
        begun.append(candidate)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_next(study, SPACE, interrupted)
    assert running_candidates(study) == ()  # queued: it has no parameters before it begins
    run_next(study, SPACE, measured)
    assert [trial.candidate for trial in finished_trials(study)] == begun


def test_errors_of_the_work_are_not_swallowed(tmp_path):
    def broken(number, candidate):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run_next(study_in(tmp_path, None), SPACE, broken)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("sqlite:////nowhere/at/all.db", "sqlite:////nowhere/at/all.db"),
        ("fancy://me:secret@host/database", "fancy://me:***@host/database"),
        ("no URL at all", "no URL at all"),
    ],
)
def test_a_storage_that_cannot_be_opened(tmp_path, url, shown):
    with pytest.raises(ValueError, match="cannot be opened") as caught:
        open_study(tmp_path, url, "test", None, 10)
    assert f"storage='{shown}'" in str(caught.value)
    assert "secret" not in str(caught.value)


def test_optuna_stays_as_it_was(tmp_path):
    with contextlib.ExitStack() as after:
        after.callback(optuna.logging.set_verbosity, optuna.logging.get_verbosity())
        optuna.logging.set_verbosity(optuna.logging.DEBUG)
        run_next(study_in(tmp_path, None), SPACE, measured)
        assert optuna.logging.get_verbosity() == optuna.logging.DEBUG


DEAD = Candidate(sparsity=SPACE.levels("sparsity")[1])


def ask_and_die(study):
    """Begin a trial, give a sign of life, and no other."""
    study.enqueue_trial(dataclasses.asdict(DEAD))
    trial = study.ask()
    for name, value in dataclasses.asdict(DEAD).items():
        choices = (False, True) if name == "trained" else tuple(SPACE.levels(name))
        assert trial.suggest_categorical(name, choices) == value
    study._storage.record_heartbeat(trial._trial_id)


def move_last_sign(directory, change):
    """Let the last signs of life be from another time."""
    with contextlib.closing(sqlite3.connect(directory / "study.db")) as database, database:
        database.execute("UPDATE trial_heartbeats SET heartbeat = datetime('now', ?)", (change,))


def states(study):
    return [trial.state.name for trial in study.get_trials()]


@pytest.fixture
def study(tmp_path):
    return study_in(tmp_path, None)


def test_after_a_jump_back_a_dead_workers_trial_waits_and_is_not_lost(study, tmp_path):
    ask_and_die(study)
    move_last_sign(tmp_path, "+1 hour")  # an hour back: the sign is from the future
    run_next(study, SPACE, measured)
    assert states(study) == ["RUNNING", "COMPLETE"]
    assert running_candidates(study) == (DEAD,)
    move_last_sign(tmp_path, "-1 hour")  # when the clock is there again
    run_next(study, SPACE, measured)
    assert states(study) == ["FAIL", "COMPLETE", "COMPLETE"]
    assert finished_trials(study)[-1].candidate == DEAD
    assert running_candidates(study) == ()


def test_a_jump_ahead_takes_a_living_workers_trial_which_is_done_again(study, tmp_path):
    ask_and_die(study)
    move_last_sign(tmp_path, "-1 hour")
    run_next(study, SPACE, measured)
    assert states(study) == ["FAIL", "COMPLETE"]
    assert finished_trials(study)[0].candidate == DEAD
    assert study.get_trials()[0].state == optuna.trial.TrialState.FAIL
