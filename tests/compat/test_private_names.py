"""What Keras, TensorFlow, LiteRT and TFMOT keep to themselves is named in compat/ alone."""

import ast
import collections
import pathlib

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
PACKAGES = ("tfcompress", "exporters", "keras_callbacks")
COMPAT = ROOT / "tfcompress/compat"
CANARIES = ROOT / "tests/compat"
PRIVATE_MODULES = (
    "keras.src",
    "keras._",
    "tensorflow.python",
    "tensorflow.lite.python",
    "tensorflow.core",
    "tensorflow.compiler",
    "tf_keras.src",
    "tensorflow_model_optimization.python",
    "ai_edge_litert.schema_py_generated",
    "ai_edge_litert._",
)
# Python documents these names as public: they cannot be mistaken for the user's fields.
NAMEDTUPLE = set(dir(collections.namedtuple("Any", ())))


def sources(*folders):
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*.py")):
            if not path.is_relative_to(COMPAT) and not path.is_relative_to(CANARIES):
                yield path, ast.parse(path.read_text())


def is_private(name):
    return name.startswith("_") and not (name.startswith("__") and name.endswith("__"))


def private_imports(tree):
    """Yield (line, module) of each import of a private module, by a string too."""
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            names = [node.value] if " " not in node.value else []
        for name in names:
            if name.startswith(PRIVATE_MODULES):
                yield node.lineno, name


def own_names(tree):
    """Return the private names that a file defines itself, as functions, classes or attributes."""
    names = {attribute.attr for attribute in stored_attributes(tree) if is_self(attribute)}
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        if isinstance(node, ast.FunctionDef) and node.name == "__new__":
            names |= {attribute.attr for attribute in stored_attributes(node)}
        elif isinstance(node, ast.AnnAssign | ast.Assign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names |= {target.id for target in targets if isinstance(target, ast.Name)}
    return names


def stored_attributes(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node


def is_self(attribute):
    """Tell whether an attribute is one of ``self``, ``cls`` or ``super()``."""
    value = attribute.value
    if isinstance(value, ast.Call):
        value = value.func
    return isinstance(value, ast.Name) and value.id in ("self", "cls", "super")


def foreign_attributes(tree, ours):
    """Yield (line, code) of each private attribute of an object that is not ours.

    ``ours`` are the names that our classes define: ``self`` may have those of a base class of
    ours. Any other object must be of a class in the same file.
    """
    here = own_names(tree)
    for node in ast.walk(tree):
        name = None
        if isinstance(node, ast.Attribute):
            name, known = node.attr, here | (ours if is_self(node) else set())
        elif isinstance(node, ast.keyword):
            name, known = node.arg, set()
        elif isinstance(node, ast.Call) and called(node) in ("getattr", "hasattr", "setattr"):
            word = node.args[1]
            name, known = word.value if isinstance(word, ast.Constant) else None, here
        if name and is_private(name) and name not in known | NAMEDTUPLE:
            yield node.lineno, ast.unparse(node)
        if isinstance(node, ast.Attribute) and node.attr == "__dict__":
            yield node.lineno, ast.unparse(node)


def called(call):
    return call.func.id if isinstance(call.func, ast.Name) else None


def test_private_modules_are_imported_in_compat_alone():
    found = [
        f"{path.relative_to(ROOT)}:{line}: {name}"
        for path, tree in sources(*PACKAGES, "examples", "tests")
        for line, name in private_imports(tree)
    ]
    assert found == [], "wrap these in tfcompress/compat"


def test_private_attributes_are_read_and_replaced_in_compat_alone():
    trees = list(sources(*PACKAGES))
    ours = set().union(*(own_names(tree) for _, tree in trees))
    found = [
        f"{path.relative_to(ROOT)}:{line}: {code}"
        for path, tree in trees
        for line, code in foreign_attributes(tree, ours)
    ]
    assert found == [], "wrap these in tfcompress/compat"


@pytest.mark.parametrize(
    "code",
    [
        "import keras.src.backend",
        "from keras.src import backend",
        "from tensorflow.python.framework import ops",
        "from ai_edge_litert import schema_py_generated as schema",
        "importlib.import_module('keras.src.applications.convnext')",
    ],
)
def test_a_private_import_is_seen(code):
    assert len(list(private_imports(ast.parse(code)))) == 1


@pytest.mark.parametrize(
    "code",
    [
        "layer._kernel",
        "getattr(model, '_functional', None)",
        "with_values(layer, _trainable=True)",
        "layer.__dict__['call'] = call",
        "class Model:\n def call(self):\n  return self._compile_loss",
    ],
)
def test_a_private_attribute_is_seen(code):
    assert len(list(foreign_attributes(ast.parse(code), {"_kernel"}))) == 1


def test_own_attributes_are_no_finding():
    code = (
        "class Own:\n def __init__(self, other):\n  self._own, self._x = other._own, super()._base"
    )
    assert list(foreign_attributes(ast.parse(code), {"_base"})) == []


def test_each_wrapper_has_a_canary():
    missing = []
    for path in sorted(COMPAT.glob("[a-z]*.py")):
        tests = (CANARIES / f"test_{path.stem}.py").read_text()
        body = ast.parse(path.read_text()).body
        public = [node.name for node in body if isinstance(node, ast.FunctionDef)]
        public = [name for name in public if not is_private(name)]
        missing += [f"{path.name}: {name}" for name in public if name not in tests]
    assert missing == []
