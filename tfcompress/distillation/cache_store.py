"""A folder with the teacher's outputs: one .npy file per output, and a manifest.

The files are memory-mapped: they may be larger than the memory. The manifest is replaced whole,
after the rows that it counts are on disk, so a killed run loses at most the rows since then.
"""

import dataclasses
import json
import pathlib
import re

import numpy as np

from tfcompress.atomic_files import write_atomically

MANIFEST = "manifest.json"
HASHES = "examples.npy"
_FILE = re.compile(r"(examples|output_\d+|layer_\d+)\.npy|\.[0-9a-f]+-manifest\.json")


@dataclasses.dataclass(frozen=True)
class Manifest:
    """What a cache holds.

    Attributes:
        teacher: the fingerprint of the teacher.
        teacher_name: how errors call the teacher.
        heads: how the teacher's outputs end; see ``detect_heads``.
        shapes: the shape of one example's row, for each output and then each layer.
        layers: the names of the teacher's layers whose outputs are kept.
        dtype: the dtype of the rows.
        examples: the number of examples of the dataset.
        done: how many of them, from the first, have their rows.
        outputs: the names given to the outputs, None where there is none; of caches written by
            earlier versions no list.
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
                raise TypeError(f"{field} is no list: {getattr(self, field)!r}")
        if len(self.layers) > len(self.shapes):
            raise ValueError(f"{len(self.layers)} layers, but {len(self.shapes)} shapes")
        for field in ("examples", "done"):
            if not isinstance(getattr(self, field), int):
                raise TypeError(f"{field} is no number: {getattr(self, field)!r}")

    @property
    def complete(self) -> bool:
        """Whether every example has its rows."""
        return self.done == self.examples

    @property
    def names(self) -> list[str]:
        """The file name of each array of rows."""
        outputs = len(self.shapes) - len(self.layers)
        return [f"output_{i}.npy" for i in range(outputs)] + [
            f"layer_{i}.npy" for i in range(len(self.layers))
        ]

    def write(self, folder: pathlib.Path) -> None:
        """Write the manifest in one move."""
        content = json.dumps(dataclasses.asdict(self), indent=1)
        write_atomically(folder / MANIFEST, content.encode())


def read_manifest(folder: pathlib.Path) -> Manifest | None:
    """Read the manifest of a cache; ``None`` where there is none.

    Raises:
        ValueError: the file is no manifest.
    """
    path = folder / MANIFEST
    if not path.is_file():
        return None
    try:
        return Manifest(**json.loads(path.read_text()))
    except (RecursionError, TypeError, ValueError) as error:
        raise ValueError(
            f"{path.name} is no manifest of a teacher cache: {error}. Choose another folder, or "
            f"remove this one. Received: path={str(folder)!r}"
        ) from error


def is_unfinished(folder: pathlib.Path) -> bool:
    """Return whether a folder is empty, or holds what a call leaves that was ended early.

    The manifest is written after the other files: without one, there are no rows that count.
    """
    return all(_FILE.fullmatch(entry.name) for entry in folder.iterdir())


def open_rows(folder: pathlib.Path, manifest: Manifest, mode: str) -> list[np.memmap]:
    """Map the rows of every output and layer into memory; mode "w+" creates the files.

    Raises:
        ValueError: a file is missing, or not of the shape that the manifest says.
    """
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
                "Remove the folder and cache again. Received: "
                f"{'no file' if array is None else f'{array.shape} of {array.dtype}'}"
            )
        rows.append(array)
    return rows
