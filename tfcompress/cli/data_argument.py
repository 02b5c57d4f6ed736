"""``--data``: examples from an .npz file, a folder of images, or a function of the user's."""

import pathlib
import tokenize
import zipfile
import zlib

import numpy as np

from tfcompress.cli.errors import CommandError
from tfcompress.cli.image_folder import image_dataset
from tfcompress.cli.user_code import import_module, is_function
from tfcompress.machine import memory

HELP = (
    "examples: an .npz file with `x` and, where labels are needed, `y`; a folder with one folder "
    "of images for each class (pixels 0 to 255), read in random order; or module:function, which "
    "returns what `fit` takes"
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


def check_data(argument: str | None, flag: str = "--data") -> None:
    """Check, before the model is loaded, that a ``--data`` argument names examples.

    Args:
        argument: as ``HELP`` says, or None.
        flag: the option, for errors.

    Raises:
        CommandError: there is no such file or folder, the archive holds no array `x`, or the
            argument is of no kind that ``HELP`` names.
    """
    if argument is None or is_function(argument):
        return
    path = pathlib.Path(argument)
    if path.suffix == ".npz" and not path.is_dir():
        _require_x(_opened(path, flag, lambda file: file.files), path, flag)
    elif not path.exists():
        raise CommandError(
            f"{flag}: there is no such file or folder; it takes an .npz file, a folder of images, "
            f"or module:function. Received: {argument}"
        )
    elif not path.is_dir():
        raise CommandError(
            f"{flag} takes an .npz file, a folder of images, or module:function. "
            f"Received: {argument}"
        )


def load_data(
    argument: str,
    shape: tuple[int, int, int] | None = None,
    most: int | None = None,
    *,
    seed: int = 0,
    reshuffle: bool = False,
    flag: str = "--data",
):
    """Load what a ``--data`` argument names.

    Args:
        argument: as ``HELP`` says. A module is looked for from the current folder on, and run.
        shape: height, width and channels that images are brought to.
        most: how many examples at most, of an .npz file the first ones.
        seed: of the order of a folder's images.
        reshuffle: whether each pass through a folder has an order of its own, to train on.
        flag: the option, for errors.

    Returns:
        Inputs, or (inputs, labels), or whatever the function returned.

    Raises:
        CommandError: there is no such file, it would take too much memory, it holds no such arrays
            or objects instead of numbers, or numbers that are not finite, or an image is damaged,
            or there is no such function.
    """
    check_data(argument, flag)
    path = pathlib.Path(argument)
    if path.is_dir():
        if shape is None:
            raise CommandError(
                f"{flag}: a folder of images suits a model with one input, an image of a known "
                f"size with 1, 3 or 4 channels; for others there is module:function. "
                f"Received: {path}"
            )
        return image_dataset(path, shape, most=most, seed=seed, reshuffle=reshuffle, flag=flag)
    if is_function(argument):
        return _called(argument, flag)
    return _arrays(path, most, flag)


def _arrays(path, most, flag):
    def read(file):
        return {name: file[name] for name in ("x", "y") if name in file}

    found = _opened(path, flag, read)
    _require_x(found, path, flag)
    for name, array in found.items():
        _require_numbers(name, array, path, flag)
    x, y = (found[name][:most] if name in found else None for name in ("x", "y"))
    if y is not None and len(found["x"]) != len(found["y"]):
        raise CommandError(
            f"{flag} needs a label for each example. Received: {len(found['x'])} examples `x` and "
            f"{len(found['y'])} labels `y` in {path}"
        )
    return x if y is None else (x, y)


def _opened(path, flag, read):
    """Read something of an archive whose members are no larger than there is room for."""
    try:
        _require_room(path, flag)
        with np.load(path, allow_pickle=False) as file:
            return read(file)
    except _DAMAGE as error:
        raise CommandError(f"{flag} cannot be read: {error}. Received: {path}") from error


def _require_x(names, path, flag):
    if "x" not in names:
        raise CommandError(
            f"{flag} needs an array named `x`, and `y` for labels, as "
            "numpy.savez('data.npz', x=x_train, y=y_train) writes them. "
            f"Received: {path} with {', '.join(names) or 'no array'}"
        )


def _require_room(path, flag):
    """Check by the sizes in an archive's directory, beyond which no member is unpacked."""
    with zipfile.ZipFile(path) as archive:
        found = [archive.getinfo(name) for name in archive.namelist() if name in _MEMBERS]
    if any(member.compress_type not in _METHODS for member in found):
        raise CommandError(
            f"{flag} takes archives that are stored or deflated, as NumPy writes them. "
            f"Received: another compression in {path}"
        )
    needed, most = sum(member.file_size for member in found), memory() // 2
    if needed > most:
        raise CommandError(
            f"{flag} unpacks to {needed:,} bytes; half of this computer's memory, {most:,} bytes, "
            f"is the most. Load what fits by a function of your own: {flag} module:function. "
            f"Received: {path}"
        )


def _require_numbers(name, array, path, flag):
    # A member of an archive that is no array comes as its bytes.
    if not isinstance(array, np.ndarray) or not np.issubdtype(array.dtype, np.number):
        kind = array.dtype if isinstance(array, np.ndarray) else type(array).__name__
        raise CommandError(
            f"{flag} holds arrays that are not numbers. Received: {name} of {kind} in {path}"
        )
    if array.ndim == 0:
        raise CommandError(
            f"{flag} needs an example a row. Received: {name} without dimensions in {path}"
        )
    if not np.isfinite(array).all():
        raise CommandError(f"{flag} holds numbers that are not finite. Received: {name} in {path}")


def _called(argument, flag):
    name, _, function = argument.partition(":")
    module = import_module(name, flag)
    if not hasattr(module, function):
        raise CommandError(
            f"{flag}: module {name!r} has no attribute {function!r}. Received: {argument}"
        )
    return getattr(module, function)()
