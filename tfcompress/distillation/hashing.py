"""Short texts that identify models, files and examples by their content."""

import hashlib
import pathlib
from collections.abc import Iterable

import keras
import numpy as np


def hash_arrays(*parts: str | np.ndarray) -> str:
    """Hash texts and arrays, in order, with the arrays' dtypes and shapes."""
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, str):
            digest.update(part.encode())
        else:
            digest.update(f"{part.dtype}{part.shape}".encode())
            digest.update(np.ascontiguousarray(part).tobytes())
    return digest.hexdigest()


def hash_files(paths: Iterable[pathlib.Path], root: pathlib.Path) -> str:
    """Hash files, in the order of their paths, with their places below a root."""
    digest = hashlib.sha256()
    for path in sorted(paths):
        digest.update(str(path.relative_to(root)).encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def hash_examples(batch) -> np.ndarray:
    """Hash each example of a batch.

    Args:
        batch: an array, or a structure of arrays, the batch first.

    Returns:
        uint64 values of shape (batch,): equal for equal examples, wherever they stand.
    """
    leaves = [np.ascontiguousarray(leaf) for leaf in keras.tree.flatten(batch)]
    kinds = [f"{leaf.dtype}{leaf.shape[1:]}".encode() for leaf in leaves]

    def one(index):
        digest = hashlib.blake2b(digest_size=8)
        for kind, leaf in zip(kinds, leaves, strict=True):
            digest.update(kind)
            digest.update(leaf[index].tobytes())
        return int.from_bytes(digest.digest(), "little")

    return np.array([one(index) for index in range(len(leaves[0]))], np.uint64)
