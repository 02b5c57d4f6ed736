"""The Optuna study of a search: trials in a database that several workers share."""

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
from tfcompress.search.candidates import TECHNIQUES, Candidate, Space
from tfcompress.search.results import Trial

_RECORD = "record"
_MISSED_HEARTBEATS = 6
_MAX_RETRIES = 3
_WAIT_FOR_LOCK = 60


def open_study(
    directory: pathlib.Path, storage: str | None, name: str, sampler, heartbeat: int
) -> optuna.Study:
    """Open or create a study that minimizes accuracy drop, log stored bytes and log latency.

    It is in ``study.db`` in the directory, or in the database of a storage's URL. When a worker
    misses six heartbeats, another one takes over its trial.
    """
    url = storage or f"sqlite:///{directory / 'study.db'}"
    waiting = {"connect_args": {"timeout": _WAIT_FOR_LOCK}} if url.startswith("sqlite") else {}
    with _quiet(), warnings.catch_warnings():
        # Optuna calls heartbeats experimental; they are what its documentation recommends.
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        retry = optuna.storages.RetryHeartbeatStaleTrialCallback(_MAX_RETRIES)
        try:
            database = optuna.storages.RDBStorage(
                url,
                engine_kwargs=waiting,
                heartbeat_interval=heartbeat,
                grace_period=_MISSED_HEARTBEATS * heartbeat,
                heartbeat_stale_trial_callback=retry,
            )
            return optuna.create_study(
                storage=database,
                study_name=name,
                sampler=sampler,
                directions=["minimize"] * 3,
                load_if_exists=True,
            )
        except (optuna.exceptions.StorageInternalError, SQLAlchemyError, ImportError) as error:
            shown = re.sub(r"(://[^:/@]*):[^@]*@", r"\1:***@", url)  # without the password
            raise ValueError(
                f"The storage cannot be opened: {str(error).splitlines()[0]}. It must be a URL "
                "of SQLAlchemy whose driver is installed, such as postgresql+psycopg:// or "
                f"sqlite:///. Received: storage={shown!r}"
            ) from error


def finished_trials(study: optuna.Study) -> tuple[Trial, ...]:
    """Return the trials that ended, including those whose candidate failed."""
    complete = study.get_trials(deepcopy=False, states=[optuna.trial.TrialState.COMPLETE])
    return tuple(Trial.from_json(trial.user_attrs[_RECORD]) for trial in complete)


def running_candidates(study: optuna.Study) -> tuple[Candidate, ...]:
    """Return the candidates that workers are running, or that wait to be run again."""
    states = [optuna.trial.TrialState.RUNNING, optuna.trial.TrialState.WAITING]
    under_way = study.get_trials(deepcopy=False, states=states)
    return tuple(Candidate(**trial.params) for trial in under_way if trial.params)


class LostTrialError(RuntimeError):
    """Another worker took over the trial, because this one missed too many heartbeats."""


def run_next(study: optuna.Study, space: Space, work: Callable[[int, Candidate], Trial]) -> None:
    """Run the next trial and store its result in the study.

    ``work`` makes the trial of a number and a candidate. A ``LostTrialError`` says that another
    worker took over the trial.
    """
    lost = False

    def objective(trial: optuna.Trial) -> Sequence[float]:
        nonlocal lost
        levels = _distributions(space).items()
        candidate = Candidate(
            **{name: trial.suggest_categorical(name, level.choices) for name, level in levels}
        )
        try:
            with reliable_interruption():
                record = work(trial.number, candidate)
        except KeyboardInterrupt:
            # The next worker runs it again.
            study.enqueue_trial(trial.params)
            raise
        try:
            trial.set_user_attr(_RECORD, json.loads(json.dumps(record.to_json(), default=float)))
        except optuna.exceptions.UpdateFinishedTrialError as error:
            lost = True
            raise LostTrialError(
                f"Trial {trial.number} was taken over by another worker."
            ) from error
        if record.error is not None:
            return (math.inf,) * 3
        return (record.accuracy_drop, math.log(record.stored), math.log(record.latency))

    with _quiet():
        try:
            study.optimize(objective, n_trials=1, gc_after_trial=True)
        except ValueError as error:
            if lost:  # Optuna cannot tell a trial that others have ended
                raise LostTrialError("The trial was taken over by another worker.") from error
            raise


class StrategySampler(optuna.samplers.BaseSampler):
    """Proposes what ``choose`` returns for finished trials and running candidates, or else TPE."""

    def __init__(self, space: Space, choose, seed: int):
        self._space = space
        self._choose = choose
        self._fallback = optuna.samplers.TPESampler(seed=seed)

    def infer_relative_search_space(self, study, trial):
        """Return the levels of all techniques."""
        return _distributions(self._space)

    def sample_relative(self, study, trial, search_space):
        """Return the chosen candidate, or nothing, which leaves the choice to TPE."""
        candidate = self._choose(finished_trials(study), running_candidates(study))
        return {} if candidate is None else dataclasses.asdict(candidate)

    def sample_independent(self, study, trial, param_name, param_distribution):
        """Return what TPE samples; its candidates are always trained."""
        if param_name == "trained":
            return True
        return self._fallback.sample_independent(study, trial, param_name, param_distribution)


def _distributions(space: Space) -> dict:
    levels = {name: tuple(space.levels(name)) for name in TECHNIQUES} | {"trained": (False, True)}
    return {name: optuna.distributions.CategoricalDistribution(c) for name, c in levels.items()}


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence Optuna's log: progress is shown by the worker."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.CRITICAL)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)
