"""A folder of images as examples: with one folder for each class, or images alone."""

import collections
import os
import pathlib
import sys

import numpy as np

from tfcompress.cli.errors import CommandError

# What TensorFlow decodes, by the channels that the model takes.
_FORMATS = {
    1: ("jpeg", "jpg", "png"),
    3: ("bmp", "gif", "jpeg", "jpg", "png", "webp"),
    4: ("bmp", "png"),
}
_BATCH = 32
_NAMED = 5  # files that a message names at most


def image_dataset(
    folder: pathlib.Path,
    shape: tuple[int, int, int],
    *,
    most: int | None = None,
    seed: int = 0,
    reshuffle: bool = False,
    flag: str = "--data",
):
    """Read a folder of images in random order.

    All images that are used are decoded once before, so that a damaged one is named at the start.

    Args:
        folder: holds a folder of images for each class, numbered in the order of their names; or
            images alone, which have no labels then.
        shape: height and width that images are resized to, and 1, 3 or 4 channels.
        most: how many images at most, drawn at random.
        seed: of the order.
        reshuffle: whether each pass has an order of its own, to train on.
        flag: the option that named the folder, for errors.

    Returns:
        A tf.data.Dataset of batches: float32 images with values from 0 to 255, and int32 labels
        where there are classes.

    Raises:
        CommandError: the folder holds no image, or a damaged one.
    """
    import tensorflow as tf

    *size, channels = shape
    # Releases of TensorFlow before 2.21 do not decode WebP.
    missing = () if hasattr(tf.io, "decode_webp") else ("webp",)
    formats = tuple(name for name in _FORMATS[channels] if name not in missing)
    files, labels = _listed(folder, formats, flag)
    order = np.random.default_rng(seed).permutation(len(files))[:most]
    chosen = [str(files[index]) for index in order]
    columns = chosen if labels is None else (chosen, labels[order])

    def image(path):
        decoded = tf.io.decode_image(tf.io.read_file(path), channels, expand_animations=False)
        decoded.set_shape((None, None, channels))
        return tf.image.resize(decoded, size)

    _require_sound(chosen, image, folder, flag)
    examples = tf.data.Dataset.from_tensor_slices(columns)
    if reshuffle:
        examples = examples.shuffle(len(chosen), seed=seed)
    return (
        examples.map(
            lambda path, *label: (image(path), *label) if label else image(path), tf.data.AUTOTUNE
        )
        .batch(_BATCH)
        .prefetch(tf.data.AUTOTUNE)
    )


def _listed(folder, formats, flag):
    """List images and their class numbers; say on the terminal what is left out."""
    classes = sorted(path.name for path in folder.iterdir() if _is_shown(path) and path.is_dir())
    parts = [folder / name for name in classes] or [folder]
    found = [(path, number) for number, part in enumerate(parts) for path in _files_below(part)]
    images = [(path, number) for path, number in found if _suffix(path) in formats]
    left_out = collections.Counter(_suffix(path) for path, _ in found)
    for name in formats:
        del left_out[name]
    kinds = ", ".join(f".{name}" for name in formats)
    counts = ", ".join(
        f"{count} .{name}" if name else f"{count} without an ending"
        for name, count in left_out.most_common()
    )
    if not images:
        raise CommandError(
            f"{flag}: the folder holds no image: one folder of images for each class, or images "
            f"alone, as {kinds} files. Received: {folder} with {counts or 'nothing in it'}"
        )
    if left_out:
        print(
            f"tfcompress: {folder}: {left_out.total()} of {len(found)} files are left out, which "
            f"are no {kinds}: {counts}",
            file=sys.stderr,
        )
    paths, labels = zip(*images, strict=True)
    return paths, np.array(labels, np.int32) if classes else None


def _files_below(folder: pathlib.Path) -> list[pathlib.Path]:
    found = (pathlib.Path(root, name) for root, _, names in os.walk(folder) for name in names)
    return sorted(filter(_is_shown, found))


def _is_shown(path: pathlib.Path) -> bool:
    return not path.name.startswith(".")


def _suffix(path: pathlib.Path) -> str:
    return path.suffix.removeprefix(".").lower()


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
        more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
        raise CommandError(
            f"{flag}: {len(names)} of {len(paths)} images cannot be decoded: remove or replace "
            f"{', '.join(names[:_NAMED])}{more}. Received: {folder}"
        )
