"""Searches for the best file of a trained model within a budget."""

import dataclasses
import functools
import os
import pathlib
import time
from collections.abc import Sequence
from typing import Any

import keras
from rich.console import Console

from tfcompress.compat.tf_keras_models import is_tf_keras_model
from tfcompress.data import gather, reusable
from tfcompress.interruption import reliable_interruption
from tfcompress.keras_graph.channels.flow import require_functional
from tfcompress.keras_graph.wrapper import require_built, unwrap
from tfcompress.legacy.conversion import from_tf_keras
from tfcompress.recipes import require_loss
from tfcompress.search.candidates import TECHNIQUES, Candidate, Space
from tfcompress.search.fine_tuning import FineTuning
from tfcompress.search.quality import Quality, quality_of
from tfcompress.search.results import ACCURACY, SearchResult, make_budget, require_positive
from tfcompress.search.strategy import choose
from tfcompress.search.study import StrategySampler, finished_trials, open_study
from tfcompress.search.time_budget import (
    CLOSING,
    Plan,
    choose_epochs,
    measure_forward_time,
    measure_sensitivity,
)
from tfcompress.search.training_data import (
    count_steps,
    prepare_training_data,
    require_classes,
    require_labels,
    sample_inputs,
)
from tfcompress.search.trial_runner import (
    TrialRunner,
    claim_directory,
    fingerprint,
    measure_reference,
    one_at_a_time,
)
from tfcompress.search.worker import Worker, require_shared
from tfcompress.targets.target import load_target
from tfcompress.targets.vela import require_compiler

_MAKING = 2  # making a candidate takes so many times as long as wrapping the model: channels too
_UNTIL_TRAINED = 3  # so many times what a trial that trains nothing takes


