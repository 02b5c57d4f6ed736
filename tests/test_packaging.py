"""What importing and installing the packages does, and does not do."""

import ast
import configparser
import importlib.metadata
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
HEAVY = ("tensorflow", "keras", "tf_keras", "tensorflow_model_optimization", "ai_edge_litert")


def python(script):
    return subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    ).stdout.split()


@pytest.mark.process
def test_importing_the_packages_loads_nothing_heavy():
    script = (
        "import sys, tfcompress, exporters, keras_callbacks, tfcompress.cli.main\n"
        f"print(*[name for name in {HEAVY!r} if name in sys.modules])"
    )
    assert python(script) == []


@pytest.mark.process
def test_names_appear_when_they_are_used():
    script = (
        "import os; os.environ['TF_CPP_MIN_LOG_LEVEL'] = '3'\n"
        "import sys, tfcompress\n"
        "tfcompress.quantize_aware\n"
        "print('keras' in sys.modules, 'tensorflow_model_optimization' in sys.modules)"
    )
    assert python(script) == ["True", "False"]


@pytest.mark.process
def test_importing_changes_no_global_state_of_keras():
    state = (
        "keras.config.floatx(), keras.config.image_data_format(), keras.mixed_precision"
        ".dtype_policy().name, keras.config.backend()"
    )
    alone = python(f"import keras; print({state})")
    both = python(f"import tfcompress, keras, tfcompress.quantization, exporters; print({state})")
    assert both == alone


@pytest.mark.parametrize("package", ["tfcompress", "exporters", "keras_callbacks"])
def test_every_public_name_resolves(package):
    module = importlib.import_module(package)
    for name in module.__all__:
        assert getattr(module, name).__doc__


@pytest.mark.process
def test_every_public_name_is_reachable_from_tfcompress_alone():
    script = (
        "import os; os.environ['TF_CPP_MIN_LOG_LEVEL'] = '3'\n"
        "import tfcompress as tfc\n"
        "beside = ('exporters', 'keras_callbacks')\n"
        "here = set(dir(tfc))\n"
        "assert {'MagnitudePruning', 'export_tflite', 'repair'} <= here\n"
        "tfc.MagnitudePruning, tfc.export_tflite, tfc.pruning.Taylor\n"
        "import exporters, keras_callbacks\n"
        "for package in (exporters, keras_callbacks):\n"
        "    for name in package.__all__:\n"
        "        assert name in here and name not in tfc.__all__\n"
        "        assert getattr(tfc, name) is getattr(package, name)\n"
        "        print(name)"
    )
    assert len(python(script)) > 20


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
