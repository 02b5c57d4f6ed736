import re
from xml.etree import ElementTree

import matplotlib
import pytest
from report_parts import HOSTILE, make_findings

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
