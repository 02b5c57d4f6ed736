"""The Python code of README.md and docs/*.md runs, page by page, and names what is public."""

import ast
import importlib
import importlib.util
import inspect
import pathlib
import re

import prepared_names
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
PAGES = [
    ROOT / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "docs" / "guides").glob("*.md")),
]
FENCE = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
CODE = {page: blocks for page in PAGES if (blocks := FENCE.findall(page.read_text("utf-8")))}
PUBLIC = {
    name: package
    for package in map(importlib.import_module, prepared_names.PACKAGES)
    for name in package.__all__
}

NOT_RUN = {
    "tfc.compress(": "searches for as long as it is told; tests/search/test_compress.py",
    "MultiWorkerMirroredStrategy": "needs workers; tests/reliability/test_multi_worker.py",
    "litert_quantizer": "an optional tool of others, which nothing here depends on",
}
# What a block asks for that may be missing.
OPTIONAL = {"import mediapipe": "mediapipe"}
FROM_BEFORE = {"quantized"}  # what a page made in an earlier block; the rest is made anew
ONE_SCRIPT = {"tutorial.md"}  # what its blocks make, later blocks use
RUN_ELSEWHERE = {
    "deployment.md": "tests/docs/test_shown_output.py, with what it prints",
    "migration.md": "tests/legacy/test_migration_guide.py, each column in a process of its own",
    "android.md": "tests/examples/test_guides.py, as the other guides",
    "coral.md": "tests/examples/test_guides.py",
    "microcontrollers.md": "tests/examples/test_guides.py",
    "raspberry_pi.md": "tests/examples/test_guides.py",
}


def named(page):
    return str(page.relative_to(ROOT))


def called(tree):
    """Yield (public name, call) of the calls of public names, as `tfc.name()` or `name()`."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        if isinstance(node.func, ast.Name) and node.func.id in PUBLIC:
            yield node.func.id, node
        if isinstance(node.func, ast.Attribute) and ast.unparse(node.func.value) == "tfc":
            yield node.func.attr, node


@pytest.mark.parametrize("page", CODE, ids=named)
def test_code_names_what_is_public(page):
    for code in CODE[page]:
        tree = ast.parse(code)
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "tfc":
                assert node.attr in PUBLIC
            if isinstance(node, ast.ImportFrom) and node.module in prepared_names.PACKAGES:
                for alias in node.names:
                    assert PUBLIC[alias.name].__name__ == node.module
        for name, call in called(tree):
            inspect.signature(getattr(PUBLIC[name], name)).bind_partial(
                *call.args, **{keyword.arg: keyword.value for keyword in call.keywords}
            )


@pytest.mark.pages
@pytest.mark.parametrize(
    "page", [page for page in CODE if page.name not in RUN_ELSEWHERE], ids=named
)
def test_code_of_a_page_runs(page, lay_out):
    space = prepared_names.Names()
    for code in CODE[page]:
        if any(part in code for part in NOT_RUN):
            continue
        if any(
            part in code and importlib.util.find_spec(package) is None
            for part, package in OPTIONAL.items()
        ):
            continue
        lay_out(code)
        if page.name not in ONE_SCRIPT:
            for name in prepared_names.PREPARED.keys() - FROM_BEFORE:
                space.pop(name, None)
        exec(compile(code, page.name, "exec"), space)


def test_what_is_not_run_is_there():
    everything = "".join(code for blocks in CODE.values() for code in blocks)
    assert all(part in everything for part in NOT_RUN)
    assert RUN_ELSEWHERE.keys() <= {page.name for page in CODE}
