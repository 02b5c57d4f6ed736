"""Filling a teacher cache: once over the data, resumable, with a progress bar."""

import dataclasses
import pathlib
import shutil
import time
from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf
from rich.progress import Progress

from tfcompress.distillation import cache_store
from tfcompress.distillation.cache import StaleCacheError, TeacherCache, check_hashes
from tfcompress.distillation.cache_store import Manifest
from tfcompress.distillation.examples import as_batches, input_hashes
from tfcompress.distillation.teacher import Teacher
from tfcompress.distillation.teachers import as_teacher
from tfcompress.hashing import hash_arrays, hash_examples
from tfcompress.interruption import raise_pending_interruption, reliable_interruption

_SECONDS_BETWEEN_SAVES = 2.0


@reliable_interruption()
def cache_teacher(
    teacher,
    data,
    path,
    *,
    layers: Sequence[str] = (),
    dtype: str = "float32",
    batch_size: int = 64,
    teacher_version: str | None = None,
    overwrite: bool = False,
    progress: bool = True,
) -> TeacherCache:
    """Compute a teacher's outputs once and store them; or reuse, or complete, what is stored.

    A killed run is completed by the next call with the same arguments. What is stored is used
    only for the very same teacher (architecture and weights) and the very same examples in the
    same order, which is checked for each example. Data that differ from one pass to the next, by
    random augmentation or shuffling, are refused: augment with ``seeded_views``, or map the inputs
    of the attached dataset, for a teacher that has seen them plain.

    Args:
        teacher: whatever a ``Distiller`` takes as its teacher.
        data: arrays of inputs, or a batched ``tf.data.Dataset`` or ``PyDataset`` in a fixed order.
        path: the folder to write to.
        layers: names or paths of the teacher's layers whose outputs a feature loss needs.
        dtype: "float32", or "float16" for half the size on disk.
        batch_size: the batch size for arrays.
        teacher_version: a name for what a callable teaches; needed there, since a function's
            content cannot be compared.
        overwrite: whether a cache of another teacher or other data is replaced.
        progress: whether to show a progress bar.

    Returns:
        The complete cache, to give to a ``Distiller`` as the teacher.

    Raises:
        TypeError: ``teacher`` is of a kind that is not supported.
        StaleCacheError: the folder holds a cache of another teacher or other data.
        ValueError: the data are random, endless or empty; the teacher returns NaN, or values that
            float16 cannot hold; a layer is missing; ``dtype`` is unknown; the folder holds
            something else.

    Example:
    >>> cache = tfc.cache_teacher(teacher, x_train, "teacher_cache", dtype="float16")
    >>> distiller = tfc.Distiller(student, cache)
    """
    if dtype not in ("float32", "float16"):
        raise ValueError(f"`dtype` must be 'float32' or 'float16'. Received: dtype={dtype!r}")
    folder = pathlib.Path(path)
    source = as_teacher(teacher)
    source.check_layers(list(layers))
    batches = as_batches(data, batch_size)
    hashes = _hash_all(batches)
    fingerprint = source.fingerprint() if teacher_version is None else hash_arrays(teacher_version)
    wanted = _plan(source, batches, list(layers), dtype, fingerprint, len(hashes))
    if overwrite and cache_store.read_manifest(folder) is not None:
        shutil.rmtree(folder)
    manifest = _open(folder, wanted, hashes)
    if not manifest.complete:
        _fill(folder, manifest, source, batches, hashes, progress)
    return TeacherCache(folder)


def _hash_all(batches):
    parts = list(input_hashes(batches))
    if not parts:
        raise ValueError(f"`data` has no examples. Received: {batches}")
    return np.concatenate(parts)


def _plan(source: Teacher, batches, layers, dtype, fingerprint, examples):
    names: list[str | None] = []
    function = _flat_signals(source, layers, names)
    specification = batches.element_spec[0]
    shapes = [list(t.shape[1:]) for t in function.get_concrete_function(specification).outputs]
    if any(None in shape for shape in shapes):
        raise ValueError(
            "Outputs can be cached where every example has one of a known, equal size. "
            f"Received: shapes {shapes} of teacher {source.name!r}"
        )
    return Manifest(
        teacher=fingerprint,
        teacher_name=source.name,
        heads=list(source.heads),
        shapes=shapes,
        layers=layers,
        dtype=dtype,
        examples=examples,
        outputs=names,
    )


