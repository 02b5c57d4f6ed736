"""What importing and installing the packages does, and does not do."""

import ast
import configparser
import importlib.metadata
import json
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
HEAVY = ("tensorflow", "keras", "tf_keras", "tensorflow_model_optimization", "ai_edge_litert")


def run_python(script):
    return subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    ).stdout


@pytest.mark.process
def test_importing_the_packages_loads_nothing_heavy():
    script = (
        "import sys, tfcompress, exporters, keras_callbacks, tfcompress.cli.main\n"
        f"print(*[name for name in {HEAVY!r} if name in sys.modules])"
    )
    assert run_python(script).split() == []


_STATE = (
    "keras.config.floatx(), keras.config.image_data_format(), keras.mixed_precision"
    ".dtype_policy().name, keras.config.backend()"
)


_USES = f"""
import os; os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import json, sys
import tfcompress as tfc

tfc.quantize_aware
loaded = [name for name in ("keras", "tensorflow_model_optimization") if name in sys.modules]
here = set(dir(tfc))
assert {{"MagnitudePruning", "export_tflite", "repair"}} <= here
tfc.MagnitudePruning, tfc.export_tflite, tfc.pruning.Taylor
import exporters, keras_callbacks
names = []
for package in (exporters, keras_callbacks):
    for name in package.__all__:
        assert name in here and name not in tfc.__all__
        assert getattr(tfc, name) is getattr(package, name)
        names.append(name)
import keras
print(json.dumps({{"loaded": loaded, "names": names, "state": [{_STATE}]}}))
"""


@pytest.fixture(scope="module")
def used():
    """What a process finds that imports tfcompress first and uses it step by step."""
    return json.loads(run_python(_USES))


@pytest.mark.process
def test_names_appear_when_they_are_used(used):
    assert used["loaded"] == ["keras"]


@pytest.mark.process
def test_importing_changes_no_global_state_of_keras(used):
    assert used["state"] == run_python(f"import keras; print({_STATE})").split()


@pytest.mark.process
def test_every_public_name_is_reachable_from_tfcompress_alone(used):
    assert len(used["names"]) > 20


@pytest.mark.parametrize("package", ["tfcompress", "exporters", "keras_callbacks"])
def test_every_public_name_resolves(package):
    module = importlib.import_module(package)
    for name in module.__all__:
        assert getattr(module, name).__doc__


def test_the_stub_has_the_names_of_the_packages_beside_it():
    """Their own stubs are what their names are read from; this list is written again."""
    tree = ast.parse((ROOT / "tfcompress/__init__.pyi").read_text("utf-8"))
    listed = [ast.unparse(node) for node in tree.body if isinstance(node, ast.Assign)]
    expected = [
        f"{name} = {package}.{name}"
        for package in ("exporters", "keras_callbacks")
        for name in importlib.import_module(package).__all__
    ]
    assert listed == expected


def test_a_checker_of_types_finds_the_stubs_of_an_installed_package():
    for package in ("tfcompress", "exporters", "keras_callbacks"):
        assert (ROOT / package / "py.typed").is_file()
        assert (ROOT / package / "__init__.pyi").is_file()
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    assert config["options.package_data"]["*"].split() == ["py.typed", "*.pyi"]


def test_version_is_the_one_that_is_installed():
    import tfcompress

    assert importlib.metadata.version("tfcompress") == tfcompress.__version__


def test_example_is_short_enough_to_copy():
    assert len((ROOT / "examples/image_classification.py").read_text().splitlines()) < 80


def test_an_old_name_is_the_new_object_with_a_warning():
    import exporters
    import tfcompress

    with pytest.warns(DeprecationWarning, match=r"is now tfcompress\.NoEquivalentError"):
        assert tfcompress.NoTwinError is tfcompress.NoEquivalentError
    for old, new in (("Verdict", "CompatibilityReport"), ("Agreement", "ParityReport")):
        with pytest.warns(DeprecationWarning, match=rf"is now exporters\.{new}"):
            assert getattr(exporters, old) is getattr(exporters, new)
    with pytest.raises(AttributeError, match="nothing_of_ours"):
        _ = tfcompress.nothing_of_ours
