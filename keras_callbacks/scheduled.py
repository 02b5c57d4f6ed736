"""Callbacks that change a model on a schedule: when, and how to go on after an interruption.

A step is counted by the optimizer, the one counter that every checkpoint holds: step 0 is where the
callback's first training began. An update that is due is made at the first opportunity: after the
batch, or with ``steps_per_execution`` after the execution, in which its step falls, or before the
model is saved, whichever comes first. A training that ends before the schedule ends at the sparsity
that the schedule has for its last step.
"""

import math
import os
import warnings

import numpy as np

from keras_callbacks.callback import CompressionCallback, after_every_callback, coming_history
from keras_callbacks.saved_state import SavedState
from tfcompress.compat.keras_training import batches_seen, innermost_optimizer
from tfcompress.pruning.schedule import TO_THE_END
from tfcompress.pruning.schedules import as_schedule


class ScheduledCallback(CompressionCallback):
    """Base of the callbacks that follow a pruning schedule. Subclasses say what an update does.

    Args:
        schedule: a schedule of this package or of TFMOT.

    Raises:
        TypeError: ``schedule`` is no schedule.
    """

    def __init__(self, schedule):
        super().__init__()
        self.schedule = as_schedule(schedule)
        self._state = SavedState(self._read_state, self._bring_up_to_date, self._note_file)
        self._forget()

    def _forget(self):
        """Be as before any training."""
        self._optimizer = None
        self._origin = None  # the optimizer's count at step 0
        self._running = None  # the schedule, its end filled in
        self._planned = None  # the step at which the training ends, if that is known
        self._last_update = None  # the step of the last update made
        self._last_step = 0
        self._started = False
        self._ended = False
        self._files: dict[str, tuple[int, float]] = {}  # step and sparsity when last saved

    # What subclasses do.

    def prepare(self) -> set[str]:
        """Check the model and get ready; called before each training. Return the kernels' paths."""
        raise NotImplementedError

    def update(self, sparsity: float, last: bool) -> None:
        """Bring the model to a sparsity; to stay there if this is the schedule's last update."""
        raise NotImplementedError

    def hold(self, sparsity: float) -> None:
        """Bring the model to a sparsity on the way, because the training ends there."""
        raise NotImplementedError

    def mask_again(self) -> float | None:
        """Undo what other callbacks wrote; return the share of zeros that it had, if they did."""
        raise NotImplementedError

    def recover(self, sparsity: float) -> bool:
        """Take the model, if it is at just that sparsity, as an earlier training left it."""
        raise NotImplementedError

    def read_state(self) -> dict[str, np.ndarray]:
        """Return what else to save."""
        raise NotImplementedError

    def write_state(self, state: dict[str, np.ndarray]) -> None:
        """Take up what ``read_state`` returned before the interruption."""
        raise NotImplementedError

    def sparsity(self) -> float:
        """Return the share of zeros that the masks enforce now, over the kernels worked on."""
        raise NotImplementedError

    def sparsity_of_model(self) -> float:
        """Return the share of zeros over all kernels of the model that could be worked on."""
        raise NotImplementedError

    def finish(self) -> None:
        """Leave the model as it should be; called after each training."""
        raise NotImplementedError

    # What Keras calls.

    def set_model(self, model):
        """Stand by to be saved with the model; before `BackupAndRestore` loads what it saved."""
        if model is not self._model:
            self._forget()
        super().set_model(model)
        self._state.attach(model)

    def on_train_begin(self, logs=None):
        """Check everything before the first step."""
        super().on_train_begin(logs)
        self.require_optimizer()
        self._history = coming_history(self.model)
        self._state.claim(self.model, self.prepare())
        self._started = self._ended = False
        self._files = {}

    def on_epoch_begin(self, epoch, logs=None):
        """Find the step to start from, once every callback has restored what it restores."""
        self.require_begun("on_epoch_begin")
        self._start_once(epoch)

    def on_train_batch_begin(self, batch, logs=None):
        """Make the update that is due, in loops that call no more than this."""
        self.require_begun("on_train_batch_begin")
        self._start_once()
        self._advance()

    def on_train_batch_end(self, batch, logs=None):
        """Make the update that is due."""
        self.require_begun("on_train_batch_end")
        self._start_once()
        self._advance()
        self._report(logs)

    def on_epoch_end(self, epoch, logs=None):
        """Report; at the end of the last epoch, be at the end."""
        self.require_begun("on_epoch_end")
        self._start_once()
        stopped = getattr(self.model, "stop_training", False)
        complete = epoch + 1 == (self.params or {}).get("epochs") and not stopped
        # The optimizer does not count the steps that loss scaling has skipped.
        self._advance(at_least=self._planned if complete and self._planned is not None else 0)
        self._report(logs)

    def on_train_end(self, logs=None):
        """Be at the sparsity of the last step; the final one, if the schedule lasts to the end."""
        self.require_begun("on_train_end")
        if self._running is not None:
            self._settle()
        self._ended = True
        self._put_masks_back()
        self.finish()
        after_every_callback(self._history, self._take_leave)

    def _settle(self):
        step, sparsity, foreseen = self._last_step, self.sparsity(), self._running
        unforeseen = self._planned is None or step < self._planned
        self._planned = step
        if self.schedule.end_step == TO_THE_END:
            end = max(step, self.schedule.begin_step)
            if foreseen.end_step == TO_THE_END or end < foreseen.end_step:
                self._running = self.schedule.ending_at(end)
                # An update made at this step, with more to come, was not the last one.
                self._last_update = None
            self._advance(at_least=end)
        else:
            self._advance(at_least=step)
            sparsity = foreseen(step)
        if unforeseen and foreseen.end_step != TO_THE_END and step < foreseen.end_step:
            self._warn_of_early_end(foreseen, step, sparsity)

    def _warn_of_early_end(self, running, step, sparsity):
        ends = f"{type(self).__name__} follows a schedule that ends at step {running.end_step}"
        if self.schedule.end_step == TO_THE_END:
            said = (
                f"{ends}, but the training was stopped at step {step}, so the sparsity went from "
                f"{sparsity:.4g} to {running.final:.4g} at once. Train on for the weights to adapt."
            )
        elif sparsity == running.final:
            said = f"{ends}, but this fit ends at step {step}, before the masks are settled."
        else:
            said = (
                f"{ends}, but this fit ends at step {step}, at a sparsity of {sparsity:.4g} "
                f"instead of {running.final:.4g}. Train longer, or use end_step=-1 to end with the "
                "fit."
            )
        warnings.warn(said, stacklevel=3)

    def _report(self, logs):
        # The progress bar and `History` come after the user's callbacks and show what is here.
        if logs is not None:
            logs["sparsity"] = self.sparsity_of_model()

    # What other callbacks do.

    def _put_masks_back(self):
        """Mask again what was written since the last step, and say so."""
        found = self.mask_again()
        if found is None or self._averages_weights():
            return
        warnings.warn(
            f"{type(self).__name__}: another callback put weights back whose sparsity was "
            f"{found:.4g}, not {self.sparsity():.4g}, as EarlyStopping(restore_best_weights=True) "
            "does when the best epoch came before the target was reached. They are masked again, "
            f"but they were not trained so. {self._later()}",
            stacklevel=3,
        )

    def _averages_weights(self):
        return getattr(innermost_optimizer(self.model.optimizer), "use_ema", False)

    def _later(self):
        """Say how to look for the best epoch among those at the final sparsity."""
        params = self.params or {}
        steps, epochs, end = params.get("steps"), params.get("epochs"), self._running.end_step
        if steps and epochs:
            epoch = self._first_epoch + math.ceil((end - self._first_step) / steps) - 1
            if epoch < epochs - 1:
                return (
                    "Compare only epochs that reached the target: "
                    f"EarlyStopping(start_from_epoch={max(epoch, 0)})."
                )
        return (
            "Give the schedule an `end_step` well before the end of the training, and compare only "
            "epochs after it: EarlyStopping(start_from_epoch=...)."
        )

    def _take_leave(self):
        """Have the last word when every callback has ended."""
        self._put_masks_back()
        self._state.detach(self.model)
        self._warn_of_early_file()

    def _note_file(self, path):
        self._files.pop(path, None)
        self._files[path] = self._last_step, self.sparsity()

    def _warn_of_early_file(self):
        # `BackupAndRestore` has deleted its own by now.
        left = [path for path in self._files if os.path.exists(path)]
        if not left:
            return
        step, sparsity = self._files[left[-1]]
        if sparsity < self.sparsity():
            warnings.warn(
                f"{left[-1]!r} was last saved at step {step}, at a sparsity of {sparsity:.4g}: "
                f"before {type(self).__name__} reached {self.sparsity():.4g}. What was the best "
                "model then is not the best pruned one. Save after `fit`, or compare only epochs "
                "at the final sparsity, in a second `fit` with ModelCheckpoint.",
                stacklevel=3,
            )

    # Counting.

    def _start_once(self, epoch=0):
        if not self._started:
            self._started = True
            self._start(epoch)

    def _start(self, epoch):
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
            self._running = self._filled_in(self._planned)
        if self._planned is not None and self._planned < self._running.end_step:
            self._warn_of_early_end(self._running, self._planned, self._running(self._planned))
        self._advance()

    def _filled_in(self, planned):
        if planned is not None:
            return self.schedule.ending_at(planned)
        if self.schedule.end_step == TO_THE_END and self.schedule.initial != self.schedule.highest:
            raise ValueError(
                f"The schedule of {type(self).__name__} lasts to the end of the training "
                "(end_step=-1), but nothing tells how many steps an epoch has. Pass "
                "`steps_per_epoch` to `fit`, call `set_params({'epochs': ..., 'steps': ...})` in a "
                "loop of your own, or give the schedule an `end_step`. "
                f"Received: schedule={self.schedule}"
            )
        return self.schedule

    def _continues(self, count, remaining):
        """Tell a model that was saved in mid-schedule from one that was merely trained before.

        A file in Keras's format holds the optimizer's count but not where pruning began. If the
        model holds exactly the zeros that the schedule asks for at that count, it began at 0.
        """
        if count == 0:
            return True
        running = self._filled_in(None if remaining is None else count + remaining)
        due = running.last_update(count)
        if due is None:
            return False
        for step in sorted({due, count}):  # saved during a training, or at its end
            if self.recover(running(step)):
                self._last_update = step
                return True
        return False

    def _count(self):
        return batches_seen(self.model.optimizer)

    def _step(self):
        return self._count() - self._origin

    def _bring_up_to_date(self):
        """Be what a file should hold."""
        if self._ended:
            self._put_masks_back()
        else:
            self._advance()

    def _advance(self, at_least=0):
        """Make the update that is due by now, once."""
        if self._running is None:
            return
        step = self._last_step = max(self._step(), at_least)
        due = self._running.last_update(step)
        if due is None:
            return
        ends_here = self._planned is not None and self._planned <= step < self._running.end_step
        holds = ends_here and due < step
        due = step if holds else due
        if self._last_update is not None and due <= self._last_update:
            return
        if holds:
            self.hold(self._running(step))
        else:
            self.update(self._running(due), last=due == self._running.end_step)
        self._last_update = due

    # Saving.

    def _read_state(self):
        def optional(value):
            return np.int64(-1 if value is None else value)

        return {
            "origin": np.int64(self._origin or 0),
            "end_step": optional(self._running.end_step if self._running else None),
            "last_update": optional(self._last_update),
            **self.read_state(),
        }

    def _restore(self, state):
        self._origin = int(state.pop("origin"))
        end_step = int(state.pop("end_step"))
        self._running = self.schedule
        if end_step != TO_THE_END:
            self._running = self.schedule.ending_at(end_step)
        last_update = int(state.pop("last_update"))
        self._last_update = None if last_update < 0 else last_update
        self.write_state(state)
