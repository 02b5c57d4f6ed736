"""Several threads and several processes at once: no half file, no mixed-up result."""

import concurrent.futures
import hashlib
import json
import os
import pathlib
import sys
import time
import warnings

import numpy as np
import pytest
from exporting_again import net as net_of_seed
from small_trainings import data, net
from started_script import StartedScript

from exporters import export_tflite, validate
from tfcompress.atomic_files import write_atomically

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
            list(pool.map(lambda path: write_atomically(path, b"x"), paths))
        assert {path.stat().st_mode & 0o777 for path in paths} == {0o640}
    finally:
        after = umask(before)
    assert after == 0o027


def test_exports_to_one_path_from_threads(tmp_path):
    x, _ = data()
    models = [net_of_seed(seed) for seed in (1, 2)]
    wanted = [export(model, tmp_path / "alone.tflite", "int8")[0] for model in models]
    path, seen = tmp_path / "shared.tflite", set()

    def again(model):
        for _ in range(3):
            export_tflite(model, path, "int8", representative_data=x)
            seen.add(path.read_bytes())

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        list(pool.map(again, models))
    assert seen <= set(wanted)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["alone.tflite", "shared.tflite"]


def require_whole_bundle(folder):
    manifest = json.loads((folder / "manifest.json").read_text())
    for name, facts in manifest["files"].items():
        content = (folder / name).read_bytes()
        assert hashlib.sha256(content).hexdigest() == facts["sha256"]
    assert {path.name for path in folder.iterdir()} == {*manifest["files"], "manifest.json"}


@pytest.mark.process
def test_two_processes_with_one_file_one_page_and_one_bundle(tmp_path):
    pytest.importorskip("jinja2", reason="needs the extra `report`")
    script, times = HERE / "exporting_again.py", 4
    writers = [
        StartedScript(script, tmp_path, name, seed, times) for name, seed in (("a", 1), ("b", 2))
    ]
    shared, page, data_file = (
        tmp_path / name for name in ("shared.tflite", "report/report.html", "report/report.json")
    )
    files, reports = set(), set()
    try:
        while any(writer.poll() is None for writer in writers):
            if shared.exists():
                files.add(shared.read_bytes())
            if page.exists():
                assert page.read_text().rstrip().endswith("</html>")
                reports.add(json.loads(data_file.read_text())["file"]["sha256"])
            time.sleep(0.002)
        printed = [writer.communicate()[0].split() for writer in writers]
    finally:
        for writer in writers:
            writer.kill()
            writer.wait()
    assert [writer.returncode for writer in writers] == [0, 0]
    wanted = {(tmp_path / f"{name}.tflite").read_bytes() for name in "ab"}
    assert len(wanted) == 2
    assert files <= wanted
    assert reports <= {hashlib.sha256(content).hexdigest() for content in wanted}
    # Of each bundle, one process is the first.
    assert sorted(printed[0] + printed[1]) == [f"bundle_{number}" for number in range(times)]
    for number in range(times):
        require_whole_bundle(tmp_path / f"bundle_{number}")
    assert not list(tmp_path.rglob(".*"))
