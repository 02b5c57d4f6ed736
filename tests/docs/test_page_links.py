"""Links between the pages of the project lead somewhere; links elsewhere are well formed."""

import collections
import pathlib
import re
import urllib.parse

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    ROOT / "examples" / "README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
]
CODE = re.compile(r"^(?P<fence> *```+).*?^(?P=fence)$|`[^`\n]+`", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)(?: \"[^\"]*\")?\)")
HEADING = re.compile(r"^#{1,6} +(.+?) *#*$", re.MULTILINE)
FENCE = re.compile(r"^ *```.*?^ *```$", re.MULTILINE | re.DOTALL)
DESCRIBED = re.compile(r"^::: (\S+)$", re.MULTILINE)
ADDRESS = re.compile(r"https?://[^\s)>\"'`|\]}]+")


def links(page):
    return LINK.findall(CODE.sub("", page.read_text("utf-8")))


def anchors(page):
    """Return the anchors of a page: those of headings as GitHub makes them, and described names."""
    text, seen = FENCE.sub("", page.read_text("utf-8")), collections.Counter()
    found = set(DESCRIBED.findall(text))
    for heading in HEADING.findall(text):
        shown = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        slug = re.sub(r"[^\w\- ]", "", shown.lower()).strip().replace(" ", "-")
        found.add(f"{slug}-{seen[slug]}" if seen[slug] else slug)
        seen[slug] += 1
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_internal_links_lead_somewhere(page):
    for link in links(page):
        if urllib.parse.urlsplit(link).scheme:
            continue
        path, _, anchor = link.partition("#")
        aim = (page.parent / urllib.parse.unquote(path)).resolve() if path else page
        assert aim.exists(), link
        assert ROOT in aim.parents, link
        if anchor:
            assert anchor in anchors(aim), f"{link}: {sorted(anchors(aim))}"


def test_external_links_are_well_formed():
    sources = [
        *PAGES,
        *(
            p
            for d in ("tfcompress", "exporters", "keras_callbacks", "examples")
            for p in (ROOT / d).rglob("*.py")
        ),
    ]
    wrong = []
    for source in sources:
        for address in ADDRESS.findall(source.read_text("utf-8")):
            parts = urllib.parse.urlsplit(address.rstrip(".,;:"))
            if not re.fullmatch(r"([\w-]+\.)+[a-z]{2,}(:\d+)?", parts.netloc):
                wrong.append((source.name, address))
    assert wrong == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("## `inspect`\n", "inspect"),
        ("# Ranges, and when they rest\n", "ranges-and-when-they-rest"),
    ],
)
def test_anchors_are_those_of_the_headings(tmp_path, text, expected):
    page = tmp_path / "page.md"
    page.write_text(f"{text}```\n# no heading\n```\n{text}")
    assert anchors(page) == {expected, f"{expected}-1"}
