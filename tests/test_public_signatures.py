"""The signatures of everything public: annotated, and as written down in public_signatures.txt.

A change of that file is a change of what others rely on: it needs a deprecation and an entry in the
changelog. ``python tests/test_public_signatures.py`` writes it anew.
"""

import importlib
import inspect
import pathlib
import pkgutil
import re
import sys

import pytest

PACKAGES = ("tfcompress", "exporters", "keras_callbacks")
SNAPSHOT = pathlib.Path(__file__).with_name("public_signatures.txt")
REFERENCE = pathlib.Path(__file__).resolve().parents[1] / "docs" / "reference"
ENTRY = re.compile(r"^::: (\S+)\n((?:    .*\n)*)", re.MULTILINE)
MEMBERS = re.compile(r"members: \[(.*)\]")
# Modules are not part of a signature: `keras.src.models.model.Model` is `Model`.
MODULE = re.compile(r"\b(?:[a-z_]\w*\.)+(?=[A-Za-z_])")


def public():
    """Return {dotted name: the members that the reference describes} of everything public."""
    found = {
        f"{package}.{name}": []
        for package in PACKAGES
        for name in importlib.import_module(package).__all__
        if not inspect.ismodule(getattr(importlib.import_module(package), name))
    }
    for page in REFERENCE.glob("*.md"):
        for path, options in ENTRY.findall(page.read_text("utf-8")):
            members = MEMBERS.search(options)
            found[path] = members[1].split(", ") if members else []
    return dict(sorted(found.items()))


def written(name, described):
    """Return what the snapshot holds of a function, class, method or attribute."""
    is_error = inspect.isclass(described) and issubclass(described, Exception)
    if is_error or not callable(described):
        return name
    signature = inspect.signature(described)
    parameters = [str(parameter) for parameter in signature.parameters.values()]
    kinds = [parameter.kind for parameter in signature.parameters.values()]
    if inspect.Parameter.KEYWORD_ONLY in kinds and inspect.Parameter.VAR_POSITIONAL not in kinds:
        parameters.insert(kinds.index(inspect.Parameter.KEYWORD_ONLY), "*")
    lines = "".join(f"\n    {parameter}," for parameter in parameters if parameter != "self")
    lines = MODULE.sub("", lines).replace(repr(sys.executable), "sys.executable")
    arguments = f"({lines}\n)" if lines else "()"
    if inspect.isclass(described):
        return name + arguments
    return name + arguments + MODULE.sub("", str(signature.replace(parameters=())))[2:]


def snapshot():
    """Return the text of the snapshot."""
    entries = []
    for path, members in public().items():
        described = pkgutil.resolve_name(path)
        entries.append(written(path, described))
        entries += [
            written(f"{path}.{member}", getattr(described, member, None)) for member in members
        ]
    return "\n".join(entries) + "\n"


def test_public_signatures_are_those_written_down():
    assert snapshot() == SNAPSHOT.read_text("utf-8")


def functions(described):
    """Yield a function; of a class, what it and our classes below it define for callers."""
    if not inspect.isclass(described):
        yield inspect.unwrap(described)
        return
    for base in described.__mro__:
        if base.__module__.split(".")[0] not in PACKAGES:
            continue
        for name, member in vars(base).items():
            function = getattr(member, "fget", None) or getattr(member, "__func__", member)
            is_ours = inspect.isfunction(function) and function.__module__ == base.__module__
            if is_ours and (not name.startswith("_") or name in ("__init__", "__call__")):
                yield inspect.unwrap(function)


def unannotated(function):
    """Return the parameters of a function without an annotation, and "return"."""
    signature = inspect.signature(function)
    method = "." in function.__qualname__
    parameters = list(signature.parameters.values())[1 if method else 0 :]
    missing = [p.name for p in parameters if p.annotation is inspect.Parameter.empty]
    # __init__ of a dataclass is generated; that of other classes returns None, as all do.
    if function.__name__ != "__init__" and signature.return_annotation is signature.empty:
        missing.append("return")
    return missing


@pytest.mark.parametrize("path", public())
def test_public_functions_and_methods_are_annotated(path):
    found = list(functions(pkgutil.resolve_name(path)))
    assert found or issubclass(pkgutil.resolve_name(path), Exception)
    missing = {function.__qualname__: unannotated(function) for function in found}
    assert {name: names for name, names in missing.items() if names} == {}


if __name__ == "__main__":
    SNAPSHOT.write_text(snapshot(), "utf-8")
