"""A teacher's outputs on disk, so that training needs no forward pass of the teacher.

A cache is a folder with a .npy file per output and a manifest. The files are memory-mapped: they
may be larger than the memory. The manifest is replaced atomically after the rows that it counts are
on disk, so that a killed run loses at most the rows since the last save.
"""

import dataclasses
import json
import os
import pathlib
import re
import shutil
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NoReturn

import keras
import numpy as np
from rich.progress import Progress

from tfcompress.atomic_files import write_atomically
from tfcompress.backends import compiled
from tfcompress.compat.keras_graphs import output_spec
from tfcompress.distillation.examples import (
    input_batches,
    input_hashes,
    is_dataset,
    taught_batches,
)
from tfcompress.distillation.signals import Signals, symbolic
from tfcompress.distillation.teachers import Teacher, as_teacher
from tfcompress.hashing import hash_arrays, hash_examples
from tfcompress.interruption import raise_pending_interruption, reliable_interruption

if TYPE_CHECKING:
    import tensorflow as tf

_MANIFEST = "manifest.json"
_HASHES = "examples.npy"
_FILE = re.compile(r"(examples|output_\d+|layer_\d+)\.npy|\.[0-9a-f]+-manifest\.json")
_SECONDS_BETWEEN_SAVES = 2.0


class StaleCacheError(ValueError):
    """The cache belongs to another teacher, or to other examples."""


@dataclasses.dataclass(frozen=True)
class Manifest:
    """The content of a cache.

    Attributes:
        teacher: the fingerprint of the teacher.
        teacher_name: its name in error messages.
        heads: the final activations of its outputs; see ``detect_heads``.
        shapes: the shape of one example's row, for each output and then each layer.
        layers: the names of the cached layers.
        dtype: the dtype of the rows.
        examples: the number of examples.
        done: the number of examples, from the first, that have rows.
        outputs: the user's names of the outputs; None in caches of earlier versions.
    """

    teacher: str
    teacher_name: str
    heads: list
    shapes: list
    layers: list
    dtype: str
    examples: int
    done: int = 0
    outputs: list | None = None

    def __post_init__(self):
        for field in ("heads", "shapes", "layers"):
            if not isinstance(getattr(self, field), list):
                raise TypeError(f"{field} is not a list: {getattr(self, field)!r}")
        if len(self.layers) > len(self.shapes):
            raise ValueError(f"{len(self.layers)} layers, but {len(self.shapes)} shapes")
        for field in ("examples", "done"):
            if not isinstance(getattr(self, field), int):
                raise TypeError(f"{field} is not an integer: {getattr(self, field)!r}")

    @property
    def complete(self) -> bool:
        """Whether every example has rows."""
        return self.done == self.examples

    @property
    def names(self) -> list[str]:
        """The file name of each array of rows."""
        outputs = len(self.shapes) - len(self.layers)
        return [f"output_{i}.npy" for i in range(outputs)] + [
            f"layer_{i}.npy" for i in range(len(self.layers))
        ]

    def write(self, folder: pathlib.Path) -> None:
        """Write the manifest atomically."""
        content = json.dumps(dataclasses.asdict(self), indent=1)
        write_atomically(folder / _MANIFEST, content.encode())


def read_manifest(folder: pathlib.Path) -> Manifest | None:
    """Read the manifest of a cache; None if there is none."""
    path = folder / _MANIFEST
    if not path.is_file():
        return None
    try:
        return Manifest(**json.loads(path.read_text()))
    except (RecursionError, TypeError, ValueError) as error:
        raise ValueError(
            f"{path.name} is not a manifest of a teacher cache: {error}. Choose another folder, or "
            f"delete this one. Received: path={str(folder)!r}"
        ) from error