def _flat_signals(source, layers, names=None):
    """Return a function from a batch to rows, which writes the names of outputs to a list."""

    def run(x):
        signals = source.signals(x, layers)
        if names is not None:
            names[:] = signals.names
        return [*keras.tree.flatten(signals.outputs), *(signals.layers[name] for name in layers)]

    return tf.function(run, reduce_retracing=True, autograph=False)


def _open(folder, wanted, hashes):
    """Return the manifest found, if it fits what is wanted, or start a new cache."""
    found = cache_store.read_manifest(folder)
    if found is None:
        if folder.exists() and not cache_store.is_unfinished(folder):
            raise ValueError(
                "`path` must be a new folder or a teacher cache; this one holds other files. "
                f"Received: path={str(folder)!r}"
            )
        folder.mkdir(parents=True, exist_ok=True)
        np.save(folder / cache_store.HASHES, hashes)
        cache_store.open_rows(folder, wanted, "w+")
        wanted.write(folder)
        return wanted
    check_hashes(np.load(folder / cache_store.HASHES), hashes)
    for field in dataclasses.fields(Manifest):
        ours, theirs = getattr(wanted, field.name), getattr(found, field.name)
        if field.name not in ("done", "teacher_name", "outputs") and ours != theirs:
            what = "another teacher" if field.name == "teacher" else f"another `{field.name}`"
            raise StaleCacheError(
                f"The folder holds a cache of {what}. Use another folder, or `overwrite=True` to "
                f"replace it. Received: {field.name}={ours}, cached {theirs}"
            )
    return found


def _fill(folder, manifest, source, batches, hashes, progress):
    rows = cache_store.open_rows(folder, manifest, "r+")
    function = _flat_signals(source, manifest.layers)
    saved = time.monotonic()
    done = manifest.done
    with Progress(disable=not progress, transient=True) as bar:
        task = bar.add_task(f"Teacher {source.name}", total=manifest.examples, completed=done)
        remaining = batches.unbatch().skip(done).batch(_batch_size(batches))
        for batch in remaining:
            x = batch[0]
            found = hash_examples(keras.tree.map_structure(np.asarray, x))
            stop = done + len(found)
            _check_repeatable(hashes[done:stop], found, done)
            for array, values in zip(rows, function(x), strict=True):
                array[done:stop] = _storable(values, array.dtype, source.name, done)
            done = stop
            bar.update(task, completed=done)
            raise_pending_interruption()
            if time.monotonic() - saved > _SECONDS_BETWEEN_SAVES or done == manifest.examples:
                for array in rows:
                    array.flush()
                dataclasses.replace(manifest, done=done).write(folder)
                saved = time.monotonic()


def _batch_size(batches):
    first = next(iter(batches.take(1)))
    return len(keras.tree.flatten(first)[0])


def _check_repeatable(expected, found, start):
    if not np.array_equal(expected, found):
        index = start + int(np.flatnonzero(expected != found)[0]) if len(expected) else start
        raise ValueError(
            f"Two passes over the data gave different examples, first at index {index}: the data "
            "are shuffled or augmented at random. Remove that, use `seeded_views` for augmentation "
            "that can be produced again, or augment the attached dataset. "
            f"Received: other inputs at index {index}"
        )


def _storable(values, dtype, name, start):
    values = np.asarray(values)
    with np.errstate(over="ignore"):  # an overflow is reported below, with the example
        stored = values.astype(dtype)
    for array, problem in ((values, "NaN or infinite values"), (stored, f"values beyond {dtype}")):
        finite = np.isfinite(array).reshape(len(array), -1).all(-1)
        if not finite.all():
            raise ValueError(
                f"Teacher {name!r} returned {problem}, first for the example at index "
                f"{start + int(np.flatnonzero(~finite)[0])}. "
                f"Received: {array[~finite][0].ravel()[:5]}"
            )
    return stored
