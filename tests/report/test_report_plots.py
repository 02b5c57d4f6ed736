import dataclasses
import importlib.resources
import itertools
import re
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pytest
from report_parts import HOSTILE, make_findings, make_trial

from tfcompress.report.plots import (
    draw_bars,
    draw_curves,
    draw_histogram,
    draw_pareto,
    draw_sparkline,
)
from tfcompress.report.weights import Histogram

HISTOGRAM = Histogram(-2.0, 2.0, (1, 4, 2, 0))
DRAWINGS = {
    "bars": lambda: draw_bars([0, 2, 3], [1.0, 4.0, 2.0], ["a", HOSTILE, "c"], "kB"),
    "curves": lambda: draw_curves({"one": [1.0, 2.0], HOSTILE: [2.0, 1.0]}, "loss"),
    "distribution": lambda: draw_histogram(HISTOGRAM),
    "sparkline": lambda: draw_sparkline(HISTOGRAM),
    "pareto": lambda: draw_pareto(make_findings().search),
}


@pytest.mark.parametrize("name", DRAWINGS)
def test_drawings_take_their_colours_from_the_page(name):
    drawing = DRAWINGS[name]()
    root = ElementTree.fromstring(drawing)
    assert root.tag.endswith("svg")
    assert "var(--series-1)" in drawing
    assert set(re.findall(r"#[0-9a-f]{6}\b", drawing)) == set()
    assert "\\math" not in drawing  # of numbers on axes, which nobody would set here
    assert len(drawing) < 20_000


def test_names_of_trials_that_lie_close_together_do_not_cover_each_other():
    trials = tuple(make_trial(number, 0.8 + 1e-4 * number, 3000 + number) for number in range(9))
    alone = make_trial(9, 0.5, 1000)
    search = dataclasses.replace(make_findings().search, trials=(*trials, alone))
    drawing = ElementTree.fromstring(draw_pareto(search))
    texts = [text.text for text in drawing.iter("{http://www.w3.org/2000/svg}text")]
    named = [text for text in texts if text and text.startswith("trial ")]
    assert "trial 9" in named
    assert 2 <= len(named) <= 5  # around a heap of points there is room for four
    assert {"float model", "budget"} <= set(texts)


def test_the_same_findings_draw_the_same():
    assert DRAWINGS["pareto"]() == DRAWINGS["pareto"]()


def test_drawing_leaves_matplotlib_as_it_was():
    before = dict(matplotlib.rcParams)
    DRAWINGS["bars"]()
    assert dict(matplotlib.rcParams) == before


def test_bars_are_as_high_as_their_values_and_say_what_they_are():
    drawing = ElementTree.fromstring(DRAWINGS["bars"]())
    space = "{http://www.w3.org/2000/svg}"
    groups = [
        group for group in drawing.iter(f"{space}g") if group.find(f"{space}title") is not None
    ]
    assert [group.find(f"{space}title").text for group in groups] == ["a", HOSTILE, "c"]
    heights = []
    for group in groups:
        numbers = [float(n) for n in re.findall(r"-?[\d.]+", group.find(f"{space}path").get("d"))]
        heights.append(max(numbers[1::2]) - min(numbers[1::2]))
    assert heights[1] / heights[0] == pytest.approx(4.0, rel=0.01)
    assert heights[2] / heights[0] == pytest.approx(2.0, rel=0.01)


def test_a_sparkline_reaches_the_top_at_its_highest_bin():
    path = re.search(r'd="([^"]*)"', draw_sparkline(HISTOGRAM)).group(1)
    assert path == "M0 22V16.8H24V1.0H48V11.5H72V22.0H96V22Z"


# What people without one kind of cones see of linear RGB (Machado, Oliveira, Fernandes 2009).
SIGHT = {
    "all cones": [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
    "protanopia": [[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]],
    "deuteranopia": [[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]],
    "tritanopia": [[1.256, -0.077, -0.179], [-0.078, 0.931, 0.148], [0.005, 0.691, 0.304]],
}
TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])


def lab(colour, sight):
    """The CIELAB coordinates of #rrggbb as someone sees it."""
    parts = np.array([int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)])
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    xyz = TO_XYZ @ np.clip(np.array(sight) @ linear, 0, 1) / [0.9505, 1, 1.089]
    x, y, z = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("sight", SIGHT)
def test_colours_can_be_told_apart_by_everyone(sight):
    style = (importlib.resources.files("tfcompress.report") / "templates/page.css").read_text()
    colours = re.findall(r"--series-\d: (#[0-9a-f]{6})", style)
    assert len(colours) == 8  # four for each mode
    for mode in (colours[:4], colours[4:]):
        seen = [lab(colour, SIGHT[sight]) for colour in mode]
        pairs = itertools.combinations(seen, 2)
        assert min(np.linalg.norm(one - other) for one, other in pairs) > 30
