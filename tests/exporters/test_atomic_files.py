"""Full disks, folders that cannot be written to, interruptions: nothing is left behind."""

import errno
import os
import signal
import subprocess
import sys

import pytest
import toy_files

from exporters import export_tflite, write_bundle
from tfcompress.atomic_files import require_writable, write_atomically, write_folder_atomically


def mounted(folder, options):
    """Mount a file system of its own on a folder."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small disk needs root")
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    if answer.returncode:
        pytest.skip(f"no small disk can be mounted here: {answer.stderr.strip()}")


@pytest.fixture
def small_disk(tmp_path):
    """A folder with 8 KiB of space."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted(folder, "size=8k")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.fixture
def read_only(tmp_path):
    """A folder that nobody can write to."""
    folder = tmp_path / "read_only"
    folder.mkdir()
    if os.geteuid() != 0:
        folder.chmod(0o500)
        yield folder
        folder.chmod(0o700)
        return
    mounted(folder, "size=8k,ro")  # root may write wherever the disk allows
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_export_to_a_full_disk(small_disk):
    (small_disk / "kept.txt").write_text("mine")
    path = small_disk / "m.tflite"
    path.write_bytes(b"the last version")
    with pytest.raises(OSError, match="No space left"):
        export_tflite(toy_files.model(), path, "float32")
    assert sorted(p.name for p in small_disk.iterdir()) == ["kept.txt", "m.tflite"]
    assert path.read_bytes() == b"the last version"


def test_bundle_on_a_full_disk(small_disk, tmp_path):
    path = tmp_path / "m.tflite"
    path.write_bytes(toy_files.content("int8"))
    with pytest.raises(OSError, match="No space left"):
        write_bundle(path, small_disk / "deep" / "bundle", examples=toy_files.images()[:2])
    assert list(small_disk.iterdir()) == []


@pytest.mark.process
@pytest.mark.parametrize(
    "call", ["write_atomically(p, b'x' * 5000)", "write_folder_atomically(p, {'a': b'x' * 5000})"]
)
def test_a_limit_on_the_size_of_files(tmp_path, call):
    """What quotas do: the write itself fails, halfway."""
    script = (
        "import resource, signal, sys\n"
        "from tfcompress.atomic_files import write_folder_atomically, write_atomically\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "p = sys.argv[1]\n"
        f"try: {call}\n"
        "except OSError as error: print(error.errno)\n"
    )
    answer = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "out")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(answer.stdout) == errno.EFBIG
    assert list(tmp_path.iterdir()) == []


def test_read_only_folder_is_refused_before_the_conversion(read_only, monkeypatch):
    monkeypatch.setattr("exporters.export.convert_model", None)  # not reached
    with pytest.raises(OSError, match=r"read_only cannot be written to: (Read-only|Permission)"):
        export_tflite(toy_files.model(), read_only / "m.tflite", "float32")
    with pytest.raises(OSError, match=r"Read-only|Permission"):
        write_folder_atomically(read_only / "bundle", {"a": b""})
    assert list(read_only.iterdir()) == []


@pytest.fixture
def interrupted(monkeypatch):
    """Ctrl-C at the last moment."""
    # A process that was started in the background may ignore the signal.
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    monkeypatch.setattr(os, "replace", lambda *_: signal.raise_signal(signal.SIGINT))
    yield
    signal.signal(signal.SIGINT, previous)


def test_interrupted_file(tmp_path, interrupted):
    with pytest.raises(KeyboardInterrupt):
        write_atomically(tmp_path / "m.tflite", b"x")
    assert list(tmp_path.iterdir()) == []


def test_interrupted_folder(tmp_path, interrupted):
    with pytest.raises(KeyboardInterrupt):
        write_folder_atomically(tmp_path / "deep" / "bundle", {"a": b"x"})
    assert list(tmp_path.iterdir()) == []


def test_places_that_are_none(tmp_path):
    with pytest.raises(FileNotFoundError, match="create it first"):
        require_writable(tmp_path / "missing" / "m.tflite")
    with pytest.raises(IsADirectoryError, match="place of a folder"):
        require_writable(tmp_path)


def test_permissions_are_those_of_any_new_file(tmp_path):
    write_atomically(tmp_path / "m.tflite", b"x")
    (tmp_path / "other").write_bytes(b"x")
    assert (tmp_path / "m.tflite").stat().st_mode == (tmp_path / "other").stat().st_mode
