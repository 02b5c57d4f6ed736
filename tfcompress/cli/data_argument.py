"""``--data``: examples from an .npz file, a folder of images, or a function of the user's."""

import importlib
import os
import pathlib
import sys
import tokenize
import zipfile
import zlib

import numpy as np

from tfcompress.cli.errors import CommandError

HELP = (
    "examples: an .npz file with `x` and, where labels are needed, `y`; a folder with one folder "
    "of images for each class (pixels 0 to 255); or module:function, which returns what `fit` takes"
)

_MEMBERS = ("x", "y", "x.npy", "y.npy")
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # others unpack in pieces of any size

# What reading an archive from anywhere raises.
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


def load_data(
    argument: str,
    image_size: tuple[int, int] | None = None,
    most: int | None = None,
    shuffle_seed: int | None = None,
):
    """Load what a ``--data`` argument names.

    Args:
        argument: as ``HELP`` says. A module is looked for from the current folder on, and run.
        image_size: height and width that images are brought to.
        most: how many examples of an .npz file at most.
        shuffle_seed: shuffles a folder of images by this seed, to train on; in order if None.

    Returns:
        Inputs, or (inputs, labels), or whatever the function returned.

    Raises:
        CommandError: there is no such file, it would take too much memory, it holds no such arrays
            or objects instead of numbers, or numbers that are not finite, or there is no such
            function.
    """
    path = pathlib.Path(argument)
    if path.is_dir():
        return _images(path, image_size, shuffle_seed)
    if path.suffix == ".npz":
        return _arrays(path, most)
    if ":" in argument:
        return _called(argument)
    raise CommandError(
        f"--data takes an .npz file, a folder of images, or module:function. Received: {argument}"
    )


def _arrays(path, most):
    try:
        _require_room(path)
        with np.load(path, allow_pickle=False) as file:
            found = {name: file[name] for name in ("x", "y") if name in file}
    except _DAMAGE as error:
        raise CommandError(f"--data cannot be read: {error}. Received: {path}") from error
    if "x" not in found:
        raise CommandError(f"--data needs an array named `x`. Received: {path}")
    for name, array in found.items():
        _require_numbers(name, array, path)
    x, y = (found[name][:most] if name in found else None for name in ("x", "y"))
    return x if y is None else (x, y)


def _require_room(path):
    """Check by the sizes in an archive's directory, beyond which no member is unpacked."""
    with zipfile.ZipFile(path) as archive:
        found = [archive.getinfo(name) for name in archive.namelist() if name in _MEMBERS]
    if any(member.compress_type not in _METHODS for member in found):
        raise CommandError(
            f"--data takes archives that are stored or deflated, as NumPy writes them. "
            f"Received: another compression in {path}"
        )
    needed, most = sum(member.file_size for member in found), _memory() // 2
    if needed > most:
        raise CommandError(
            f"--data unpacks to {needed:,} bytes; half of this computer's memory, {most:,} bytes, "
            "is the most. Load what fits by a function of your own: --data module:function. "
            f"Received: {path}"
        )


def _memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _require_numbers(name, array, path):
    # A member of an archive that is no array comes as its bytes.
    if not isinstance(array, np.ndarray) or not np.issubdtype(array.dtype, np.number):
        kind = array.dtype if isinstance(array, np.ndarray) else type(array).__name__
        raise CommandError(
            f"--data holds arrays that are not numbers. Received: {name} of {kind} in {path}"
        )
    if array.ndim == 0:
        raise CommandError(
            f"--data needs an example a row. Received: {name} without dimensions in {path}"
        )
    if not np.isfinite(array).all():
        raise CommandError(f"--data holds numbers that are not finite. Received: {name} in {path}")


def _images(folder, image_size, shuffle_seed):
    import keras

    if image_size is None:
        raise CommandError(
            f"A folder of images suits a model with images as input. Received: {folder}"
        )
    try:
        return keras.utils.image_dataset_from_directory(
            folder,
            image_size=image_size,
            shuffle=shuffle_seed is not None,
            seed=shuffle_seed,
            verbose=False,
        )
    except ValueError as error:
        raise CommandError(f"--data: {error} Received: {folder}") from error


def _called(argument):
    module, _, function = argument.partition(":")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        return getattr(importlib.import_module(module), function)()
    except (ImportError, AttributeError) as error:
        raise CommandError(f"--data: {error}. Received: {argument}") from error
