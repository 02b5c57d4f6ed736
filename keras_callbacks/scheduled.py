"""Callbacks that change a model on a schedule, and that resume after an interruption.

Steps are counted by the optimizer, whose counter every checkpoint holds; step 0 is where the
callback's first training began. An update that is due is made at the first opportunity: after the
batch of its step (with ``steps_per_execution``, after the execution), or before the model is saved.
A training that ends before the schedule does ends at the sparsity of its last step.

The callback's state is saved with the model. ``BackupAndRestore`` and ``ModelCheckpoint`` save what
they find among the attributes of the model; during training a small saveable object is one of them.
It adds nothing to the model's weights, and a model without it can load the same file.
"""

import abc
import math
import os
import threading
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np

from keras_callbacks.callback import (
    CompressionCallback,
    after_every_callback,
    coming_history,
    retrace,
)
from tfcompress.backends import runs_on
from tfcompress.compat.keras_attributes import get_untracked, remove_untracked, set_untracked
from tfcompress.compat.keras_saving import SaveableState
from tfcompress.compat.keras_steps import (
    averages_of,
    batches_seen,
    bring_up_to_date,
    skips_steps,
    waits_to_count,
)
from tfcompress.compat.keras_training import build_optimizer
from tfcompress.keras_graph.acceleration import lacks_acceleration
from tfcompress.pruning.schedules import TO_THE_END, as_schedule

_ATTRIBUTE = "_callback_states"
_SAVING = ("save", "save_weights")


class SavedState(SaveableState):
    """One callback's entry in the files of a model.

    ``read`` returns the arrays to save by name; ``before_save`` is called before the model is
    saved, whoever saves it; ``after_save`` is called with the path of the file.
    """

    def __init__(
        self,
        read: Callable[[], Mapping],
        before_save: Callable[[], None],
        after_save: Callable[[str], None],
    ):
        self._read = read
        self._before_save = before_save
        self._after_save = after_save
        self.loaded: dict[str, np.ndarray] | None = None
        self.training = False
        self._claims: set[str] = set()

    def save_own_variables(self, store):
        """Write the state; called by Keras."""
        if self.training:
            for name, value in self._read().items():
                store[name] = value

    def load_own_variables(self, store):
        """Keep what the file holds; called by Keras."""
        names = list(store.keys())
        self.loaded = {name: np.asarray(store[name]) for name in names} or None

    def attach(self, model: keras.Model) -> None:
        """Become an attribute of a model, for a training that is about to begin."""
        self.loaded = None
        self.training = False
        states = get_untracked(model, _ATTRIBUTE, [])
        set_untracked(model, _ATTRIBUTE, states)
        # A fit that was interrupted by an exception left its entries behind: it is over.
        states[:] = [state for state in states if not state.training and state is not self]
        states.append(self)

        def save_own_variables(store):
            for state in states:
                if state.training:
                    state._before_save()
            type(model).save_own_variables(model, store)

        # Keras calls this first when it saves a model.
        set_untracked(model, "save_own_variables", save_own_variables)
        for name in _SAVING:
            set_untracked(model, name, _reporting_save(model, name, states))

    def claim(self, model: keras.Model, kernels: set[str]) -> None:
        """Begin a training that changes the kernels of these paths, exclusively."""
        for other in get_untracked(model, _ATTRIBUTE):
            both = other._claims & kernels
            if other.training and both:
                raise ValueError(
                    "Two callbacks cannot set the sparsity of the same kernel: give each its own "
                    f"`layers=`. Received twice: {sorted(both)}"
                )
        self._claims = kernels
        self.training = True

    def detach(self, model: keras.Model) -> None:
        """Remove this object from the model's attributes."""
        self.training = False
        states = get_untracked(model, _ATTRIBUTE, [])
        if self in states:
            states.remove(self)
        if not states:
            for name in (_ATTRIBUTE, "save_own_variables", *_SAVING):
                remove_untracked(model, name)


def _reporting_save(model, name, states):
    """Return a model's method that saves it, made to report the file."""

    def save(filepath, *args, **kwargs):
        getattr(type(model), name)(model, filepath, *args, **kwargs)
        for state in states:
            if state.training:
                state._after_save(str(filepath))

    return save


