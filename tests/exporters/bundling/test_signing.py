"""A signed folder, and what no longer holds after a change."""

import importlib.util
import subprocess
import sys

import pytest

from exporters.bundle_files import run_on_device
from exporters.signing import sign_bundle


@pytest.fixture
def keys(tmp_path):
    private, public = tmp_path / "private.pem", tmp_path / "public.pem"
    make = ["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", private]
    subprocess.run(make, check=True)
    show = ["openssl", "ec", "-in", private, "-pubout", "-out", public]
    subprocess.run(show, check=True, capture_output=True)
    return private, public


@pytest.fixture
def folder(tmp_path, monkeypatch):
    folder = tmp_path / "bundle"
    folder.mkdir()
    (folder / "manifest.json").write_text("{}")
    (folder / "model.tflite").write_bytes(b"model")
    monkeypatch.setattr(run_on_device, "HERE", str(folder))
    return folder


@pytest.mark.skipif(
    importlib.util.find_spec("model_signing") is None,
    reason="model-signing is not installed: pip install '.[signature]'",
)
@pytest.mark.parametrize("change", ["model.tflite", "another file", "another key", "no signature"])
def test_the_script_verifies_the_signature(change, folder, keys, monkeypatch, capsys):
    private, public = keys
    signature = sign_bundle(folder, private)
    assert run_on_device.wrong_signature(str(public)) is None
    if change == "model.tflite":
        (folder / change).write_bytes(b"other")
    elif change == "another file":
        (folder / change).write_bytes(b"added")
    elif change == "no signature":
        signature.unlink()
    else:
        other = public.with_name("other.pem")
        other.write_text(public.read_text()[:-60] + "AAAA" + public.read_text()[-56:])
        public = other
    assert run_on_device.wrong_signature(str(public))
    monkeypatch.setattr("sys.argv", ["run_on_device.py", "--public-key", str(public)])
    assert run_on_device.main() == 1
    assert capsys.readouterr().out.startswith("FAIL: the signature does not hold: ")


def test_a_missing_package_is_said_in_one_line(folder, keys, monkeypatch):
    monkeypatch.setitem(sys.modules, "model_signing", None)
    with pytest.raises(ImportError, match="A signature needs the extra 'signature'"):
        sign_bundle(folder, keys[0])
    assert "pip install model-signing" in run_on_device.wrong_signature(str(keys[1]))
