"""The examples in docstrings run, and give what they show.

Where an example shows a value it has to be that value; what it does not show is not looked at.
"""

import ast
import doctest
import importlib
import inspect
import pathlib
import re

import numpy as np
import prepared_names
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
DOCTEST = re.compile(r"^Example:\n(>>> (?:.+\n?)+)", re.MULTILINE)
FENCE = re.compile(r"^Example:\n```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
SHOWN = re.compile(r"  # (.+)$")

NOT_RUN = {
    "exporters.npu.compile_for_soc": "needs a vendor's SDK; tests/exporters/test_npu.py",
    "exporters.signing.sign_bundle": "needs the extra signature and a key; "
    "tests/exporters/bundling/test_signing.py",
    "tfcompress.pruning.schedules.as_schedule": "importing TFMOT changes what tf.keras is; "
    "tests/legacy/test_migration_guide.py",
    "tfcompress.search.compress.compress": "searches for 15 minutes; tests/search/test_compress.py",
    "tfcompress.workers.BackupAcrossWorkers": "needs workers; "
    "tests/reliability/test_multi_worker.py",
    "tfcompress.workers.train_across_workers": "needs workers; "
    "tests/reliability/test_multi_worker.py",
}


def documented(node, prefix=""):
    """Yield (name, docstring) of the functions and classes in a syntax tree."""
    for child in node.body:
        if isinstance(child, ast.FunctionDef | ast.ClassDef):
            yield prefix + child.name, ast.get_docstring(child) or ""
        if isinstance(child, ast.ClassDef):
            yield from documented(child, f"{prefix}{child.name}.")


def found():
    for package in prepared_names.PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            for name, docstring in documented(ast.parse(path.read_text("utf-8"))):
                yield module, name, docstring


DOCSTRINGS = {f"{module}.{name}": (module, text) for module, name, text in found()}
EXAMPLES = {
    name: (module, match[1])
    for name, (module, text) in DOCSTRINGS.items()
    if (match := DOCTEST.search(text) or FENCE.search(text))
}


class WhatIsShown(doctest.OutputChecker):
    """Compares an output if the example shows one."""

    def check_output(self, want, got, optionflags):
        return not want or super().check_output(want, got, optionflags)


def run_doctest(name, code, space):
    examples = doctest.DocTestParser().get_doctest(code, {}, name, None, 0)
    examples.globs = space  # the parser would make a plain dictionary of it
    problems = []
    runner = doctest.DocTestRunner(WhatIsShown(), optionflags=doctest.ELLIPSIS)
    runner.run(examples, out=problems.append, clear_globs=False)
    assert not problems, "".join(problems)


def run_fence(name, code, space):
    """Run a block of code; where a line ends with a comment that is a value, it has that value."""
    lines = code.splitlines()
    for statement in ast.parse(code).body:
        part = ast.get_source_segment(code, statement)
        if not isinstance(statement, ast.Expr):
            exec(compile(part, name, "exec"), space)
            continue
        value = eval(compile(part, name, "eval"), space)
        after = lines[statement.end_lineno - 1][statement.end_col_offset :]
        if (shown := SHOWN.search(after)) and is_value(shown[1]):
            assert np.all(value == ast.literal_eval(shown[1])), part


def is_value(comment):
    try:
        ast.literal_eval(comment)
    except (ValueError, SyntaxError):
        return False
    return True


@pytest.mark.parametrize("name", sorted(EXAMPLES.keys() - NOT_RUN.keys()))
def test_an_example_runs(name, lay_out):
    module, code = EXAMPLES[name]
    lay_out(code)
    space = prepared_names.Names(vars(importlib.import_module(module)))
    (run_doctest if code.startswith(">>>") else run_fence)(name, code, space)


def test_what_is_not_run_is_there_and_tested_elsewhere():
    assert NOT_RUN.keys() <= EXAMPLES.keys()
    for reason in NOT_RUN.values():
        assert (ROOT / re.search(r"tests/[\w/]+\.py", reason)[0]).is_file()


# Made by functions whose examples show them, and raised.
WITHOUT = {
    "exporters": {"BenchmarkResult", "CompatibilityReport", "Inspection", "Limits"}
    | {"ParityReport", "RunError", "Runtime"},
    "keras_callbacks": set(),
    "tfcompress": {"NoEquivalentError", "PlacementError"},
}


@pytest.mark.parametrize("package", prepared_names.PACKAGES)
def test_public_names_have_an_example(package):
    module = importlib.import_module(package)
    objects = {name: getattr(module, name) for name in module.__all__}
    documented = {name: o.__doc__ for name, o in objects.items() if not inspect.ismodule(o)}
    assert documented
    missing = {name for name, text in documented.items() if "Example:" not in text}
    assert missing == WITHOUT[package]
