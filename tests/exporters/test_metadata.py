import io
import os
import pathlib
import subprocess
import sys
import zipfile

import numpy as np
import pytest
import toy_files

from exporters import check_target, export_tflite, inspect, load, write_bundle
from exporters.metadata import label_names, labels_by_output, with_metadata
from exporters.running.tensor_details import TensorDetails
from tfcompress.compat.litert_schema import schema
from tfcompress.tflite.flatbuffer import read_model
from tfcompress.tflite.metadata import (
    Metadata,
    TensorMetadata,
    append_files,
    appended_files,
    pack_metadata,
    unpack_metadata,
)
from tfcompress.tflite.model import FlatbufferError
from tfcompress.tflite.rewriting import fix_batch_to_one

LABELS = ["rock", "paper", "scissors", "lizard", "Spock, Mr."]


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    path = tmp_path_factory.mktemp("described") / "toy.tflite"
    return export_tflite(
        toy_files.model(),
        path,
        representative_data=toy_files.images(),
        labels=LABELS,
        normalization=(127.5, (127.5, 127.5, 64.0)),
        target="coral-edgetpu",
    )


def test_labels_of_no_file_and_a_path_that_is_none(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"a list of names, or the path.*'cat,dog'"):
        label_names("cat,dog")
    with pytest.raises(TypeError, match=r"path of the file to write is needed.*of type list"):
        export_tflite("model.tflite", [])


def test_labels_are_a_text_file_in_a_zip_archive_behind_the_model(exported):
    with zipfile.ZipFile(exported.path) as archive:
        assert archive.namelist() == ["labels.txt"]
        assert archive.read("labels.txt").decode().splitlines() == LABELS


def test_metadata_is_what_the_public_schema_says(exported):
    """Field numbers of metadata_schema.fbs, followed by hand in the bytes."""
    content = read_model(exported.path).metadata["TFLITE_METADATA"]
    assert content[4:8] == b"M001"

    def u16(place):
        return int.from_bytes(content[place : place + 2], "little")

    def u32(place):
        return int.from_bytes(content[place : place + 4], "little")

    def field(table, number):
        start = table - int.from_bytes(content[table : table + 4], "little", signed=True)
        return table + u16(start + 4 + 2 * number)

    def follow(place):
        return place + u32(place)

    def text(place):
        start = follow(place)
        return content[start + 4 : start + 4 + u32(start)].decode()

    def element(place):  # the first of a vector of tables
        return follow(follow(place) + 4)

    model = follow(0)
    assert text(field(model, 0)) == "toy"
    graph = element(field(model, 3))
    image, scores = element(field(graph, 2)), element(field(graph, 3))
    assert text(field(image, 0)) == "image"
    unit = element(field(image, 4))
    assert content[field(unit, 0)] == 1  # NormalizationOptions
    mean = follow(field(follow(field(unit, 1)), 0))
    np.testing.assert_array_equal(np.frombuffer(content[mean + 4 : mean + 8], "<f4"), [127.5])
    file = element(field(scores, 6))
    assert text(field(file, 0)) == "labels.txt"
    assert content[field(file, 2)] == 2  # TENSOR_AXIS_LABELS


def test_inspect_reads_it_back(exported):
    inspection = inspect(exported.path)
    assert list(inspection.labels) == LABELS
    (image,), (scores,) = inspection.described_inputs, inspection.described_outputs
    assert (image.mean, image.std) == ((127.5,), (127.5, 127.5, 64.0))
    (details,) = exported.report.outputs
    assert scores.lowest == pytest.approx(details["scale"] * (-128 - details["zero_point"]))
    assert scores.highest == pytest.approx(details["scale"] * (127 - details["zero_point"]))
    assert "labels of head: 5 (rock, paper, scissors, lizard, Spock, Mr.)" in inspection.to_text()
    assert "normalization of image: (raw - [127.5]) / [127.5, 127.5, 64.0]" in inspection.to_text()


def test_the_model_is_the_same_with_and_without(exported, tmp_path):
    plain = export_tflite(
        toy_files.model(), tmp_path / "p.tflite", representative_data=toy_files.images()
    )
    with load(str(plain.path)) as one, load(str(exported.path)) as other:
        for before, after in zip(
            one.predict(toy_files.images()), other.predict(toy_files.images()), strict=True
        ):
            np.testing.assert_array_equal(before, after)
    assert 0 < exported.size - plain.size < 1500


def test_constants_stay_aligned(exported):
    """The schema aligns them to 16 bytes (force_align): kernels read them where they lie."""
    content = exported.path.read_bytes()
    whole = np.frombuffer(content, np.uint8)
    begin = whole.__array_interface__["data"][0]
    table = schema.Model.GetRootAs(whole, 0)
    data = [table.Buffers(index).DataAsNumpy() for index in range(table.BuffersLength())]
    starts = [part.__array_interface__["data"][0] - begin for part in data if np.size(part) > 1]
    assert len(starts) > 5
    assert {start % 16 for start in starts} == {0}


def test_the_bundle_takes_the_labels_from_the_file(exported, tmp_path):
    folder = write_bundle(exported, tmp_path / "bundle", examples=toy_files.images()[:4])
    assert (folder / "labels.txt").read_text().splitlines() == LABELS


def test_the_target_has_its_say_in_the_report(exported):
    verdict = exported.report.verdict
    assert verdict == check_target(exported.path, "coral-edgetpu")
    assert exported.report.to_json()["verdict"]["target"] == "coral-edgetpu"
    assert "coral-edgetpu: " in str(exported.report)
    assert exported.report.min_runtime == inspect(exported.path).min_runtime