def compress(
    model: keras.Model,
    train_data: Any,
    validation_data: Any,
    *,
    target: str | None = None,
    metric: Any = None,
    metric_mode: str = "auto",
    max_accuracy_drop: float | None = None,
    max_size: int | None = None,
    max_latency: float | None = None,
    time_budget: float = 900,
    directory: str | os.PathLike = "search",
    storage: str | None = None,
    techniques: Sequence[str] | None = None,
    epochs: int | None = None,
    learning_rate: float = 2e-3,
    loss: Any = None,
    batch_size: int = 32,
    max_trials: int | None = None,
    runs: int = 100,
    heartbeat: int = 10,
    seed: int = 0,
    progress: bool = True,
) -> SearchResult:
    """Find the best .tflite file of a model within a budget.

    Each trial removes channels, sets weights to zero, rounds them to 8 bits or fewer, fine-tunes
    the result with the original as the teacher and the numbers of the device, exports it, runs
    the file on the validation data and times it in turns with the float file. The first trial
    trains nothing, so there is a result within seconds; the next ones follow a schedule of
    candidates, by bisection; then local search follows the Pareto front until the time is up.

    All files are in ``directory``. A call with the same model and validation data resumes
    there, under another budget too; several processes can work on it together.

    Args:
        model: a built and trained model, of tf_keras too; it is not changed. Without ``metric``
            a classifier, whose output has the shape (examples, classes).
        train_data: (x, y), (x, y, sample_weight), a tf.data.Dataset or a PyDataset, as ``fit``
            takes them. A dataset may augment its examples.
        validation_data: likewise, with labels, to measure accuracy on. As trials are chosen
            by it, keep other data for the final evaluation.
        target: a device of ``tfcompress.targets.list_targets()`` that must run the file. Of one
            with a compiler, such as "ethos-u55-128", that compiler's seconds and bytes count.
        metric: what to keep in the place of accuracy, for regression, segmentation or several
            outputs: a metric of Keras or its name, a function from (labels, outputs) to a number,
            or {the name of an output: one of these}. Outputs come as the labels do: one array, a
            list, or a dict by name.
        metric_mode: whether "max" or "min" of ``metric`` is better; "auto" goes by its name.
        max_accuracy_drop: the largest loss of accuracy against the float file; 0.01, the default,
            is one point. With ``metric`` how much worse that may get, in its unit; to be given.
        max_size: the most bytes of the gzipped file; of flash for a target with a compiler.
        max_latency: the most median seconds of a run, on this computer with one thread; by the
            compiler's estimate for a target that has one.
        time_budget: seconds; the last trial is cut to what is left.
        directory: where all files are kept; created if missing. Workers share it.
        storage: the URL of a database for workers on several machines, such as
            "postgresql+psycopg://user@host/database"; ``study.db`` in the directory by default.
        techniques: among "channels", "sparsity", "precision" (4 bits for some layers) and
            "clusters". The first three by default; without "channels" for a subclassed model.
        epochs: epochs of a trial; by default so many that about seven trials fit.
        learning_rate: the initial learning rate of the fine-tuning.
        loss: the loss of the labels, one or several, as ``compile`` takes it; by default the cross
            entropy that fits a classifier. With ``metric`` that of the compiled model.
        batch_size: of arrays.
        max_trials: the most trials, including those of other workers and earlier calls.
        runs: timed runs of each file.
        heartbeat: seconds between two heartbeats of a worker. When one misses six of them,
            another worker takes over its trial.
        seed: of the order of examples, with the number of the trial, and of Optuna's sampler.
        progress: whether to print the plan and a line for each trial.

    Returns:
        The result: ``.met``, ``.path``, ``.model``, ``.report``, ``.trials``, ``.nearest``.

    Raises:
        ImportError: Optuna, or the compiler of the target, is not installed.
        TypeError: the data can be iterated over only once.
        ValueError: the target, a technique or the metric is unknown; a limit is out of its range or
            below what any compression reaches; the model is not built, a wrapper, or without
            ``metric`` not a classifier; labels or the loss are missing, or labels do not fit its
            classes; the directory belongs to another model, target or metric; or the model does not
            fit the budget without training, for which there is no time.
        RuntimeError: no candidate can be exported; or an error of ``export_tflite`` for the
            original model.
        KeyboardInterrupt: after Ctrl-C; the best file so far is in the directory, and the next
            call resumes.

    Example:
    >>> result = tfc.compress(
    ...     model, (x, y), (x_test, y_test), target="raspberry-pi-4", max_accuracy_drop=0.01
    ... )
    >>> print(result.to_text())

    Source: distillation into a compressed copy: Mishra and Marr, "Apprentice", 2018,
    https://arxiv.org/abs/1711.05852; the database of trials: Akiba et al., "Optuna", 2019,
    https://arxiv.org/abs/1907.10902.
    """
    end = time.monotonic() + time_budget
    quality = quality_of(metric, metric_mode)
    budget = make_budget(quality.name, max_accuracy_drop, max_size, max_latency)
    require_positive(
        time_budget=time_budget, epochs=epochs, batch_size=batch_size, max_trials=max_trials,
        runs=runs, heartbeat=heartbeat, learning_rate=learning_rate,
    )  # fmt: skip
    if target is not None:
        require_compiler(load_target(target))
    if is_tf_keras_model(model):
        model = from_tf_keras(model)
    space = _space(model, techniques)
    validation_data = reusable(validation_data)
    labels, loss = _checked_labels(model, train_data, validation_data, quality, loss)
    steps = count_steps(train_data, batch_size)
    validation_data = gather(validation_data)
    identity = fingerprint(model, validation_data)
    directory = pathlib.Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    console = Console(quiet=not progress)
    with one_at_a_time(directory), console.status("measuring the original model"):
        claim_directory(directory, identity, target, quality.name)
        reference = measure_reference(model, validation_data, directory, runs, quality, target)
        budget.require_possible(reference)
        sampler = StrategySampler(space, functools.partial(choose, space, budget), seed)
        name = f"tfcompress-{identity}-{target}"
        study = open_study(directory, storage, name, sampler, heartbeat)
    require_shared(directory, finished_trials(study))
    tuning = FineTuning(sample_inputs(train_data), labels, learning_rate, loss, seed)
    runner = TrialRunner(directory, tuning, reference, validation_data, target, runs, quality)
    worker = Worker(runner, study, space, budget, time_budget, model.name, console)
    worker.say(
        f"{'the float file' if reference.flash is None else 'the model in 8 bits'}: "
        f"{reference.stored:,} bytes, {1000 * reference.latency:.3f} ms, "
        f"{reference.metric} {reference.text_of(reference.accuracy)}"
    )
    try:
        with reliable_interruption():
            worker.run_first(end)
            forward = measure_forward_time(model, tuning.inputs)
            needed = _seconds_for_one(worker, forward.epoch(steps * batch_size))
            if needed > end - time.monotonic():
                _require_met(worker, needed, end)
            else:
                worker = _prepared(worker, model, train_data, batch_size, forward, end)
                worker.run_until_end(_plan(worker, end, epochs), max_trials)
    except KeyboardInterrupt:
        if worker.result().nearest is not None:
            worker.say(f"interrupted. {worker.result().verdict()}")
        raise
    result = worker.result()
    if result.nearest is None:
        errors = "; ".join(trial.error for trial in result.trials)
        raise RuntimeError(f"No candidate gave a file that runs: {errors or 'none was tried'}")
    return result


