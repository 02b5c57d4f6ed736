"""``--data``: examples from an .npz file, a folder of images, or a function of the user's."""

import collections
import os
import pathlib
import struct
import sys
import tokenize
import zipfile
import zlib
from collections.abc import Sequence

import numpy as np

from tfcompress.cli.command import CommandError
from tfcompress.cli.model_argument import import_module, is_function, require_model_file
from tfcompress.machine import memory

HELP = (
    "examples: an .npz file with `x` and, where labels are needed, `y`; a folder with one folder "
    "of images for each class (pixels 0 to 255), read in random order; or module:function, which "
    "returns what `fit` takes"
)

_MEMBERS = ("x", "y", "x.npy", "y.npy")
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # others unpack in pieces of any size

# What reading a damaged archive raises.
_DAMAGE = (
    OSError,
    EOFError,
    ValueError,
    MemoryError,
    NotImplementedError,
    RuntimeError,
    tokenize.TokenError,
    zipfile.BadZipFile,
    zlib.error,
)

# What TensorFlow decodes, by the channels that the model takes.
_FORMATS = {
    1: ("jpeg", "jpg", "png"),
    3: ("bmp", "gif", "jpeg", "jpg", "png", "webp"),
    4: ("bmp", "png"),
}
_BATCH = 32
_NAMED = 5  # the most files that a message names


def check_arguments(arguments) -> None:
    """Check a command's model, data and targets before TensorFlow loads."""
    from tfcompress.targets.target import load_target

    if arguments.model is not None:
        require_model_file(arguments.model)
    check_data(arguments.data)
    check_data(getattr(arguments, "validation_data", None), "--validation-data")
    examples = getattr(arguments, "examples", None)
    if examples is not None and examples < 1:
        raise CommandError(f"--examples must be at least 1. Received: {examples}")
    targets = arguments.target or ()
    for name in (targets,) if isinstance(targets, str) else targets:
        load_target(name)


def check_data(argument: str | None, flag: str = "--data") -> None:
    """Check, before the model is loaded, that an option's argument, or None, names examples."""
    if argument is None or is_function(argument):
        return
    path = pathlib.Path(argument)
    if path.suffix == ".npz" and path.is_file():
        _require_x(_read(path, flag, lambda file: file.files), path, flag)
    elif not path.is_dir():
        problem = "" if path.exists() else ": there is no such file or folder; it"
        raise CommandError(
            f"{flag}{problem} takes an .npz file (numpy.savez('data.npz', x=x, y=y)), a folder of "
            f"images, or module:function. Received: {argument}"
        )


def load_data(
    argument: str | None,
    shape: tuple[int, int, int] | None = None,
    max_examples: int | None = None,
    *,
    seed: int = 0,
    reshuffle: bool = False,
    class_names: Sequence[str] = (),
    flag: str = "--data",
):
    """Load what a ``--data`` argument names: inputs, (inputs, labels), or what a function returns.

    None without the argument.
    The first examples of an .npz file are used, or random images of a folder, whose shape is
    height, width and channels. Folders of classes are numbered as ``class_names`` are, if they have
    these names.
    """
    if argument is None:
        return None
    check_data(argument, flag)
    path = pathlib.Path(argument)
    if path.is_dir():
        if shape is None:
            raise CommandError(
                f"{flag}: a folder of images suits a model with one input, an image of a known "
                "size with 1, 3 or 4 channels; for other models use module:function. "
                f"Received: {path}"
            )
        return image_dataset(
            path,
            shape,
            max_examples=max_examples,
            seed=seed,
            reshuffle=reshuffle,
            class_names=class_names,
            flag=flag,
        )
    if not is_function(argument):
        return _arrays(path, max_examples, flag)
    name, _, function = argument.partition(":")
    module = import_module(name, flag)
    if not hasattr(module, function):
        raise CommandError(
            f"{flag}: module {name!r} has no attribute {function!r}. Received: {argument}"
        )
    make = getattr(module, function)
    found = make() if callable(make) else None
    if found is None:
        raise CommandError(
            f"{flag}: module:function names a function that returns what `fit` takes. Received: "
            f"{argument}, {'which returned None' if callable(make) else 'which is no function'}"
        )
    return found


