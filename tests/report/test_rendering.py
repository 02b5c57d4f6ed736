import html.parser
import json
import re

import pytest
from report_parts import HOSTILE, make_file, make_findings

from tfcompress.report.document import Section
from tfcompress.report.formats import TERMS
from tfcompress.report.rendering import render_html, render_markdown, write_report
from tfcompress.report.sections import findings_document


class Tags(html.parser.HTMLParser):
    """Collects elements, ids and whether every element is closed."""

    VOID = frozenset({"meta", "link", "br", "img", "use", "path"})

    def __init__(self, page):
        super().__init__()
        self.seen, self.ids, self.open = [], [], []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.seen.append(tag)
        self.ids += [value for name, value in attributes if name == "id"]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.seen.append(tag)
        self.ids += [value for name, value in attributes if name == "id"]

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.open.pop() == tag


@pytest.fixture(scope="module")
def page():
    return render_html(findings_document(make_findings()))


def test_a_page_is_well_formed(page):
    tags = Tags(page)
    assert tags.open == []
    assert tags.seen.count("script") == 1
    names = [name for name in tags.ids if not re.fullmatch(r"[mp][0-9a-f]{10}", name)]
    assert len(names) == len(set(names))


def test_a_page_has_every_section_and_a_drawing_of_everything(page):
    titles = re.findall(r'<h2 id="[^"]*">([^<]*)</h2>', page)
    assert titles == [
        "Summary",
        "Targets",
        "Agreement",
        "Answers",
        "Search",
        "Training",
        "Layers",
        "Weights",
        "How to reproduce",
        "Terms",
    ]
    # Confusions and an example; Pareto; loss and accuracy;
    # bytes, sparsity, bits, noise, time; weights of three layers.
    assert page.count("<figure") == 2 + 1 + 2 + 5 + 3
    assert "7.0x smaller (gzip), 3.0x faster, 1.00 points of accuracy lost" in page
    assert "loses 0.40 points more than allowed" in page
    assert "did not run: aborted" in page
    assert "and 4 more" in page  # 12 reasons


def test_names_cannot_break_a_page(page):
    assert "<script>alert" not in page
    assert page.count("&lt;script&gt;alert(1)") > 5


def test_a_page_asks_the_network_for_nothing(page):
    links = set(re.findall(r'https?://[^"\s<]+', page))
    assert links <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}
    assert not re.search(
        r"<(?:img(?! src=.data:)|iframe|object|embed|script [^>]*src)|@import", page
    )
    assert "default-src 'none'" in page


def test_sections_about_which_nothing_is_known_are_left_out():
    bare = make_findings(
        file=make_file(metric=None, timing=None, sparsity=None),
        baseline=None,
        agreement=None,
        answers=None,
        verdicts=(),
        trainings=(),
        search=None,
        layers=(),
        command=None,
    )
    document = findings_document(bare)
    assert [section.title for section in document.sections] == [
        "Summary",
        "How to reproduce",
        "Terms",
    ]
    assert document.lead == "4,000 bytes, 2,000 gzipped."
    render_html(document)


def test_markdown_is_a_table_that_names_cannot_break():
    text = render_markdown(findings_document(make_findings()))
    tables = [block for block in text.split("\n\n") if block.startswith("| ")]
    for table in tables:
        cells = [len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()]
        assert len(set(cells)) == 1, table
    assert "<script>" not in text.replace("\\<script\\>", "")
    assert "| accuracy | 91.00 % | 90.00 % |" in text
    assert "```sh\ntfcompress report small.tflite --out report\n```" in text


def test_an_unknown_block_is_an_error():
    document = findings_document(make_findings())
    with pytest.raises(TypeError, match="Received: int"):
        render_markdown(
            type(document)(document.kind, "x", "y", (Section("z", (3,)),))  # no such block
        )


def test_a_report_is_three_files(tmp_path):
    page = write_report(make_findings(), tmp_path / "new" / "report")
    assert page.name == "report.html"
    written = sorted(path.name for path in page.parent.iterdir())
    assert written == ["report.html", "report.json", "report.md"]
    stored = json.loads((page.parent / "report.json").read_text())
    assert stored["layers"][0]["layer"] == HOSTILE
    assert stored["layers"][3]["sqnr"] is None


def test_the_documentation_defines_the_same_words(pytestconfig):
    text = (pytestconfig.rootpath / "docs" / "evaluation.md").read_text(encoding="utf-8")
    words = " ".join(text.replace("`", "").split())
    for name, definition in TERMS.items():
        assert f"**{name}** : {definition}" in words
