"""Archives that unpack to more than there is room for are refused before they are unpacked."""

import io
import struct
import tracemalloc
import zipfile

import numpy as np
import pytest

from tfcompress.cli import data_argument
from tfcompress.cli.command import CommandError
from tfcompress.cli.data_argument import load_data

MEGABYTE = 1 << 20


@pytest.fixture
def small_memory(monkeypatch):
    """Let the computer have 8 MiB, so that data may take 4."""
    monkeypatch.setattr(data_argument, "memory", lambda: 8 * MEGABYTE)


def packed(path, method=zipfile.ZIP_DEFLATED, **arrays):
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, array in arrays.items():
            stream = io.BytesIO()
            np.save(stream, array)
            archive.writestr(f"{name}.npy", stream.getvalue())
    return path


def test_a_bomb_is_refused_without_being_unpacked(tmp_path, small_memory):
    path = packed(tmp_path / "bomb.npz", x=np.zeros((64, MEGABYTE), np.uint8))
    assert path.stat().st_size < MEGABYTE // 8
    tracemalloc.start()
    try:
        with pytest.raises(CommandError) as caught:
            load_data(str(path))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < MEGABYTE
    message = str(caught.value)
    assert "67,108,992 bytes" in message  # 64 MiB and a header of 128 bytes
    assert "4,194,304 bytes" in message
    assert "module:function" in message
    assert str(path) in message


def test_x_and_y_count_together_and_nothing_else(tmp_path, small_memory):
    x, y = np.zeros((24, MEGABYTE // 8), np.uint8), np.zeros((24, MEGABYTE // 8), np.uint8)
    assert load_data(str(packed(tmp_path / "x.npz", x=x))).shape == x.shape
    assert load_data(str(packed(tmp_path / "z.npz", x=x, z=y))).shape == x.shape
    with pytest.raises(CommandError, match="6,291,712 bytes"):
        load_data(str(packed(tmp_path / "xy.npz", x=x, y=y)))


def test_a_directory_that_lies_does_not_get_past(tmp_path, small_memory):
    """What is unpacked ends where the directory says that it ends."""
    path = packed(tmp_path / "bomb.npz", x=np.zeros((64, MEGABYTE), np.uint8))
    content = path.read_bytes()
    size, lie = struct.pack("<I", 64 * MEGABYTE + 128), struct.pack("<I", 1000)
    assert content.count(size) == 2  # beside the member, and in the directory
    path.write_bytes(content.replace(size, lie))
    with pytest.raises(CommandError, match="--data cannot be read"):
        load_data(str(path))


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_compressions_are_refused(method, tmp_path):
    path = packed(tmp_path / "other.npz", method, x=np.zeros((2, 2)))
    with pytest.raises(CommandError, match="stored or deflated"):
        load_data(str(path))


def test_an_array_without_an_archive_is_refused(tmp_path):
    np.save(tmp_path / "one.npy", np.zeros((2, 2)))
    path = (tmp_path / "one.npy").rename(tmp_path / "one.npz")
    with pytest.raises(CommandError, match="not a zip file"):
        load_data(str(path))