def _arrays(path, max_examples, flag):
    found = _read(path, flag, lambda file: {name: file[name] for name in "xy" if name in file})
    _require_x(found, path, flag)
    for name, array in found.items():
        _require_numbers(name, array, path, flag)
    x, y = (found[name][:max_examples] if name in found else None for name in "xy")
    if y is not None and len(found["x"]) != len(found["y"]):
        raise CommandError(
            f"{flag} needs one label per example. Received: {len(found['x'])} examples `x` and "
            f"{len(found['y'])} labels `y` in {path}"
        )
    return x if y is None else (x, y)


def _read(path, flag, read):
    """Read an archive whose arrays fit into memory."""
    try:
        _require_room(path, flag)
        with np.load(path, allow_pickle=False) as file:
            return read(file)
    except _DAMAGE as error:
        why = str(error)
        if "allow_pickle" in why:
            why = "it holds Python objects, which may run code: save arrays of numbers"
        raise CommandError(f"{flag} cannot be read: {why}. Received: {path}") from error


def _require_x(names, path, flag):
    if "x" not in names:
        raise CommandError(
            f"{flag} needs an array named `x`, and `y` for labels: write them with "
            "numpy.savez('data.npz', x=x_train, y=y_train). "
            f"Received: {path} with {', '.join(names) or 'no array'}"
        )


def _require_room(path, flag):
    """Check the sizes in an archive's directory, beyond which no member is unpacked."""
    with zipfile.ZipFile(path) as archive:
        found = [archive.getinfo(name) for name in archive.namelist() if name in _MEMBERS]
    if any(member.compress_type not in _METHODS for member in found):
        raise CommandError(
            f"{flag} takes archives that are stored or deflated, as NumPy writes them. "
            f"Received: another compression in {path}"
        )
    needed, limit = sum(member.file_size for member in found), memory() // 2
    if needed > limit:
        raise CommandError(
            f"{flag} unpacks to {needed:,} bytes; the limit is half of this computer's memory, "
            f"{limit:,} bytes. Load a part of it in a function of your own: {flag} "
            f"module:function. Received: {path}"
        )


def _require_numbers(name, array, path, flag):
    # A member of an archive that is not an array is read as bytes.
    if not isinstance(array, np.ndarray) or not np.issubdtype(array.dtype, np.number):
        kind = array.dtype if isinstance(array, np.ndarray) else type(array).__name__
        raise CommandError(
            f"{flag} holds arrays that are not numbers: number classes from 0 on, in the order of "
            f"the model's outputs. Received: {name} of {kind} in {path}"
        )
    if array.ndim == 0:
        raise CommandError(
            f"{flag} needs one example per row. Received: {name} without dimensions in {path}"
        )
    if not np.isfinite(array).all():
        raise CommandError(f"{flag} holds numbers that are not finite. Received: {name} in {path}")


def image_dataset(
    folder: pathlib.Path,
    shape: tuple[int, int, int],
    *,
    max_examples: int | None = None,
    seed: int = 0,
    reshuffle: bool = False,
    class_names: Sequence[str] = (),
    flag: str = "--data",
):
    """Read a folder of images in random order; damaged ones are found before the first batch.

    The dataset yields float32 images of a height, width and 1, 3 or 4 channels, with values from 0
    to 255, and int32 labels if there is a folder for each class: in the order of ``class_names`` if
    these name the folders, otherwise of the folders' names.
    """
    import tensorflow as tf

    *size, channels = shape
    # Releases of TensorFlow before 2.21 do not decode WebP.
    missing = () if hasattr(tf.io, "decode_webp") else ("webp",)
    formats = tuple(name for name in _FORMATS[channels] if name not in missing)
    files, labels = _listed(folder, formats, class_names, flag)
    order = np.random.default_rng(seed).permutation(len(files))[:max_examples]
    chosen = [str(files[index]) for index in order]
    columns = chosen if labels is None else (chosen, labels[order])

    def image(path):
        decoded = tf.io.decode_image(tf.io.read_file(path), channels, expand_animations=False)
        decoded.set_shape((None, None, channels))
        return tf.image.resize(decoded, size)

    _require_sound(chosen, image, folder, flag)
    if turned := sum(map(_is_turned, chosen)):
        print(
            f"tfcompress: {folder}: {turned} of {len(chosen)} photos are stored turned and read "
            "so, as Keras does; a phone shows them upright. Turn them before training, for "
            "example by mogrify -auto-orient",
            file=sys.stderr,
        )
    examples = tf.data.Dataset.from_tensor_slices(columns)
    if reshuffle:
        examples = examples.shuffle(len(chosen), seed=seed)
    images = examples.map(
        lambda path, *label: (image(path), *label) if label else image(path), tf.data.AUTOTUNE
    )
    return images.batch(_BATCH).prefetch(tf.data.AUTOTUNE)


