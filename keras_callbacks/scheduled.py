"""Callbacks that change a model on a schedule: when, and how to go on after an interruption.

A step is counted by the optimizer, the one counter that every checkpoint holds: step 0 is where the
callback's first training began. An update that is due is made at the first opportunity: after the
batch, or with ``steps_per_execution`` after the execution, in which its step falls, or before the
model is saved, whichever comes first.
"""

import warnings

import keras
import numpy as np

from keras_callbacks.saved_state import SavedState
from tfcompress.pruning.schedule import TO_THE_END
from tfcompress.pruning.schedules import as_schedule


class ScheduledCallback(keras.callbacks.Callback):
    """Base of the callbacks that follow a pruning schedule. Subclasses say what an update does.

    Args:
        schedule: a schedule of this package or of TFMOT.

    Raises:
        TypeError: ``schedule`` is no schedule.
    """

    def __init__(self, schedule):
        super().__init__()
        self.schedule = as_schedule(schedule)
        self._state = SavedState(self._read_state, self._advance)
        self._forget()

    def _forget(self):
        """Be as before any training."""
        self._optimizer = None
        self._origin = None  # the optimizer's count at step 0
        self._running = None  # the schedule, its end filled in
        self._last_update = None  # the step of the last update made
        self._last_step = 0

    # What subclasses do.

    def prepare(self) -> set[str]:
        """Check the model and get ready; called before each training. Return the kernels' paths."""
        raise NotImplementedError

    def update(self, sparsity: float, last: bool) -> None:
        """Bring the model to a sparsity; to stay there if this is the schedule's last update."""
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
        """Return the share of zeros that the masks enforce now."""
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
        if self.model.optimizer is None:
            raise ValueError(
                f"Model {self.model.name!r} is compiled without an optimizer, whose step count "
                "schedules follow. Received: optimizer=None"
            )
        self._state.claim(self.model, self.prepare())
        self._started = False

    def on_epoch_begin(self, epoch, logs=None):
        """Find the step to start from, once every callback has restored what it restores."""
        if not self._started:
            self._started = True
            self._start(epoch)

    def on_train_batch_end(self, batch, logs=None):
        """Make the update that is due."""
        self._advance()
        self._report(logs)

    def on_epoch_end(self, epoch, logs=None):
        """Report; at the end of the last epoch, be at the end."""
        complete = epoch + 1 == self.params.get("epochs") and not self.model.stop_training
        if complete and self._planned is not None:
            # The optimizer does not count the steps that loss scaling has skipped.
            self._advance(at_least=self._planned)
        self._report(logs)

    def on_train_end(self, logs=None):
        """Reach the final sparsity of a schedule that lasts to the end of the training."""
        if self.schedule.end_step == TO_THE_END and self._running is not None:
            end = max(self._last_step, self.schedule.begin_step)
            if self._running.end_step == TO_THE_END or end < self._running.end_step:
                self._running = self.schedule.ending_at(end)
                # An update made at this step, with more to come, was not the last one.
                self._last_update = None
            self._advance(at_least=end)
        self.finish()
        self._state.detach(self.model)

    def _report(self, logs):
        # The progress bar and `History` come after the user's callbacks and show what is here.
        if logs is not None:
            logs["sparsity"] = self.sparsity()

    # Counting.

    def _start(self, epoch):
        count = self._count()
        remaining = None
        if self.params.get("steps"):
            remaining = (self.params["epochs"] - epoch) * self.params["steps"]
        restored, self._state.loaded = self._state.loaded, None
        if restored is not None:
            self._restore(restored)
        elif self._origin is None:
            self._origin = 0 if self._continues(count, remaining) else count
        elif self._optimizer is not self.model.optimizer:
            self._origin = count - self._last_step
        self._optimizer = self.model.optimizer
        self._planned = None if remaining is None else self._step() + remaining
        if self._running is None:
            self._running = self._filled_in(self._planned)
        if self._planned is not None and self._planned < self._running.end_step:
            warnings.warn(
                f"{type(self).__name__} follows a schedule that ends at step "
                f"{self._running.end_step}, but this fit ends at step {self._planned}, at a "
                f"sparsity of {self._running(self._planned):.4g} instead of "
                f"{self._running.final:.4g}. Train longer, or use end_step=-1 to end with the fit.",
                stacklevel=2,
            )
        self._advance()

    def _filled_in(self, planned):
        if planned is not None:
            return self.schedule.ending_at(planned)
        if self.schedule.end_step == TO_THE_END and self.schedule.initial != self.schedule.highest:
            raise ValueError(
                f"The schedule of {type(self).__name__} lasts to the end of the training "
                "(end_step=-1), but the data does not tell how many steps an epoch has. Pass "
                "`steps_per_epoch` to `fit`, or give the schedule an `end_step`. "
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
        if due is None or not self.recover(running(due)):
            return False
        self._last_update = due
        return True

    def _count(self):
        optimizer = self.model.optimizer
        # Loss scaling counts in the optimizer inside. `_iterations` counts batches, where
        # `iterations` would count sums of `gradient_accumulation_steps` batches.
        while hasattr(optimizer, "inner_optimizer"):
            optimizer = optimizer.inner_optimizer
        return int(keras.ops.convert_to_numpy(optimizer._iterations))

    def _step(self):
        return self._count() - self._origin

    def _advance(self, at_least=0):
        """Make the update that is due by now, once."""
        if self._running is None:
            return
        self._last_step = max(self._step(), at_least)
        due = self._running.last_update(self._last_step)
        if due is not None and (self._last_update is None or due > self._last_update):
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
