"""docs/deployment.md shows what its code prints, to the last character."""

import pathlib
import re

import prepared_names
import pytest
from test_page_code import NOT_RUN

PAGE = pathlib.Path(__file__).resolve().parents[2] / "docs" / "deployment.md"
BLOCK = re.compile(r"^```python\n(.*?)^```\n(?:\n```text\n(.*?)^```)?", re.MULTILINE | re.DOTALL)


@pytest.mark.pages
def test_the_page_shows_what_its_code_prints(lay_out, capsys):
    space = prepared_names.Names()
    for code, shown in BLOCK.findall(PAGE.read_text("utf-8")):
        if any(part in code for part in NOT_RUN):
            continue
        lay_out(code)
        exec(compile(code, PAGE.name, "exec"), space)
        assert capsys.readouterr().out == shown
