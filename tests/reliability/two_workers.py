"""One of two workers, in one training after another: `python two_workers.py INDEX PLAN`.

``worker_plans`` makes the plan. Each training runs in a process that is forked after the imports
and before TensorFlow computes anything. Prints the exit status of each, a line each.
"""

import json
import os
import pathlib
import signal
import sys
import time
import traceback

import keras
import numpy as np
import tensorflow as tf
from killed_training import KillAt
from small_trainings import BATCH, EPOCHS, data, net, prepare

import tfcompress as tfc


def train(technique, folder, index, kill_at=None):
    """Be one of two workers; write the end into the folder."""
    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    with strategy.scope():
        if technique == "distillation":
            model, callbacks = tfc.Distiller(net(), net(), tfc.LogitsMSE()), []
        else:
            model, _, callbacks = prepare(technique, folder)
        model.compile(keras.optimizers.Adam(0.01), "mse", jit_compile=False)
    options = tf.data.Options()
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
    dataset = tf.data.Dataset.from_tensor_slices(data()).batch(BATCH).with_options(options)
    callbacks = [tfc.BackupAcrossWorkers(folder / "backup"), *callbacks]
    if kill_at is not None and index == 1:
        callbacks.append(KillAt(kill_at))
    tfc.train_across_workers(model)
    history = model.fit(dataset, epochs=EPOCHS, shuffle=False, verbose=0, callbacks=callbacks)
    state = [*model.get_weights(), *(v.numpy() for v in model.optimizer.variables)]
    np.savez(folder / f"end_{index}.npz", np.float64(history.history["loss"][-1]), *state)


def forked(training, index):
    """Train in a process of its own; return its exit status, negative for a signal."""
    folder = pathlib.Path(training["folder"])
    over = folder / "over"
    child = os.fork()
    if child == 0:
        status = 1
        try:
            cluster = {"worker": [f"localhost:{port}" for port in training["ports"]]}
            task = {"type": "worker", "index": index}
            os.environ["TF_CONFIG"] = json.dumps({"cluster": cluster, "task": task})
            train(training["technique"], folder, index, training["kill_at"])
            status = 0
        except Exception:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(status)
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            over.touch()
            return os.waitstatus_to_exitcode(status)
        if training["kill_at"] is not None and over.exists():
            # What a cluster does: without one worker the others cannot go on.
            os.kill(child, signal.SIGKILL)
        time.sleep(0.02)


def main():
    index, plan = int(sys.argv[1]), json.loads(pathlib.Path(sys.argv[2]).read_text())
    for training in plan:
        print(forked(training, index), flush=True)


if __name__ == "__main__":
    main()