def _checked_labels(model, train_data, validation_data, quality: Quality, loss):
    """Check that there are labels; return some of a classifier's, and the loss of other models."""
    data = {"validation_data": validation_data, "train_data": train_data}
    if quality.name != ACCURACY:
        loss = require_loss(model, loss)
        for name, examples in data.items():
            require_labels(examples, name)
        return None, loss
    labels = [require_classes(model, examples, name) for name, examples in data.items()]
    return labels[0], loss


def _space(model: keras.Model, techniques: Sequence[str] | None) -> Space:
    if unwrap(model) is not model:
        raise ValueError(
            "A search takes the float model and wraps it itself: pass its `.model`. "
            f"Received: a {type(model).__name__}"
        )
    require_built(model)
    space = Space(TECHNIQUES[:3] if techniques is None else tuple(techniques))
    if "channels" in space.techniques:
        try:
            require_functional(model)
        except ValueError:
            if techniques is not None:
                raise
            space = Space(TECHNIQUES[1:3])
    return space


def _seconds_for_one(worker: Worker, epoch: float) -> float:
    """Estimate the least seconds that a trial with one epoch takes.

    A model with ranges is made and its training traced twice, first to measure an epoch.
    """
    trials = finished_trials(worker.study)
    beside = [trial.seconds - trial.training_seconds for trial in trials if trial.error is None]
    return epoch + _UNTIL_TRAINED * min(beside, default=0.0) + CLOSING


def _prepared(worker: Worker, model, train_data, batch_size: int, forward, end: float) -> Worker:
    """Compute the teacher's outputs and the sensitivities, which trials that train need."""
    directory, tuning = worker.runner.directory, worker.runner.fine_tuning
    status = worker.console.status
    start = time.monotonic()
    with one_at_a_time(directory), status("computing the teacher's outputs"):
        data = prepare_training_data(model, train_data, batch_size, directory / "teacher")
    answered = time.monotonic()
    with one_at_a_time(directory), status("measuring the sensitivity of each kernel"):
        table = measure_sensitivity(
            model, tuning.inputs, worker.space, forward, end - answered, directory
        )
    worker.say(
        f"the teacher's outputs took {answered - start:.0f} s, the sensitivities of "
        f"{len({effect.path for effect in table.effects})} kernels "
        f"{time.monotonic() - answered:.0f} s"
    )
    tuning = dataclasses.replace(tuning, data=data, table=table)
    runner = dataclasses.replace(worker.runner, fine_tuning=tuning)
    return dataclasses.replace(worker, runner=runner)


def _plan(worker: Worker, end: float, epochs: int | None) -> Plan:
    """Measure how long an epoch takes, and plan how the time is spent."""
    start = time.monotonic()
    tuning = worker.runner.fine_tuning
    with worker.console.status("measuring how long an epoch takes"):
        quantized = tuning.make(worker.runner.load(), Candidate(), Candidate())
        making = time.monotonic() - start
        epoch = tuning.measure_epoch(quantized, end)
        tracing = time.monotonic() - start - making
    trials = finished_trials(worker.study)
    overhead = _MAKING * making + tracing
    overhead += max((t.seconds for t in trials if t.training_seconds == 0), default=0.0)
    rough = Plan(end, 1, 1, epoch, overhead)
    overhead = rough.seconds_beside_training(trials)
    chosen = epochs or choose_epochs(rough.left, epoch, overhead)
    plan = Plan(end, chosen, epochs or 2 * chosen, epoch, overhead)
    if not plan.affordable(Candidate(), trials):
        _require_met(worker, plan.epoch + plan.overhead, end)
        return plan
    worker.say(
        f"{rough.left:.0f} s are left; an epoch takes {epoch:.1f} s, a trial of {chosen} "
        f"epoch{'s' * (chosen > 1)} about {chosen * epoch + overhead:.0f} s. Techniques: "
        f"{', '.join(worker.space.techniques)}; files in {worker.runner.directory}"
    )
    return plan


def _require_met(worker: Worker, needed: float, end: float) -> None:
    """Say that there is no time for training: an error unless the budget is met."""
    left = max(end - time.monotonic(), 0.0)
    total = worker.time_budget - left + needed
    result = worker.result()
    if result.nearest is not None and not result.met:
        raise ValueError(
            "The time budget is too short for a trial of one epoch, and without training the model "
            f"does not fit the budget: {total:.0f} s are needed at least. "
            f"Received: time_budget={worker.time_budget!r}"
        )
    worker.say(
        f"{left:.0f} s are left, one epoch of training needs {needed:.0f} s: no further trial"
    )
