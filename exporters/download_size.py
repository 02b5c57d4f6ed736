"""What a file costs to download: its bytes as servers and app stores compress them."""

import gzip
import importlib

_ZSTD_LEVEL = 19  # a file is compressed once and downloaded often


def gzip_size(content: bytes) -> int:
    """Return the bytes that gzip makes of a file, at its highest level."""
    return len(gzip.compress(content, mtime=0))


def zstd_size(content: bytes) -> int | None:
    """Return the bytes that Zstandard makes of a file, at level 19.

    Python has Zstandard from 3.14 on; before, it takes the extra `zstd`.

    Returns:
        The size; None where the extra is not installed.
    """
    try:
        zstd = importlib.import_module("backports.zstd")
    except ImportError:
        return None
    return len(zstd.compress(content, _ZSTD_LEVEL))
