"""Nothing depends on the time of day going on: only the date on a report is taken from it."""

import ast
import importlib.util
import itertools
import pathlib
import time

import numpy as np
import pytest
from small_trainings import data, net

import tfcompress as tfc
from exporters import benchmark, export_tflite

ROOMS = ("tfcompress", "exporters", "keras_callbacks")
TIME_OF_DAY = {"time.time", "time.time_ns", "time.ctime", "time.localtime", "time.gmtime"}
ENDINGS = ("datetime.now", "datetime.utcnow", "date.today", ".st_mtime", ".getmtime")


def uses_of_the_time_of_day(room):
    (folder,) = importlib.util.find_spec(room).submodule_search_locations
    for path in pathlib.Path(folder).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            text = ast.unparse(node) if isinstance(node, ast.Attribute) else ""
            if text in TIME_OF_DAY or text.endswith(ENDINGS):
                yield path.name, text


def test_only_the_date_of_a_report_is_the_time_of_day():
    found = [use for room in ROOMS for use in uses_of_the_time_of_day(room)]
    assert found == [("examine.py", "datetime.datetime.now")]


@pytest.fixture
def clock_that_goes_back(monkeypatch):
    """An hour less each time that somebody asks, down to the first days of 1970."""
    hours = itertools.chain(range(40, 0, -1), itertools.repeat(0))
    monkeypatch.setattr(time, "time", lambda: 3600.0 * next(hours))


def test_files_and_measurements_are_as_ever(tmp_path, clock_that_goes_back, monkeypatch):
    pytest.importorskip("jinja2", reason="needs the extra `report`")
    assert time.time() > time.time()
    x, _ = data()
    settings = {"representative_data": x, "labels": [str(n) for n in range(6)]}
    model = net()
    path = export_tflite(model, tmp_path / "back.tflite", "int8", **settings).path
    (measured,) = benchmark([path], 20).measurements
    assert 0 < measured.median < 1
    tfc.cache_teacher(model, x, tmp_path / "back", batch_size=8, progress=False)
    findings = tfc.examine(path, data=x, runs=5, targets=[])
    assert findings.file.latency > 0
    tfc.write_report(findings, tmp_path / "report")
    assert (tmp_path / "report" / "report.html").is_file()

    monkeypatch.undo()
    export_tflite(model, tmp_path / "on.tflite", "int8", **settings)
    assert path.read_bytes() == (tmp_path / "on.tflite").read_bytes()
    tfc.cache_teacher(model, x, tmp_path / "on", batch_size=8, progress=False)
    one, other = (np.load(tmp_path / name / "output_0.npy") for name in ("back", "on"))
    np.testing.assert_array_equal(one, other)