def _open_rows(folder: pathlib.Path, manifest: Manifest, mode: str) -> list[np.memmap]:
    """Map the rows of every output and layer into memory; mode "w+" creates the files."""
    rows = []
    for name, shape in zip(manifest.names, manifest.shapes, strict=True):
        full, path = (manifest.examples, *shape), folder / name
        if mode == "w+":
            array = np.lib.format.open_memmap(path, mode, manifest.dtype, full)
        else:
            array = np.lib.format.open_memmap(path, mode) if path.is_file() else None
        if array is None or array.shape != full or array.dtype != manifest.dtype:
            raise ValueError(
                f"The teacher cache is damaged: {name} should hold {full} of {manifest.dtype}. "
                "Delete the folder and cache again. Received: "
                f"{'no file' if array is None else f'{array.shape} of {array.dtype}'}"
            )
        rows.append(array)
    return rows


class TeacherCache(Teacher):
    """Outputs of a teacher that ``cache_teacher`` has stored.

    Use it as the ``teacher`` of a ``Distiller``, and give ``fit`` the dataset of ``attach``.

    Args:
        path: the folder.

    Raises:
        ValueError: the folder holds no cache, or an incomplete or damaged one.

    Example:
    >>> cache = cache_teacher(teacher, x, "cache")
    >>> distiller = tfc.Distiller(student, cache)
    >>> distiller.compile("adam", loss)
    >>> distiller.fit(cache.attach(x, y, batch_size=32), epochs=20)
    """

    def __init__(self, path: str | os.PathLike):
        self.path = pathlib.Path(path)
        self.manifest = read_manifest(self.path)
        if self.manifest is None or not self.manifest.complete:
            state = self.manifest and f"{self.manifest.done} of {self.manifest.examples} examples"
            raise ValueError(
                "`path` holds no complete teacher cache; `cache_teacher` creates or completes one. "
                f"Received: path={str(path)!r} with {state or 'no manifest'}"
            )
        self._rows = _open_rows(self.path, self.manifest, "r")
        self.name = self.manifest.teacher_name
        self.heads = self.manifest.heads

    def attach(
        self,
        x: Any,
        y: Any = None,
        sample_weight: Any = None,
        *,
        batch_size: int = 32,
        shuffle: bool | int = True,
        seed: int | None = None,
    ) -> "tf.data.Dataset | keras.utils.PyDataset":
        """Make the dataset for ``fit``: each example with the teacher's outputs for it.

        The examples are first compared with those that were cached.

        Args:
            x: the cached data: arrays of inputs, or a batched dataset in its fixed order.
            y: the labels, if ``x`` is arrays.
            sample_weight: the sample weights, if ``x`` is arrays.
            batch_size: the size of the batches.
            shuffle: whether to shuffle the examples in each epoch; or, for a dataset too large to
                hold, the size of the shuffle buffer.
            seed: seed of the order.

        Returns:
            Batches whose x is ``Taught``: a ``tf.data.Dataset`` on TensorFlow, a ``PyDataset`` on
            other backends.

        Raises:
            StaleCacheError: the examples are not those of the cache, or in another order.
            ValueError: ``y`` or ``sample_weight`` is given with a dataset, which has its own.
        """
        known = np.load(self.path / _HASHES, mmap_mode="r")
        _check_hashes(known, input_hashes(x, batch_size))
        buffer = self.manifest.examples if shuffle is True else int(shuffle)
        if is_dataset(x):
            if y is not None or sample_weight is not None:
                raise ValueError(
                    "`y` and `sample_weight` belong to arrays; a dataset brings its own. Received: "
                    f"x={x!r} with y of type {type(y).__name__}"
                )
            arrays = x
        elif y is None and sample_weight is not None:
            raise ValueError(
                "`sample_weight` needs labels: pass `y` too. Received: y=None, sample_weight of "
                f"type {type(sample_weight).__name__}"
            )
        else:
            # tf.data would stack a list.
            parts = [part for part in (x, y, sample_weight) if part is not None]
            arrays = tuple(tuple(part) if isinstance(part, list) else part for part in parts)
        return taught_batches(
            arrays, self._rows, self._with_layers, batch_size=batch_size, buffer=buffer, seed=seed
        )

    def signals(self, inputs: Any, layers: Sequence[str]) -> NoReturn:
        """Raise ValueError: without the index of an example its outputs are unknown."""
        raise ValueError(
            "A teacher cache knows the outputs of its own examples alone. Pass the dataset "
            "`cache.attach(x, y)` to `fit`. Received: a batch without cached outputs"
        )

    def symbolic_signals(self, inputs: Any, layers: Sequence[str]) -> Signals:
        """Return zeros like the rows."""
        count = keras.ops.shape(keras.tree.flatten(inputs)[0])[0]
        outputs, layers = self._with_layers(
            [
                keras.ops.zeros((count, *shape), self.manifest.dtype)
                for shape in self.manifest.shapes
            ]
        )
        return Signals(outputs, layers, self.manifest.outputs)

    def check_layers(self, layers: Sequence[str]) -> None:
        """Raise ValueError for a layer that was not cached."""
        for name in layers:
            if name not in self.manifest.layers:
                raise ValueError(
                    f"The cache does not hold the teacher's layer {name!r}. Cache again with "
                    f"`layers=[{name!r}, ...]`. Received: teacher_layer={name!r}, cached layers "
                    f"{self.manifest.layers}"
                )

    def fingerprint(self) -> str:
        """Return the cached teacher's."""
        return self.manifest.teacher

    def _with_layers(self, rows):
        """Split rows into outputs and layers by name."""
        count = len(rows) - len(self.manifest.layers)
        return tuple(rows[:count]), dict(zip(self.manifest.layers, rows[count:], strict=True))


