"""Signs of life are in the time of the database's machine: what becomes of them when it jumps."""

import contextlib
import dataclasses
import sqlite3

import optuna
import pytest
from study_worker import SPACE, measured, study_in

from tfcompress.search.space import Candidate
from tfcompress.search.store import finished_trials, run_next, running_candidates

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
