"""The study: trials in a database that several workers share, and what becomes of a dead one's."""

import contextlib
import dataclasses
import json
import math
import pathlib
import re
import warnings
from collections.abc import Callable, Iterator, Sequence

from tfcompress.extras import missing_extra

try:
    import optuna
    from sqlalchemy.exc import SQLAlchemyError
except ImportError as error:
    raise ImportError(missing_extra("A search", "search")) from error

from tfcompress.interruption import reliable_interruption
from tfcompress.search.records import Trial
from tfcompress.search.space import TECHNIQUES, Candidate, Space

_RECORD = "record"
_SILENT_HEARTBEATS = 6
_MOST_RETRIES = 3
_WAIT_FOR_LOCK = 60


def open_study(
    directory: pathlib.Path, storage: str | None, name: str, sampler, heartbeat: int
) -> optuna.Study:
    """Open the study of a search, or make it.

    Args:
        directory: where ``study.db`` is, unless a storage is given.
        storage: the URL of a database, such as "postgresql+psycopg://user@host/database".
        name: the study's name in the database.
        sampler: proposes candidates.
        heartbeat: seconds between two signs of life of a worker. After six without one the trial
            that it was at is taken up by another worker.

    Returns:
        The study: accuracy drop, logarithms of gzipped size and of latency, all minimized.

    Raises:
        ValueError: the storage cannot be opened.
    """
    url = storage or f"sqlite:///{directory / 'study.db'}"
    waiting = {"connect_args": {"timeout": _WAIT_FOR_LOCK}} if url.startswith("sqlite") else {}
    with _quiet(), warnings.catch_warnings():
        # Optuna calls heartbeats experimental; they are what its documentation recommends.
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        try:
            return optuna.create_study(
                storage=optuna.storages.RDBStorage(
                    url,
                    engine_kwargs=waiting,
                    heartbeat_interval=heartbeat,
                    grace_period=_SILENT_HEARTBEATS * heartbeat,
                    heartbeat_stale_trial_callback=optuna.storages.RetryHeartbeatStaleTrialCallback(
                        _MOST_RETRIES
                    ),
                ),
                study_name=name,
                sampler=sampler,
                directions=["minimize"] * 3,
                load_if_exists=True,
            )
        except (optuna.exceptions.StorageInternalError, SQLAlchemyError, ImportError) as error:
            raise ValueError(
                f"The storage cannot be opened: {str(error).splitlines()[0]}. Supported: URLs of "
                "SQLAlchemy whose driver is installed, such as postgresql+psycopg:// and "
                f"sqlite:///. Received: storage={_without_password(url)!r}"
            ) from error


def _without_password(url: str) -> str:
    return re.sub(r"(://[^:/@]*):[^@]*@", r"\1:***@", url)


def finished_trials(study: optuna.Study) -> tuple[Trial, ...]:
    """Return the trials that were told, those that failed by themselves included."""
    complete = study.get_trials(deepcopy=False, states=[optuna.trial.TrialState.COMPLETE])
    return tuple(Trial.from_json(trial.user_attrs[_RECORD]) for trial in complete)


def running_candidates(study: optuna.Study) -> tuple[Candidate, ...]:
    """Return what workers are at, and what waits to be taken up again."""
    states = [optuna.trial.TrialState.RUNNING, optuna.trial.TrialState.WAITING]
    under_way = study.get_trials(deepcopy=False, states=states)
    return tuple(Candidate(**trial.params) for trial in under_way if trial.params)


class LostTrialError(RuntimeError):
    """Others took this worker for dead, and its trial from it."""


def run_next(study: optuna.Study, space: Space, work: Callable[[int, Candidate], Trial]) -> None:
    """Run the next trial, and keep what came of it in the study.

    Args:
        study: the study.
        space: the candidates.
        work: from the trial's number and its candidate to the trial.

    Raises:
        LostTrialError: the trial was taken from this worker, which was silent for too long.
    """
    lost = False

    def objective(trial: optuna.Trial) -> Sequence[float]:
        nonlocal lost
        candidate = _suggest(trial, space)
        try:
            with reliable_interruption():
                record = work(trial.number, candidate)
        except KeyboardInterrupt:
            # Nothing is lost: the next worker takes it up.
            study.enqueue_trial(trial.params)
            raise
        try:
            trial.set_user_attr(_RECORD, json.loads(json.dumps(record.to_json(), default=float)))
        except optuna.exceptions.UpdateFinishedTrialError as error:
            lost = True
            raise LostTrialError(f"Trial {trial.number} was taken up by another worker.") from error
        return _values(record)

    with _quiet():
        try:
            study.optimize(objective, n_trials=1, gc_after_trial=True)
        except ValueError as error:
            if lost:  # Optuna cannot tell a trial that others have ended
                raise LostTrialError("The trial was taken up by another worker.") from error
            raise


class FrontSampler(optuna.samplers.BaseSampler):
    """Proposes what a function chooses; where it has nothing to propose, what Optuna's TPE does.

    Args:
        space: the candidates.
        choose: from finished trials and candidates under way to the next candidate, or None.
        seed: of TPE.
    """

    def __init__(self, space: Space, choose, seed: int):
        self._space = space
        self._choose = choose
        self._otherwise = optuna.samplers.TPESampler(seed=seed)

    def infer_relative_search_space(self, study, trial):
        """Return the levels of all techniques."""
        return _distributions(self._space)

    def sample_relative(self, study, trial, search_space):
        """Return the chosen candidate, or nothing, which leaves the choice to TPE."""
        candidate = self._choose(finished_trials(study), running_candidates(study))
        return {} if candidate is None else dataclasses.asdict(candidate)

    def sample_independent(self, study, trial, param_name, param_distribution):
        """Return what TPE samples; all that it proposes is trained."""
        if param_name == "trained":
            return True
        return self._otherwise.sample_independent(study, trial, param_name, param_distribution)


def _distributions(space: Space) -> dict:
    levels = {name: tuple(space.levels(name)) for name in TECHNIQUES} | {"trained": (False, True)}
    return {name: optuna.distributions.CategoricalDistribution(c) for name, c in levels.items()}


def _suggest(trial: optuna.Trial, space: Space) -> Candidate:
    found = {
        name: trial.suggest_categorical(name, distribution.choices)
        for name, distribution in _distributions(space).items()
    }
    return Candidate(**found)


def _values(trial: Trial) -> Sequence[float]:
    if trial.error is not None:
        return (math.inf,) * 3
    return (trial.accuracy_drop, math.log(trial.gzip_size), math.log(trial.latency))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Let progress be shown here, not in Optuna's log."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.CRITICAL)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)