def _check_hashes(known: np.ndarray, found: np.ndarray) -> None:
    """Raise StaleCacheError unless the hashes of cached and given examples agree."""
    if len(known) == len(found) and np.array_equal(known, found):
        return
    if len(known) != len(found):
        problem = f"it holds {len(known)} examples, the dataset has {len(found)}"
    elif np.array_equal(np.sort(known), np.sort(found)):
        problem = "the dataset has its examples in another order"
    else:
        different = np.flatnonzero(known != found)
        problem = f"{len(different)} examples differ, the first at index {different[0]}"
    raise StaleCacheError(
        f"The teacher cache does not belong to this dataset: {problem}. Pass the data that were "
        "cached, in the same order and before random augmentation, or cache again with "
        f"`overwrite=True`. Received: {len(found)} examples"
    )


@reliable_interruption()
def cache_teacher(
    teacher: Any,
    data: Any,
    path: str | os.PathLike,
    *,
    layers: Sequence[str] = (),
    dtype: str = "float32",
    batch_size: int = 64,
    teacher_version: str | None = None,
    overwrite: bool = False,
    progress: bool = True,
) -> TeacherCache:
    """Compute a teacher's outputs once and store them; reuse or complete an existing cache.

    A call with the same arguments completes a killed one. A cache is reused only for the same
    teacher (architecture and weights) and the same examples in the same order, which is checked for
    each example. Data that change from one pass to the next, by random augmentation or shuffling,
    are rejected: augment with ``seeded_views``, or augment the attached dataset, for a teacher that
    has seen the plain inputs.

    Args:
        teacher: any teacher that a ``Distiller`` accepts.
        data: arrays of inputs, or a batched ``tf.data.Dataset`` or ``PyDataset`` in a fixed order.
        path: the folder to write to.
        layers: names or paths of the teacher's layers that a feature loss needs.
        dtype: "float32", or "float16" for half the size on disk.
        batch_size: the batch size for arrays.
        teacher_version: a name for the version of a callable, whose content cannot be compared.
        overwrite: whether to replace a cache of another teacher or other data.
        progress: whether to show a progress bar.

    Returns:
        The complete cache, to be used as the teacher of a ``Distiller``.

    Raises:
        TypeError: ``teacher`` is of an unsupported kind.
        StaleCacheError: the folder holds a cache of another teacher or other data.
        ValueError: the data are random, endless or empty; the teacher returns NaN, or values that
            float16 cannot hold; a layer is missing; ``dtype`` is unknown; or the folder holds
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
    hashes = input_hashes(data, batch_size)
    if not len(hashes):
        raise ValueError(f"`data` has no examples. Received: {data!r}")
    fingerprint = source.fingerprint() if teacher_version is None else hash_arrays(teacher_version)
    wanted = _new_manifest(source, data, list(layers), dtype, fingerprint, len(hashes))
    if overwrite and read_manifest(folder) is not None:
        shutil.rmtree(folder)
    manifest = _open(folder, wanted, hashes)
    if not manifest.complete:
        _fill(folder, manifest, source, input_batches(data, batch_size), hashes, progress)
    return TeacherCache(folder)


def _new_manifest(source: Teacher, data, layers, dtype, fingerprint, examples):
    """Return the manifest of a new cache, from a dry run of the teacher."""
    names: list[str | None] = []
    specs = getattr(data, "element_spec", None)  # of a tf.data.Dataset
    if specs is None:
        specs = next(input_batches(data, 1))
    elif isinstance(specs, tuple):
        specs = specs[0]
    symbols = keras.tree.map_structure(symbolic, specs)
    rows = output_spec(_flat_signals(source, layers, names), symbols)
    shapes = [list(row.shape[1:]) for row in rows]
    if any(None in shape for shape in shapes):
        raise ValueError(
            f"Teacher {source.name!r} cannot be cached: its outputs must have a known size that is "
            f"the same for every example. Received: shapes {shapes}"
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

    return run


def _open(folder, wanted, hashes):
    """Return the manifest found, if it matches the wanted one, or start a new cache."""
    found = read_manifest(folder)
    if found is None:
        # Without a manifest, files of a cache are the rest of a call that was killed.
        if folder.exists() and not all(_FILE.fullmatch(entry.name) for entry in folder.iterdir()):
            raise ValueError(
                "`path` must be a new folder or a teacher cache; this one holds other files. "
                f"Received: path={str(folder)!r}"
            )
        folder.mkdir(parents=True, exist_ok=True)
        np.save(folder / _HASHES, hashes)
        _open_rows(folder, wanted, "w+")
        wanted.write(folder)
        return wanted
    _check_hashes(np.load(folder / _HASHES), hashes)
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
    """Run the teacher on the remaining examples, and save regularly."""
    rows = _open_rows(folder, manifest, "r+")
    function = compiled(_flat_signals(source, manifest.layers))
    saved = time.monotonic()
    done = manifest.done
    start = 0  # of the present batch
    with Progress(disable=not progress, transient=True) as bar:
        task = bar.add_task(f"Teacher {source.name}", total=manifest.examples, completed=done)
        for batch in batches:
            stop = start + len(keras.tree.flatten(batch)[0])
            skipped, start = max(done - start, 0), stop
            if stop <= done:
                continue
            x = keras.tree.map_structure(lambda array, first=skipped: array[first:], batch)
            found = hash_examples(x)
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


def _check_repeatable(expected, found, start):
    """Raise ValueError if a second pass over the data gives other examples."""
    if not np.array_equal(expected, found):
        index = start + int(np.flatnonzero(expected != found)[0]) if len(expected) else start
        raise ValueError(
            f"Two passes over the data gave different examples, first at index {index}: the data "
            "are shuffled or augmented at random. Remove that, augment reproducibly with "
            "`seeded_views`, or augment the attached dataset. "
            f"Received: other inputs at index {index}"
        )


def _storable(values, dtype, name, start):
    """Return values in the dtype of the cache, checked to be finite."""
    values = keras.ops.convert_to_numpy(values)
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