def test_a_rewritten_file_keeps_its_labels(tmp_path):
    path = tmp_path / "m.tflite"
    export_tflite(toy_files.model(), path, "float32", labels=LABELS, batch_size=None)
    rewritten, changes = fix_batch_to_one(path.read_bytes())
    assert changes
    assert list(inspect(rewritten).labels) == LABELS


@pytest.mark.process
def test_the_same_model_gives_the_same_bytes_in_another_process(tmp_path):
    settings = {"labels": list("abcde"), "normalization": (0.5, 0.25)}
    settings["signatures"] = {"pooled": "pool"}
    script = (
        f"import sys; sys.path[:0] = {[path for path in sys.path if path]!r}\n"
        "import toy_files; from exporters import export_tflite\n"
        "export_tflite(toy_files.model(), sys.argv[1], representative_data=toy_files.images(),\n"
        f"    **{settings})\n"
    )
    files = [tmp_path / "a.tflite", tmp_path / "b.tflite"]
    export_tflite(toy_files.model(), files[0], representative_data=toy_files.images(), **settings)
    subprocess.run(
        [sys.executable, "-c", script, str(files[1])],
        check=True,
        capture_output=True,
        env={**os.environ, "PYTHONHASHSEED": "1"},
    )
    assert files[0].read_bytes() == files[1].read_bytes()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"labels": ["a", "b"]}, "of sizes {'output_0': 5}. Received: 2 labels"),
        ({"labels": {"tail": LABELS}}, "Received: 5 labels for 'tail'"),
        ({"labels": [*LABELS[:4], "two\nlines"]}, "one line of text"),
        ({"labels": [1, 2, 3, 4, 5]}, "one line of text. Received: 1"),
        ({"normalization": (0.0, 0.0)}, "deviations above 0"),
        ({"normalization": ((1.0, 2.0), 1.0)}, "each one number or 3"),
        ({"normalization": 255}, "Received: 255"),
        ({"normalization": (float("nan"), 1.0)}, "finite"),
        ({"normalization": {"picture": (0.0, 1.0)}}, "Received: normalization of \\['picture'\\]"),
    ],
)
def test_what_fits_nothing_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message.replace("{", "\\{").replace("}", "\\}")):
        with_metadata(toy_files.content("int8"), "toy", **arguments)


def test_no_labels_no_change():
    content = toy_files.content("int8")
    assert with_metadata(content, "toy") is content


def test_files_behind_the_model_are_the_same_whenever_they_are_written():
    one = append_files(b"model", {"a.txt": b"1", "b.txt": b"2"})
    assert one == append_files(b"model", {"a.txt": b"1", "b.txt": b"2"})
    assert one.startswith(b"model")
    assert appended_files(one) == {"a.txt": b"1", "b.txt": b"2"}
    assert append_files(b"model", {}) == b"model"


def test_hostile_archives_are_no_labels():
    stream = io.BytesIO(b"model")
    with zipfile.ZipFile(stream, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb.txt", b"\0" * (64 << 20))
    assert appended_files(stream.getvalue()) == {}
    whole = append_files(b"model", {"labels.txt": b"a\nb\n"})
    for place in range(5, len(whole)):
        damaged = bytearray(whole)
        damaged[place] ^= 0xFF
        appended_files(bytes(damaged))  # whatever it says, it raises nothing


def test_damaged_metadata_is_one_kind_of_error(exported):
    packed = pack_metadata(
        Metadata(
            "toy",
            (TensorMetadata("image", (0.5,), (0.25,), -1.0, 1.0),),
            (TensorMetadata("scores", labels_file="labels.txt"),),
        )
    )
    content = exported.path.read_bytes()
    own = read_model(content).metadata["TFLITE_METADATA"]
    start = content.index(own)
    generator = np.random.default_rng(0)
    refused = 0
    for _ in range(300):
        damaged = bytearray(content)
        for place in generator.integers(start, start + len(own), 3):
            damaged[place] ^= 1 << int(generator.integers(8))
        try:
            inspect(bytes(damaged))
        except FlatbufferError:
            refused += 1
    assert refused > 50
    assert unpack_metadata(packed).outputs[0].labels_file == "labels.txt"


@pytest.mark.parametrize("kind", [str, pathlib.Path])
def test_labels_as_a_path_are_read(kind, tmp_path):
    file = tmp_path / "labels.txt"
    file.write_bytes(b"\xef\xbb\xbfant\r\nbee \nzebra crossing\n\n")
    assert label_names(kind(file)) == ["ant", "bee", "zebra crossing"]
    details = TensorDetails("y", 0, (1, 3), np.dtype("int8"))
    expected = {"y": ("ant", "bee", "zebra crossing")}
    assert labels_by_output(kind(file), [details]) == expected
    assert labels_by_output({"y": kind(file)}, [details]) == expected


def test_labels_that_are_no_text(tmp_path):
    (tmp_path / "bytes.txt").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "empty.txt").write_text("\n")
    with pytest.raises(ValueError, match=r"bytes\.txt', which holds other bytes"):
        label_names(tmp_path / "bytes.txt")
    with pytest.raises(ValueError, match=r"empty\. Received.*empty\.txt"):
        label_names(tmp_path / "empty.txt")
    with pytest.raises(FileNotFoundError, match="cat"):
        label_names("cat")