def class_folders(argument: str | None) -> tuple[str, ...]:
    """Name the classes of a folder of images, in the order of their numbers; none without them."""
    if argument is None or is_function(argument) or not os.path.isdir(argument):
        return ()
    entries = pathlib.Path(argument).iterdir()
    return tuple(sorted(path.name for path in entries if _is_shown(path) and path.is_dir()))


def _numbers(classes: Sequence[str], names: Sequence[str], folder, flag) -> list[int]:
    """Number the folders of classes as the model does, if its labels name them."""
    if not set(classes) & set(names):
        return list(range(len(classes)))
    unknown = [name for name in classes if name not in names]
    if unknown:
        raise CommandError(
            f"{flag}: the folders of classes must be named like labels, which are "
            f"{_few(names)}. Received: {folder} with {_few(unknown)}"
        )
    return [names.index(name) for name in classes]


def _few(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def _listed(folder, formats, class_names, flag):
    """List images and their class numbers; report on the terminal which files are skipped."""
    classes = class_folders(os.fspath(folder))
    numbers = _numbers(classes, class_names, folder, flag) or [0]
    parts = [folder / name for name in classes] or [folder]
    found = [
        (path, number)
        for part, number in zip(parts, numbers, strict=True)
        for path in sorted(part.rglob("*"))
        if _is_shown(path) and not path.is_dir()
    ]
    images = [(path, number) for path, number in found if _suffix(path) in formats]
    filled = {number for _, number in images}
    for name, number in zip(classes, numbers, strict=False):
        if images and number not in filled:
            print(
                f"tfcompress: {folder}: the folder {name} holds no image and counts as class "
                f"{number}, as in Keras",
                file=sys.stderr,
            )
    skipped = collections.Counter(
        _suffix(path) for path, _ in found if _suffix(path) not in formats
    )
    kinds = ", ".join(f".{name}" for name in formats)
    counts = ", ".join(
        f"{count} .{name}" if name else f"{count} without an ending"
        for name, count in skipped.most_common()
    )
    if not images:
        raise CommandError(
            f"{flag}: the folder holds no image: it must hold one folder of images for each class, "
            f"or images, as {kinds} files. Received: {folder} with {counts or 'nothing in it'}"
        )
    if skipped:
        print(
            f"tfcompress: {folder}: {skipped.total()} of {len(found)} files are left out, because "
            f"they are not {kinds}: {counts}",
            file=sys.stderr,
        )
    paths, labels = zip(*images, strict=True)
    return paths, np.array(labels, np.int32) if classes else None


def _is_shown(path: pathlib.Path) -> bool:
    return not path.name.startswith(".")


def _suffix(path: pathlib.Path) -> str:
    return path.suffix.removeprefix(".").lower()


def _is_turned(path: str) -> bool:
    """Return whether a JPEG file says that it is to be turned, or mirrored, before it is shown.

    The tag 0x112 of the first directory of Exif data: 1 where it is upright.
    """
    with open(path, "rb") as file:
        _, found, exif = file.read(1 << 16).partition(b"Exif\0\0")
    if not found:
        return False
    order = "<" if exif.startswith(b"II") else ">"
    try:
        (start,) = struct.unpack_from(f"{order}I", exif, 4)
        (count,) = struct.unpack_from(f"{order}H", exif, start)
        entries = (
            struct.unpack_from(f"{order}HHIH", exif, start + 2 + 12 * n) for n in range(count)
        )
        return any(tag == 0x112 and value > 1 for tag, _, _, value in entries)
    except struct.error:  # damaged
        return False


def _require_sound(paths, image, folder, flag) -> None:
    """Decode all images, and name those that cannot be decoded."""
    import tensorflow as tf

    numbered = tf.data.Dataset.from_tensor_slices(paths).enumerate()
    decoded = numbered.map(
        lambda number, path: (number, tf.reduce_max(image(path))), tf.data.AUTOTUNE
    )
    sound = {int(number) for number, _ in decoded.ignore_errors()}
    damaged = [path for number, path in enumerate(paths) if number not in sound]
    if damaged:
        names = sorted(os.path.relpath(path, folder) for path in damaged)
        raise CommandError(
            f"{flag}: {len(names)} of {len(paths)} images cannot be decoded: remove or replace "
            f"{_few(names)}. Received: {folder}"
        )
