"""Encoding a file's kernels for TensorFlow Lite for Microcontrollers: less flash, more arena."""

import dataclasses
import os
from typing import Any

from tfcompress.atomic_files import require_writable, write_atomically
from tfcompress.targets.arena import arena_estimate
from tfcompress.tflite.encoding import EncodedKernel, encode_kernels
from tfcompress.tflite.flatbuffer import read_content, read_model


@dataclasses.dataclass(frozen=True)
class EncodingReport:
    """What encoding the kernels of a file saves, and what it needs.

    Attributes:
        kernels: each kernel that was encoded, with its bytes before and after.
        size: bytes of the encoded file, which lie in flash.
        dense_size: bytes of the file before.
        arena: estimated bytes of the tensors in memory; a kernel is there while it is read.
        dense_arena: the same of the file before.

    Example:
    ```python
    report = encode_weights("model.tflite", "model_encoded.tflite")
    print(report.dense_size - report.size, "bytes of flash saved")
    ```
    """

    kernels: tuple[EncodedKernel, ...]
    size: int
    dense_size: int
    arena: int
    dense_arena: int

    def to_json(self) -> dict[str, Any]:
        """Return everything as JSON-able values."""
        return dataclasses.asdict(self)

    def to_text(self) -> str:
        """Return text for the terminal: flash and arena, then each kernel."""
        if not self.kernels:
            return (
                f"no kernel becomes smaller, the file stays as it is: {self.size:,} bytes. Prune "
                "or cluster the model before the export"
            )
        lines = [
            f"flash: {self.size:,} bytes, {self.dense_size:,} before "
            f"({self.size / self.dense_size - 1:+.0%})",
            f"arena: about {self.arena:,} bytes, {self.dense_arena:,} before",
        ]
        width = max(len(kernel.name) for kernel in self.kernels)
        return "\n".join(
            lines
            + [
                f"  {kernel.name:{width}}  {kernel.encoding:8}{kernel.encoded_size:>9,} bytes, "
                f"{kernel.dense_size:,} before"
                for kernel in self.kernels
            ]
        )


def encode_weights(source: bytes | str | os.PathLike, path: str | os.PathLike) -> EncodingReport:
    """Encode the int8 kernels of a file for TensorFlow Lite for Microcontrollers.

    Zeros, clusters and frequent values take fewer bytes: each kernel gets the smallest of a table
    with indices, a bit for each zero, and Huffman codes, or stays as it is. The interpreter's
    operation DECODE restores it each time before it is read: the outputs are the same, every
    inference decodes every kernel, and the largest one needs its place in the arena. Only this
    interpreter runs the file, with ``AddDecode()`` in its resolver: prove the one before with
    ``validate`` or a bundle.

    Args:
        source: the path of a .tflite file with int8 kernels, or its bytes.
        path: where to write the encoded file.

    Returns:
        What was saved.

    Raises:
        FlatbufferError: the file is damaged.
        OSError: a path cannot be read or written.
        ValueError: the file has no operation.

    Example:
    ```python
    export_tflite(model, "model.tflite", "int8", representative_data=x)
    print(encode_weights("model.tflite", "model_encoded.tflite").to_text())
    ```

    Source: "TFLM DECODE Operator Design", https://github.com/tensorflow/tflite-micro.
    """
    path = require_writable(path)
    content, name = read_content(source)
    before = read_model(content, name)
    if not before.subgraphs or not before.subgraphs[0].operations:
        raise ValueError("The file has no operation, and so no kernel to encode.")
    encoded, kernels = encode_kernels(content)
    after = read_model(encoded)
    write_atomically(path, encoded)
    return EncodingReport(
        kernels=kernels,
        size=len(encoded),
        dense_size=len(content),
        arena=arena_estimate(after.subgraphs[0]),
        dense_arena=arena_estimate(before.subgraphs[0]),
    )
