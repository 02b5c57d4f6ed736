"""Hashes that identify models, files and examples by their content."""

import hashlib
import os
import pathlib
from collections.abc import Iterable
from typing import Any

import numpy as np

from tfcompress.data import flattened


def hash_arrays(*parts: str | np.ndarray) -> str:
    """Hash texts and arrays, in order, with the arrays' dtypes and shapes; return 64 hex digits."""
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, str):
            digest.update(part.encode())
        else:
            array = np.asarray(part)
            digest.update(f"{array.dtype}{array.shape}".encode())
            digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def hash_file(path: str | os.PathLike) -> str:
    """Return the SHA-256 of a file, as 64 hex digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def hash_files(paths: Iterable[pathlib.Path], root: pathlib.Path) -> str:
    """Hash files, in the order of their paths, with their places below a root."""
    digest = hashlib.sha256()
    for path in sorted(paths):
        digest.update(str(path.relative_to(root)).encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def hash_examples(batch: Any) -> np.ndarray:
    """Hash each example of a batch, a structure of arrays, to uint64; equal examples are equal."""
    leaves = [np.ascontiguousarray(leaf) for leaf in flattened(batch)]
    kinds = [f"{leaf.dtype}{leaf.shape[1:]}".encode() for leaf in leaves]

    def one(index: int) -> int:
        digest = hashlib.blake2b(digest_size=8)
        for kind, leaf in zip(kinds, leaves, strict=True):
            digest.update(kind)
            digest.update(leaf[index].tobytes())
        return int.from_bytes(digest.digest(), "little")

    return np.array([one(index) for index in range(len(leaves[0]))], np.uint64)
