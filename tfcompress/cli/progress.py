"""Progress of training on the terminal, or as plain lines in a pipe."""

import time

import keras
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from tfcompress.interruption import raise_pending_interruption


class TrainingProgress(keras.callbacks.Callback):
    """Shows how far a ``fit`` has come and the metrics of its last epoch.

    On a terminal a bar moves with every step; elsewhere each epoch is a line.

    Args:
        console: where to show it.
        title: what is being trained.
        metrics: names of the logs to show.
    """

    def __init__(self, console: Console, title: str, metrics: tuple[str, ...] = ("val_accuracy",)):
        super().__init__()
        self._console = console
        self._title = title
        self._metrics = metrics
        self._bar: Progress | None = None

    def on_train_begin(self, logs=None):
        """Start the bar, or say what begins."""
        del logs
        self._start = time.perf_counter()
        self._total = self.params["epochs"] * (self.params["steps"] or 0)
        if not self._console.is_terminal:
            return
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:3.0f} %"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[metrics]}"),
            console=self._console,
        )
        self._task = self._bar.add_task(self._title, total=self._total or None, metrics="")
        self._bar.start()

    def on_train_batch_end(self, batch, logs=None):
        """Move the bar."""
        del batch, logs
        raise_pending_interruption()
        if self._bar is not None:
            self._bar.advance(self._task)

    def on_epoch_end(self, epoch, logs=None):
        """Show the metrics."""
        shown = "  ".join(f"{name} {logs[name]:.3f}" for name in self._metrics if name in logs)
        if self._bar is not None:
            self._bar.update(self._task, metrics=shown)
            return
        seconds = time.perf_counter() - self._start
        self._console.print(
            f"{self._title}: epoch {epoch + 1}/{self.params['epochs']}  {seconds:.0f} s  {shown}",
            highlight=False,
        )

    def on_train_end(self, logs=None):
        """Stop the bar."""
        del logs
        self.close()

    def close(self):
        """Stop the bar, which hides the cursor, after an interrupted training too."""
        if self._bar is not None:
            self._bar.stop()
