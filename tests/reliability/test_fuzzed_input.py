"""Files from elsewhere are read, or refused with a documented error; nothing else happens."""

import io
import json
import time
import zipfile

import flatbuffers
import numpy as np
import pytest
from handmade_models import small_models
from hostile_readers import all_readers, feed

from exporters.compatibility import check_target
from tfcompress.cli.command import CommandError
from tfcompress.cli.data_argument import load_data
from tfcompress.compat.litert_schema import schema
from tfcompress.distillation.cache import read_manifest
from tfcompress.legacy.files import is_tf_keras_file
from tfcompress.quantization.scheme import Scheme
from tfcompress.tflite.metadata import append_files, appended_files
from tfcompress.tflite.model import FlatbufferError

READERS = {reader.name: reader for reader in all_readers()}
COUNT = 400


@pytest.mark.parametrize("name", READERS)
def test_damaged_input_is_read_or_refused(name, tmp_path):
    outcome = feed(READERS[name], range(COUNT), tmp_path)
    assert outcome.failures == {}
    assert sum(outcome.counts.values()) == COUNT
    # A mutator that only ever makes rubbish would test the first check alone.
    assert outcome.counts["read"] > COUNT // 40
    assert outcome.longest < 5


@pytest.mark.parametrize("name", READERS)
def test_some_seeds_are_sound(name, tmp_path):
    reader = READERS[name]
    reader.read(reader.seeds[0], tmp_path)


def test_inputs_are_made_again_by_their_number(monkeypatch):
    before = {name: [reader.input(n) for n in range(40)] for name, reader in READERS.items()}
    tomorrow = time.time() + 86_400
    monkeypatch.setattr(time, "time", lambda: tomorrow)  # archives note it
    for reader in all_readers():
        assert [reader.input(n) for n in range(40)] == before[reader.name]
        assert len({reader.input(number) for number in range(20)}) > 10


def test_an_operation_without_outputs_is_damage(tmp_path):
    """Found by the soak: rules of targets looked at the first output."""
    tree = schema.ModelT.InitFromObj(schema.Model.GetRootAs(small_models()[0], 0))
    for name in ("inputs", "outputs"):
        setattr(tree.subgraphs[0].operators[0], name, [])
    code = tree.operatorCodes[0]
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.SOFTMAX
    builder = flatbuffers.Builder(1024)
    builder.Finish(tree.Pack(builder), b"TFL3")
    with pytest.raises(FlatbufferError, match=r"SOFTMAX has no (in|out)put"):
        check_target(bytes(builder.Output()), "coral-edgetpu")


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": np.array([{}, None], object)}, "holds Python objects"),
        ({"x": np.array(["a"])}, "not numbers"),
        ({"x": np.float32(1)}, "without dimensions"),
        ({"x": np.array([[1.0, np.nan]])}, "not finite"),
        ({"x": np.ones((2, 2)), "y": np.array([0.0, np.inf])}, "y in"),
        ({"images": np.ones((2, 2))}, "named `x`"),
    ],
)
def test_data_that_no_training_takes(arrays, message, tmp_path):
    np.savez(tmp_path / "data.npz", **arrays)
    with pytest.raises(CommandError, match=message):
        load_data(str(tmp_path / "data.npz"))


def test_an_archive_whose_member_is_no_array(tmp_path):
    with zipfile.ZipFile(tmp_path / "data.npz", "w") as archive:
        archive.writestr("x.npy", b"not an array")
    with pytest.raises(CommandError, match="not numbers"):
        load_data(str(tmp_path / "data.npz"))


def bomb(*names) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in names:
            archive.writestr(name, bytes(80 << 20))
    return stream.getvalue()


def test_archives_that_unpack_to_far_more_than_they_are(tmp_path):
    content = bomb("config.json")
    assert len(content) < 1 << 20
    (tmp_path / "model.keras").write_bytes(content)
    with pytest.raises(ValueError, match="more than 64 MiB"):
        is_tf_keras_file(tmp_path / "model.keras")
    assert appended_files(content) == {}


def test_names_that_lead_out_of_a_folder_are_only_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = READERS[".tflite models"].seeds[0]
    names = {"../outside.txt": b"1", "/tmp/outside.txt": b"2"}
    assert appended_files(append_files(model, names)) == names
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"version": 99}, "version=99"),
        ({"version": 2, "bits": 8}, "bits"),
        ({"version": 2, "weight_bits": [8]}, "unhashable"),
        ({"version": 2, "overrides": [{"layers": ["a"]}]}, "scheme"),
        (None, "NoneType"),
    ],
)
def test_schemes_of_another_form(config, message):
    with pytest.raises(ValueError, match=message):
        Scheme.from_config(config)


@pytest.mark.parametrize("change", [{"shapes": 3}, {"layers": ["a", "b"]}, {"done": "all"}])
def test_manifests_of_another_form(change, tmp_path):
    seed = json.loads(READERS["manifests of teacher caches"].seeds[0])
    (tmp_path / "manifest.json").write_text(json.dumps({**seed, **change}))
    with pytest.raises(ValueError, match="is not a manifest"):
        read_manifest(tmp_path)
