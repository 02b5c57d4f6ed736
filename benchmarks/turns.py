"""Trainings that take turns: each in a thread of which one alone runs, handing over now and then.

Whole trainings that follow each other meet the machine in different moods; within a round of turns
the mood is the same, so the ratio of two turns of a round tells of the trainings.
"""

import threading
import time

STEPS_PER_TURN = 5


class Turns:
    """Lets one of several threads run at a time, each for a while, round and round."""

    def __init__(self, names):
        self._waiting = list(names)
        self._changed = threading.Condition()

    def wait(self, name):
        """Return when it is this thread's turn."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting[0] == name)

    def hand_over(self, name, done=False):
        """Let the next thread run; come back into the queue unless done."""
        with self._changed:
            self._waiting.pop(0)
            if not done:
                self._waiting.append(name)
            self._changed.notify_all()


def make_timer(library, turns, name):
    """Return a callback of the library's that times turns; the first is the whole first epoch.

    It must stand last among the callbacks, so that their work is within the measured time. Its
    ``times`` are those of the clock, its ``processor_times`` the process's on all cores.
    """

    class Timer(library.callbacks.Callback):
        def __init__(self):
            super().__init__()
            self.times, self.processor_times = [], []
            self.steps = 0
            self.begin_turn()

        def begin_turn(self):
            self.started = time.perf_counter()
            self.processor_started = time.process_time()

        def on_train_batch_end(self, batch, logs=None):
            self.steps += 1
            if self.times and self.steps % STEPS_PER_TURN == 0:
                self.end_turn()

        def on_epoch_end(self, epoch, logs=None):
            if not self.times:
                self.end_turn()

        def end_turn(self):
            self.times.append(time.perf_counter() - self.started)
            self.processor_times.append(time.process_time() - self.processor_started)
            turns.hand_over(name)
            turns.wait(name)
            self.begin_turn()

    return Timer()


def take_turns(works):
    """Run each work in a thread of its own, one at a time.

    Args:
        works: {name: function of the ``Turns``}. It runs when it is its turn, may hand over in
            between, and is done when it returns.
    """
    turns = Turns(works)

    def run(name, work):
        turns.wait(name)
        try:
            work(turns)
        finally:
            turns.hand_over(name, done=True)

    threads = [threading.Thread(target=run, args=item) for item in works.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def batches(x, y, size):
    """Return a dataset of batches that does not tune itself.

    An iterator that ends waits for the thread that tunes it, which sleeps the longer the older it
    is: up to a minute where other trainings had their turns meanwhile.
    """
    import tensorflow as tf  # not at the top: trainings of other backends take turns, too

    untuned = tf.data.Options()
    untuned.autotune.enabled = False
    data = tf.data.Dataset.from_tensor_slices((x, y)).batch(size)
    return data.prefetch(1).with_options(untuned)
