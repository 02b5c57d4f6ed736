"""The page in a real browser: Debian's chromium, driven by playwright-core from npm."""

import json
import os
import pathlib
import shutil
import subprocess

import pytest
from report_parts import HOSTILE, make_findings, make_layer

from tfcompress.report.rendering import write_report

PLAYWRIGHT = "playwright-core@1.56.1"
CACHE = pathlib.Path(os.environ.get("XDG_CACHE_HOME", pathlib.Path.home() / ".cache"))
CHECK = pathlib.Path(__file__).with_name("page_check.mjs")
pytestmark = pytest.mark.process


@pytest.fixture(scope="module")
def chromium():
    names = ("chromium", "chromium-browser", "google-chrome")
    found = next((path for name in names if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip("needs Chromium: apt-get install chromium")
    return found


@pytest.fixture(scope="module")
def modules():
    """The folder that playwright-core is installed in; installed once, and kept."""
    if not (shutil.which("node") and shutil.which("npm")):
        pytest.skip("needs Node.js with npm: apt-get install nodejs npm")
    folder = CACHE / "tfcompress" / "browser"
    if not (folder / "node_modules" / "playwright-core").is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        command = ["npm", "install", "--no-audit", "--no-fund", "--prefix", folder, PLAYWRIGHT]
        installed = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=120
        )
        if installed.returncode:
            pytest.skip(f"needs {PLAYWRIGHT} from npm: {installed.stderr.strip()[-200:]}")
    return folder / "node_modules"


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """A page about as many layers as MobileNetV2 has, with everything that a report can show."""
    layers = (
        make_layer(0, HOSTILE, sqnr=None),
        *(make_layer(n, f"block_{n}_expand/convolution", sqnr=60.0 - n % 7) for n in range(1, 65)),
    )
    findings = make_findings(layers=layers, reference="one_word/" * 40)
    return write_report(findings, tmp_path_factory.mktemp("page"))


@pytest.fixture(scope="module")
def seen(chromium, modules, page):
    command = ["node", CHECK, modules, chromium, page, page.parent]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_no_error_and_no_request_leaves_the_page(seen, page):
    assert seen["errors"] == []
    assert set(seen["requests"]) == {page.as_uri()}
    assert page.stat().st_size < 2_000_000


@pytest.mark.parametrize(
    ("name", "width"), [("phone-light", 390), ("phone-dark", 390), ("narrow", 320)]
)
def test_nothing_is_wider_than_a_phone(name, width, seen):
    assert seen["views"][name]["width"] == width
    assert seen["views"][name]["outside"] == 0
    if width == 390:
        assert seen["views"][name]["cut"] == 0


def test_text_and_drawings_stand_out_in_both_modes(seen):
    light, dark = seen["views"]["phone-light"], seen["views"]["phone-dark"]
    assert light["background"] != dark["background"]
    for view in (light, dark):
        assert view["contrast"]["ratio"] >= 4.5, view["contrast"]
        *series, surface = map(luminance, view["colours"])
        for colour in series:
            high, low = max(colour, surface), min(colour, surface)
            assert (high + 0.05) / (low + 0.05) >= 3


def luminance(colour):
    """The relative luminance of #rrggbb (WCAG 2.1)."""
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_the_keyboard_is_enough(seen):
    assert seen["first"] == "Skip to the report"
    assert seen["outline"] == "3px"
    assert seen["skipped"] == "content"
    assert seen["scrolled"]
    order, cells = seen["descending"]
    numbers = [int(cell) for cell in cells]
    assert order == "descending"
    assert numbers == sorted(numbers, reverse=True) != [int(cell) for cell in seen["before"]]
    order, cells = seen["ascending"]
    assert (order, [int(cell) for cell in cells]) == ("ascending", sorted(numbers))


def test_what_is_not_known_is_sorted_last(seen):
    *known, last = seen["unknownLast"]
    values = [float(cell.removesuffix(" dB")) for cell in known]
    assert values == sorted(values, reverse=True)
    assert last == "\N{EN DASH}"
    assert seen["names"][0].startswith("<script>")
