"""Several threads and several processes at once: no half file, no mixed-up result."""

import concurrent.futures
import os
import pathlib
import subprocess
import sys
import time
import warnings

import numpy as np
import pytest
from small_trainings import data, net

from exporters import export_tflite, validate
from exporters.whole_file import write_whole

HERE = pathlib.Path(__file__).parent
THREADS = 3


def export(model, path, quantization):
    x, _ = data()
    result = export_tflite(model, path, quantization, representative_data=x)
    return path.read_bytes(), validate(path, model, x), result


def test_exports_and_validations_from_threads(tmp_path):
    kinds = ("int8", "float32", "dynamic")
    models = [net() for _ in kinds]
    alone = [
        export(model, tmp_path / f"alone_{kind}.tflite", kind)
        for model, kind in zip(models, kinds, strict=True)
    ]
    output, filters = sys.stdout, list(warnings.filters)
    with concurrent.futures.ThreadPoolExecutor(THREADS) as pool:
        paths = [tmp_path / f"thread_{kind}.tflite" for kind in kinds]
        together = list(pool.map(export, models, paths, kinds))
    # Conversions silence TensorFlow, and give back what they silenced.
    assert sys.stdout is output
    assert warnings.filters == filters
    for one, other in zip(alone, together, strict=True):
        assert one[0] == other[0]
        assert one[1].ran
        assert one[1].largest == other[1].largest
        assert np.isfinite(other[1].largest)


def test_threads_that_write_change_no_permissions(tmp_path, monkeypatch):
    umask = os.umask

    def umask_and_wait(mask):  # lets another thread in between asking and putting back
        previous = umask(mask)
        time.sleep(0.001)
        return previous

    before = os.umask(0o027)
    monkeypatch.setattr(os, "umask", umask_and_wait)
    try:
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            paths = [tmp_path / str(number) for number in range(300)]
            list(pool.map(lambda path: write_whole(path, b"x"), paths))
        assert {path.stat().st_mode & 0o777 for path in paths} == {0o640}
    finally:
        after = umask(before)
    assert after == 0o027


@pytest.mark.process
def test_two_processes_that_write_one_file_leave_a_whole_one(tmp_path):
    path = tmp_path / "model.tflite"
    command = [sys.executable, str(HERE / "writing_again.py"), str(path)]
    writers = [subprocess.Popen([*command, letter, "150"]) for letter in "ab"]
    seen = set()
    try:
        while any(writer.poll() is None for writer in writers):
            if path.exists():
                content = path.read_bytes()
                assert len(content) == 200_000
                assert content in (b"a" * 200_000, b"b" * 200_000)
                seen.add(content[:1])
    finally:
        for writer in writers:
            writer.kill()
            writer.wait()
    assert [writer.returncode for writer in writers] == [0, 0]
    assert seen == {b"a", b"b"}
    assert [entry.name for entry in tmp_path.iterdir()] == ["model.tflite"]
