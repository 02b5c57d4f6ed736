"""Programs for LiteRT's compilers of NPUs; without a vendor's SDK nothing is compiled."""

import ast
import pathlib

import pytest

from exporters import npu


@pytest.mark.parametrize(
    ("soc", "vendor"),
    [("SM8750", "qualcomm"), ("MT6991", "mediatek"), ("Tensor_G5", "google_tensor")],
)
def test_a_program_names_the_vendor_the_chip_and_the_files(soc, vendor):
    program = npu.npu_program("my model.tflite", soc, pathlib.Path("out"))
    constants = [n.value for n in ast.walk(ast.parse(program)) if isinstance(n, ast.Constant)]
    assert sorted(map(str, constants)) == sorted([soc, "my model.tflite", "out", "False"])
    assert f"ai_edge_litert.aot.vendors.{vendor} import target" in program


def test_the_program_is_one_that_litert_understands(monkeypatch):
    """With the compiler itself replaced, as its vendor's libraries are not here."""
    from ai_edge_litert.aot import aot_compile

    calls = []

    def compiler(*args, **kwargs):
        calls.append((args, kwargs))
        return type("Result", (), {"compilation_report": lambda self: "compiled"})()

    monkeypatch.setattr(aot_compile, "aot_compile", compiler)
    exec(npu.npu_program("m.tflite", "SM8750", "out"), {})
    (((file, folder, target), settings),) = calls
    assert (file, folder, settings) == ("m.tflite", "out", {"keep_going": False})
    assert target.flatten()["soc_model"] == "SM8750"
    assert target.flatten()["soc_manufacturer"] == "Qualcomm"


def test_an_unknown_chip_is_not_guessed():
    with pytest.raises(ValueError, match=r"compilers for .*SM8750.*Received: soc='SM1'"):
        npu.npu_program("m.tflite", "SM1", "out")


@pytest.mark.parametrize("installed", [False, True])
def test_a_missing_sdk_is_said_with_what_to_run(installed, tmp_path, monkeypatch):
    if installed:  # the package without the libraries that its set-up downloads
        monkeypatch.syspath_prepend(tmp_path)
        package = tmp_path / "ai_edge_litert_sdk_mediatek"
        package.mkdir()
        (package / "__init__.py").write_text("")
    with pytest.raises(ImportError, match=r"MediaTek .*pip install ai-edge-litert-sdk-mediatek`"):
        npu.compile_for_soc("m.tflite", "MT6991", tmp_path)
