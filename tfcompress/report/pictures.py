"""Pictures of examples, and images as data in a page."""

import base64
import struct
import zlib
from collections.abc import Sequence

import numpy as np

from tfcompress.data import Inputs, flattened

_SIDE = 96  # pixels, at most
_LEAST = 8  # pixels; smaller arrays are hardly images
_MARK = np.array([230, 97, 0])


def draw_examples(
    inputs: Inputs, chosen: Sequence[int], marks: np.ndarray | None = None
) -> list[np.ndarray | None]:
    """Return pictures of some examples, uint8 (height, width, 3); None if no input is an image.

    Args:
        inputs: the examples.
        chosen: their places.
        marks: whether to mark each pixel, bool (examples, pixels); ignored if there are others.
    """
    image = next(filter(_is_image, flattened(inputs)), None)
    if image is None:
        return [None] * len(chosen)
    image = image if image.ndim == 4 else image[..., None]
    low, high = _range(image)
    pictures = []
    for index in chosen:
        pixels = (image[index].astype(np.float64)[..., :3] - low) * 255 / (high - low)
        pixels = np.broadcast_to(pixels, (*pixels.shape[:2], 3))
        if marks is not None and marks.shape[1] == pixels.shape[0] * pixels.shape[1]:
            mark = marks[index].reshape(*pixels.shape[:2], 1)
            pixels = np.where(mark, _MARK, pixels)
        pictures.append(_reduced(pixels).round().astype(np.uint8))
    return pictures


def _is_image(array: np.ndarray) -> bool:
    sized = array.ndim in (3, 4) and min(array.shape[1:3]) >= _LEAST
    return sized and (array.ndim == 3 or array.shape[3] in (1, 3, 4))


def _range(image: np.ndarray) -> tuple[float, float]:
    """Return the values of black and white: the usual ones that hold the data, or its own."""
    if image.dtype.kind in "iu" and image.dtype.itemsize == 1:
        return float(np.iinfo(image.dtype).min), float(np.iinfo(image.dtype).max)
    low, high = float(image.min()), float(image.max())
    usual = ((0.0, 1.0), (-1.0, 1.0), (0.0, 255.0))
    fitting = (ends for ends in usual if ends[0] <= low and high <= ends[1])
    return next(fitting, (low, max(high, low + 1e-9)))


def _reduced(pixels: np.ndarray) -> np.ndarray:
    """Average squares of pixels, so that the longer side fits."""
    step = -(-max(pixels.shape[:2]) // _SIDE)
    down, right = (min(step, size) for size in pixels.shape[:2])
    height, width = pixels.shape[0] // down, pixels.shape[1] // right
    cut = pixels[: height * down, : width * right]
    return cut.reshape(height, down, width, right, 3).mean((1, 3)).clip(0, 255)


def inline_image(pixels: np.ndarray) -> str:
    """Return an element with an image, uint8 (height, width, 3), as PNG in itself."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    height, width, _ = pixels.shape
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)  # 0: no filter
    content = (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
        + chunk(b"IDAT", zlib.compress(rows, 9))
        + chunk(b"IEND", b"")
    )
    data = base64.b64encode(content).decode()
    return f'<img src="data:image/png;base64,{data}" alt="" width="{width}" height="{height}">'