class ScheduledCallback(CompressionCallback, abc.ABC):
    """Base class of the callbacks that follow a pruning schedule, of this package or TFMOT."""

    # Keras may call ``on_train_batch_end`` in a thread, and need not wait for each step of JAX.
    async_safe = runs_on("jax")

    def __init__(self, schedule: Any):
        super().__init__()
        self.schedule = as_schedule(schedule)
        self._state = SavedState(self._read_state, self._prepare_file, self._note_file)
        self._reset()

    def _reset(self):
        """Return to the state before any training."""
        self._optimizer = None
        self._origin = None  # the optimizer's count at step 0
        self._running = None  # the schedule, its end filled in
        self._planned = None  # the step at which the training ends, if that is known
        self._last_update = None  # the step of the last update made
        self._last_step = 0
        self._uncounted = 0  # batches begun since the count was last read
        self._thread = None  # where the training runs
        self._started = False
        self._ended = False
        self._files: dict[str, tuple[int, float]] = {}  # step and sparsity when last saved

    # Subclasses implement these.

    @abc.abstractmethod
    def prepare(self) -> set[str]:
        """Check the model before each training; return the paths of the kernels to change."""

    @abc.abstractmethod
    def update(self, sparsity: float, last: bool) -> None:
        """Bring the model to a sparsity, for good if it is the ``last`` update."""

    @abc.abstractmethod
    def hold(self, sparsity: float) -> None:
        """Bring the model to an intermediate sparsity at which the training ends."""

    @abc.abstractmethod
    def mask_again(self) -> float | None:
        """Mask again; return the sparsity found if another callback has changed it."""

    @abc.abstractmethod
    def recover(self, sparsity: float) -> bool:
        """Take masks from a model that an earlier training left at exactly this sparsity."""

    @abc.abstractmethod
    def read_state(self) -> dict[str, np.ndarray]:
        """Return what else to save."""

    @abc.abstractmethod
    def write_state(self, state: dict[str, np.ndarray]) -> None:
        """Restore what ``read_state`` returned."""

    @abc.abstractmethod
    def sparsity(self) -> float:
        """Return the fraction of zeros that the masks keep in the kernels being changed."""

    @abc.abstractmethod
    def sparsity_of_model(self) -> float:
        """Return the fraction of zeros in all trained kernels of the model."""

    @abc.abstractmethod
    def finish(self) -> None:
        """Clean up after each training."""

    # Keras calls these.

    def set_model(self, model: keras.Model) -> None:
        """Attach the state to the model, before `BackupAndRestore` loads what it saved."""
        if model is not self._model:
            self._reset()
        super().set_model(model)
        self._state.attach(model)

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Check everything before the first step."""
        super().on_train_begin(logs)
        self._thread = threading.get_ident()
        self.require_optimizer()
        build_optimizer(self.model)
        self._history = coming_history(self.model)
        self._state.claim(self.model, self.prepare())
        if lacks_acceleration(self.model):
            retrace(self.model)
        self._started = self._ended = False
        self._files = {}

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Find the step to start from, after every callback has restored its state."""
        self.require_begun("on_epoch_begin")
        self._start_once(epoch)

    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Make the update that is due, if it was not made after the last batch."""
        self.require_begun("on_train_batch_begin")
        self._start_once()
        if self._may_be_due():
            self._advance()
        self._uncounted += 1

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Make the update that is due; called in another thread, leave it to the next batch."""
        self.require_begun("on_train_batch_end")
        if threading.get_ident() == self._thread:
            self._start_once()
            self._advance()
        self._report(logs)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Report; after the last epoch, make the last update."""
        self.require_begun("on_epoch_end")
        saw_the_epoch = self._started
        self._start_once()
        if saw_the_epoch and epoch == self._first_epoch:
            self._require_counted_steps()
        stopped = getattr(self.model, "stop_training", False)
        complete = epoch + 1 == (self.params or {}).get("epochs") and not stopped
        # The optimizer does not count the steps that loss scaling has skipped.
        planned = self._planned if complete and self._planned is not None else 0
        if self._step() < planned:
            self._warn_of_skipped_steps(self._step() - self._first_step)
        self._advance(at_least=planned)
        self._report(logs)

    def on_test_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Mask averages of weights that `SwapEMAWeights` puts in the place of the weights."""
        if self._running is not None and self._averages_weights():
            bring_up_to_date(self._model)
            self.mask_again()

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Make the update of the last step."""
        self.require_begun("on_train_end")
        if self._running is not None:
            self._make_last_update()
        self._ended = True
        self._restore_masks()
        self.finish()
        after_every_callback(self._history, self._leave_model)

    def _make_last_update(self):
        """Reach the sparsity of the last step; the final one if the schedule lasts to the end."""
        step, sparsity, foreseen = self._last_step, self.sparsity(), self._running
        unforeseen = self._planned is None or step < self._planned
        self._planned = step
        if self.schedule.end_step == TO_THE_END:
            end = max(step, self.schedule.begin_step)
            if foreseen.end_step == TO_THE_END or end < foreseen.end_step:
                self._running = self.schedule.ending_at(end)
                # An update made at this step, with more planned, was not the last one.
                self._last_update = None
            self._advance(at_least=end)
        else:
            self._advance(at_least=step)
            sparsity = foreseen(step)
        if unforeseen and foreseen.end_step != TO_THE_END and step < foreseen.end_step:
            self._warn_of_early_end(foreseen, step, sparsity)

    def _warn_of_early_end(self, running, step, sparsity):
        """Warn that the training ends before the schedule."""
        ends = f"{type(self).__name__} follows a schedule that ends at step {running.end_step}"
        if self.schedule.end_step == TO_THE_END:
            text = (
                f"{ends}, but the training was stopped at step {step}, so the sparsity rose from "
                f"{sparsity:.4g} to {running.final:.4g} at once. Train further to let the weights "
                "adapt."
            )
        elif sparsity == running.final:
            text = f"{ends}, but this fit ends at step {step}, before the last update of the masks."
        else:
            text = (
                f"{ends}, but this fit ends at step {step}, at a sparsity of {sparsity:.4g} "
                f"instead of {running.final:.4g}. Train longer, or use end_step=-1 to end with the "
                "fit."
            )
        warnings.warn(text, stacklevel=3)

    def _require_counted_steps(self):
        """Raise ValueError if the optimizer has counted no step of the first epoch."""
        if self._step() > self._first_step or skips_steps(self.model.optimizer):
            return
        raise ValueError(
            f"{type(self).__name__} follows `model.optimizer`, which counted no step of this "
            f"epoch: the training step of model {self.model.name!r} updates the weights by "
            "something else. In a `train_step` of your own apply gradients with `self.optimizer`; "
            "with several optimizers, give `compile(optimizer=...)` one that is used at every "
            f"step. Received: model.optimizer={type(self.model.optimizer).__name__}, "
            f"iterations={int(self.model.optimizer.iterations)}"
        )

    def _warn_of_skipped_steps(self, counted):
        """Warn that the optimizer took fewer steps than there were batches."""
        planned = self._planned - self._first_step
        before, after = self.sparsity(), self._running(self._planned)
        if before < after:
            warnings.warn(
                f"{type(self).__name__}: the optimizer counted {counted} steps, not the {planned} "
                "that were planned: loss scaling skips those whose gradients overflow, and data "
                f"may end early. The sparsity rose from {before:.4g} to {after:.4g} at once. Train "
                "further to let the weights adapt, or give LossScaleOptimizer a smaller "
                "`initial_scale`.",
                stacklevel=3,
            )

    def _report(self, logs):
        """Write the sparsity to the logs, which the progress bar and `History` show."""
        if logs is not None:
            logs["sparsity"] = self.sparsity_of_model()

    def _restore_masks(self):
        """Mask again what other callbacks wrote since the last step, with a warning."""
        found = self.mask_again()
        if found is None or self._averages_weights():
            return
        warnings.warn(
            f"{type(self).__name__}: another callback restored weights with a sparsity of "
            f"{found:.4g}, not {self.sparsity():.4g}, as EarlyStopping(restore_best_weights=True) "
            "does if the best epoch precedes the target sparsity. They were masked again, but not "
            f"trained with these masks. {self._advice()}",
            stacklevel=3,
        )

    def _averages_weights(self):
        """Return whether the optimizer overwrites the weights with their moving averages."""
        return bool(averages_of(self._model))

    def _advice(self):
        """Return how to find the best epoch among those at the final sparsity."""
        params = self.params or {}
        steps, epochs, end = params.get("steps"), params.get("epochs"), self._running.end_step
        if steps and epochs:
            epoch = self._first_epoch + math.ceil((end - self._first_step) / steps) - 1
            if epoch < epochs - 1:
                return (
                    "Compare only epochs at the target sparsity: "
                    f"EarlyStopping(start_from_epoch={max(epoch, 0)})."
                )
        return (
            "Set the `end_step` of the schedule well before the end of the training, and compare "
            "only epochs after it: EarlyStopping(start_from_epoch=...)."
        )

    def _leave_model(self):
        """Detach from the model after every callback has ended."""
        self._restore_masks()
        self._state.detach(self.model)
        self._warn_of_early_file()

    def _note_file(self, path):
        """Remember at which sparsity a file was saved."""
        self._files.pop(path, None)
        self._files[path] = self._last_step, self.sparsity()

    def _warn_of_early_file(self):
        """Warn of a file that was last saved before the final sparsity was reached."""
        # `BackupAndRestore` has deleted its own by now.
        left = [path for path in self._files if os.path.exists(path)]
        if not left:
            return
        step, sparsity = self._files[left[-1]]
        if sparsity < self.sparsity():
            warnings.warn(
                f"{left[-1]!r} was last saved at step {step}, at a sparsity of {sparsity:.4g}, "
                f"before {type(self).__name__} reached {self.sparsity():.4g}. The best model at "
                "that time is not the best pruned model. Save after `fit`, or use ModelCheckpoint "
                "in a second `fit` at the final sparsity.",
                stacklevel=3,
            )

    def _start_once(self, epoch=0):
        """Find the step to start from, once per training."""
        if not self._started:
            self._started = True
            self._start(epoch)

    def _start(self, epoch):
        """Restore or find the origin of the step count, and plan the end."""
        count = self._count()
        params = self.params or {}
        remaining = None
        if params.get("steps") and params.get("epochs"):
            remaining = (params["epochs"] - epoch) * params["steps"]
        restored, self._state.loaded = self._state.loaded, None
        if restored is not None:
            self._restore(restored)
        elif self._origin is None:
            self._origin = 0 if self._continues(count, remaining) else count
        elif self._optimizer is not self.model.optimizer:
            self._origin = count - self._last_step
        self._optimizer = self.model.optimizer
        self._first_epoch, self._first_step = epoch, self._step()
        self._planned = None if remaining is None else self._step() + remaining
        if self._running is None:
            self._running = self._with_end(self._planned)
        if self._planned is not None and self._planned < self._running.end_step:
            self._warn_of_early_end(self._running, self._planned, self._running(self._planned))
        self._advance()

    def _with_end(self, planned):
        """Return the schedule with its end filled in, if that is known."""
        if planned is not None:
            return self.schedule.ending_at(planned)
        if self.schedule.end_step == TO_THE_END and self.schedule.initial != self.schedule.highest:
            raise ValueError(
                f"The schedule of {type(self).__name__} lasts to the end of the training "
                "(end_step=-1), but the number of steps per epoch is unknown. Pass "
                "`steps_per_epoch` to `fit`, call `set_params({'epochs': ..., 'steps': ...})` in a "
                "custom training loop, or set the `end_step` of the schedule. "
                f"Received: schedule={self.schedule}"
            )
        return self.schedule

    def _continues(self, count, remaining):
        """Return whether the model was saved in mid-schedule, rather than merely trained before.

        A .keras file holds the optimizer's count but not where pruning began. If the model has
        exactly the zeros that the schedule asks for at that count, pruning began at 0.
        """
        if count == 0:
            return True
        running = self._with_end(None if remaining is None else count + remaining)
        due = running.last_update(count)
        if due is None:
            return False
        for step in sorted({due, count}):  # saved during a training, or at its end
            if self.recover(running(step)):
                self._last_update = step
                return True
        return False

    def _count(self):
        """Return the optimizer's count of batches."""
        return batches_seen(self._model)  # not `model`, which brings all variables up to date

    def _step(self):
        """Return the present step of the schedule."""
        return self._count() - self._origin

    def _prepare_file(self):
        """Bring the model to the state that a file should hold."""
        if self._ended:
            self._restore_masks()
        else:
            self._advance()
            if self._running is not None:
                self.mask_again()  # averages, or weights that another callback wrote

    def _advance(self, at_least=0):
        """Make the update that is due by now, once."""
        if self._running is None:
            return
        step = self._last_step = max(self._step(), at_least)
        self._uncounted = 0
        due, holds = self._update_due(step)
        if due is None:
            return
        bring_up_to_date(self._model)
        if holds:
            self.hold(self._running(step))
        else:
            self.update(self._running(due), last=due == self._running.end_step)
        self._last_update = due

    def _update_due(self, step):
        """Return the step of the update due at a step, None if there is none, and if it holds."""
        due = self._running.last_update(step)
        if due is None:
            return None, False
        ends_here = self._planned is not None and self._planned <= step < self._running.end_step
        holds = ends_here and due < step
        due = step if holds else due
        made = self._last_update is not None and due <= self._last_update
        return (None if made else due), holds

    def _may_be_due(self):
        """Tell whether an update may be due; it costs a wait to know, and nothing to know it not.

        No batch is more than one step of the optimizer, or than those of one execution.
        """
        if self._running is None or not waits_to_count(self._model):
            return True
        most = self._last_step + self._uncounted * self._model.steps_per_execution
        return self._update_due(most)[0] is not None

    def _read_state(self):
        """Return the step count and the state of the subclass."""

        def optional(value):
            return np.int64(-1 if value is None else value)

        return {
            "origin": np.int64(self._origin or 0),
            "end_step": optional(self._running.end_step if self._running else None),
            "last_update": optional(self._last_update),
            **self.read_state(),
        }

    def _restore(self, state):
        """Restore what ``_read_state`` returned."""
        self._origin = int(state.pop("origin"))
        end_step = int(state.pop("end_step"))
        self._running = self.schedule
        if end_step != TO_THE_END:
            self._running = self.schedule.ending_at(end_step)
        last_update = int(state.pop("last_update"))
        self._last_update = None if last_update < 0 else last_update
        self.write_state(state)
