"""Folders of images, in every command that takes data."""

import json

import keras
import numpy as np
import pytest
from calling import call
from PIL import Image

import tfcompress as tfc
from tfcompress.cli.command import CommandError
from tfcompress.cli.data_argument import image_dataset
from tfcompress.cli.model_argument import labels_of_file, shape_of_image

SHAPE = (8, 8, 3)


def write(path, level, size=(9, 9), mode="RGB"):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((*size, 3), level, "uint8")).convert(mode).save(path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Photos of two classes, as bright as their class says, a model for them and its file."""
    folder = tmp_path_factory.mktemp("images")
    for number in range(60):
        write(folder / "photos" / "dark" / f"{number}.png", number)
        write(folder / "photos" / "light" / f"{number}.jpg", 150 + number)
    keras.utils.set_random_seed(0)
    inputs = keras.Input(SHAPE, name="image")
    x = keras.layers.Conv2D(4, 3, activation="relu")(keras.layers.Rescaling(1 / 255)(inputs))
    x = keras.layers.Dense(2)(keras.layers.GlobalAveragePooling2D()(x))
    keras.Model(inputs, x).save(folder / "model.keras")
    line = f"export {folder}/model.keras --out {folder}/int8.tflite --data {folder}/photos"
    assert call(line) == 0
    return folder


def levels(dataset):
    """Return the brightness and the class of every image."""
    pairs = [(float(image[0, 0, 0]), int(label)) for image, label in dataset.unbatch()]
    return zip(*pairs, strict=True)


def test_the_order_is_random_with_a_fixed_seed(folder):
    brightness, labels = levels(image_dataset(folder / "photos", SHAPE))
    again, _ = levels(image_dataset(folder / "photos", SHAPE))
    other, _ = levels(image_dataset(folder / "photos", SHAPE, seed=1))
    assert brightness == again
    assert brightness != other
    assert sorted(round(level) for level in brightness) == [*range(60), *range(150, 210)]
    assert [level > 100 for level in brightness] == [label == 1 for label in labels]
    assert 20 < sum(labels[:64]) < 44  # of 64, about half


def test_so_many_images_at_most_and_an_order_for_each_pass(folder):
    dataset = image_dataset(folder / "photos", SHAPE, max_examples=50, reshuffle=True)
    (first, _), (second, _) = levels(dataset), levels(dataset)
    assert len(first) == 50
    assert first != second
    assert sorted(first) == sorted(second)


def test_evidence_has_all_classes(folder, capsys):
    capsys.readouterr()
    line = f"export {folder}/model.keras --out {folder}/again.tflite --data {folder}/photos"
    assert call(f"{line} --examples 40 --json") == 0
    agreement = json.loads(capsys.readouterr().out)["agreement"]
    assert agreement["examples"] == 40
    assert agreement["classes"] == 2


def test_every_command_that_takes_data(folder, capsys):
    photos, file = f"{folder}/photos", f"{folder}/int8.tflite"
    assert call(f"validate {file} --against {folder}/model.keras --data {photos}") == 0
    assert call(f"validate {file} --against {file} --data {photos}") == 0
    assert "120 examples of 2 classes" in capsys.readouterr().out
    assert call(f"bundle {file} --out {folder}/bundle --data {photos}") == 0
    golden = np.load(folder / "bundle" / "golden.npz")["input_0"]
    assert len(np.unique(golden)) > 8  # photos, as bright as they are


def test_a_quantization_aware_model(folder, capsys):
    quantized = tfc.quantize_aware(keras.saving.load_model(folder / "model.keras"))
    quantized.calibrate(np.random.default_rng(0).random((32, *SHAPE), "float32") * 255)
    quantized.save(folder / "quantized.keras")
    line = f"export {folder}/quantized.keras --out {folder}/quantized.tflite"
    assert call(f"{line} --data {folder}/photos") == 0
    assert "64 examples of 2 classes" in capsys.readouterr().out


def test_damaged_images_are_named_in_one_line(folder, capsys, tmp_path):
    for number in range(4):
        write(tmp_path / "dog" / f"{number}.jpg", 100)
        write(tmp_path / "cat" / f"{number}.jpg", 100)
    (tmp_path / "dog" / "666.jpg").write_bytes(b"<html>404</html>")
    whole = (tmp_path / "cat" / "1.jpg").read_bytes()
    (tmp_path / "cat" / "1.jpg").write_bytes(whole[: len(whole) // 2])
    line = f"export {folder}/model.keras --out {tmp_path}/m.tflite --data {tmp_path}"
    assert call(line) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "2 of 9 images cannot be decoded: remove or replace cat/1.jpg, dog/666.jpg" in said


def test_other_formats_are_read_or_counted(tmp_path, capsys):
    write(tmp_path / "a" / "1.png", 10)
    write(tmp_path / "a" / "deeper" / "2.WEBP", 20)
    write(tmp_path / "b" / "3.tif", 30)
    write(tmp_path / "b" / "4.bmp", 40)
    (tmp_path / "b" / "notes").write_text("x")
    (tmp_path / "b" / ".DS_Store").write_text("x")
    brightness, labels = levels(image_dataset(tmp_path, SHAPE))
    found = sorted(zip((round(level) for level in brightness), labels, strict=True))
    assert [pair for pair in found if pair[0] != 20] == [(10, 0), (40, 1)]
    said = capsys.readouterr().err
    if len(found) == 3:  # a TensorFlow that decodes WebP
        assert found[1] == (20, 0)
        assert "2 of 5 files are left out" in said
    assert "1 .tif" in said
    assert "1 without an ending" in said
    assert said.count("\n") == 1


def test_images_alone_have_no_labels(tmp_path):
    write(tmp_path / "1.png", 10)
    (batch,) = image_dataset(tmp_path, SHAPE)
    assert batch.shape == (1, *SHAPE)


def test_grey_images(tmp_path):
    write(tmp_path / "one" / "1.png", 255, mode="L")
    write(tmp_path / "one" / "2.png", 255)
    ((images, _),) = image_dataset(tmp_path, (8, 8, 1))
    np.testing.assert_array_equal(images, np.full((2, 8, 8, 1), 255.0))


def test_no_image_at_all(tmp_path):
    (tmp_path / "a.tif").write_text("x")
    with pytest.raises(CommandError, match=r"holds no image.*with 1 \.tif"):
        image_dataset(tmp_path, SHAPE)


def test_models_that_take_no_image(folder, capsys, tmp_path):
    keras.Sequential([keras.Input((5,)), keras.layers.Dense(2)]).save(tmp_path / "m.keras")
    line = f"export {tmp_path}/m.keras --out {tmp_path}/m.tflite --data {folder}/photos"
    assert call(line) == 2
    assert "suits a model with one input, an image" in capsys.readouterr().err
    assert shape_of_image([(None, None, None, 3)]) is None
    assert shape_of_image([(1, 8, 8, 2)]) is None
    assert shape_of_image([(1, 8, 8, 3)]) == SHAPE


def test_folders_are_numbered_as_the_labels_that_name_them(folder):
    brightness, labels = levels(
        image_dataset(folder / "photos", SHAPE, class_names=("light", "grey", "dark"))
    )
    assert {(level > 100, label) for level, label in zip(brightness, labels, strict=True)} == {
        (True, 0),
        (False, 2),
    }
    _, labels = levels(image_dataset(folder / "photos", SHAPE, class_names=("cat", "dog")))
    assert set(labels) == {0, 1}
    with pytest.raises(CommandError, match=r"labels, which are light, cat\. Received: .*with dark"):
        image_dataset(folder / "photos", SHAPE, class_names=("light", "cat"))


def test_the_file_bears_the_names_of_the_folders(folder, tmp_path):
    assert labels_of_file(folder / "int8.tflite") == ("dark", "light")
    write(tmp_path / "three" / "a" / "1.png", 10)
    for name in ("b", "c"):
        (tmp_path / "three" / name).mkdir()
    line = f"export {folder}/model.keras --quantization float32 --out {tmp_path}/m.tflite"
    assert call(f"{line} --validation-data {tmp_path}/three/a") == 0
    assert labels_of_file(tmp_path / "m.tflite") == ()


def test_an_empty_folder_counts_as_a_class(tmp_path, capsys):
    write(tmp_path / "a" / "1.png", 10)
    write(tmp_path / "c" / "deep" / "2.PNG", 200)
    (tmp_path / "b").mkdir()
    _, labels = levels(image_dataset(tmp_path, SHAPE))
    assert set(labels) == {0, 2}
    assert "the folder b holds no image and counts as class 1" in capsys.readouterr().err


@pytest.mark.parametrize(("orientation", "turned"), [(None, 0), (1, 0), (6, 1), (3, 1)])
def test_photos_that_are_stored_turned_are_counted(orientation, turned, tmp_path, capsys):
    exif = Image.Exif()
    if orientation is not None:
        exif[0x0112] = orientation
    Image.new("RGB", (9, 9)).save(tmp_path / "1.jpg", exif=exif)
    write(tmp_path / "2.jpg", 10)
    image_dataset(tmp_path, SHAPE)
    assert capsys.readouterr().err.count("1 of 2 photos are stored turned") == turned
