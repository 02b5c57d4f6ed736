"""What MediaPipe's tasks take; the tasks themselves are asked where they are installed."""

import importlib.util

import keras
import numpy as np
import pytest

from exporters import ScoreCalibration, export_tflite, inspect
from exporters.mediapipe import takes_pixels
from exporters.running.tensor_details import TensorDetails

NAMES = ["red", "green", "blue"]
SIDE = 16


def photos(count=96):
    """Photos of one strong colour each, black and white pixels among them, and which."""
    generator = np.random.default_rng(0)
    pixels = generator.integers(0, 80, (count, SIDE, SIDE, 3))
    colours = generator.integers(0, 3, count)
    for photo, colour in zip(pixels, colours, strict=True):
        photo[..., colour] += 175
    pixels[:, 0, 0], pixels[:, 0, 1] = 0, 255
    return pixels.astype("float32"), colours


def classifier(mean, deviation):
    """A softmax over the mean of each channel, on normalized pixels."""
    model = keras.Sequential(
        [
            keras.Input((SIDE, SIDE, 3), name="photo"),
            keras.layers.Conv2D(3, 1, use_bias=False, name="colour"),
            keras.layers.GlobalAveragePooling2D(name="mean"),
            keras.layers.Softmax(name="head"),
        ]
    )
    model.layers[0].set_weights([np.eye(3).reshape(1, 1, 3, 3) * deviation / 64])
    return model


def exported(path, mean=0.0, deviation=1.0, quantization="int8", calibration=None):
    pixels, _ = photos()
    data = (pixels - mean) / deviation if calibration is None else calibration
    export_tflite(
        classifier(mean, deviation),
        path,
        quantization,
        representative_data=None if quantization == "float32" else data,
        labels=NAMES,
        normalization=(mean, deviation),
        interface="mediapipe",
    )
    (image,), (scores,) = inspect(path).inputs, inspect(path).outputs
    return image.dtype, scores.dtype


@pytest.mark.parametrize(
    ("scale", "zero_point", "normalization", "expected"),
    [
        (1.0, 0, (0.0, 1.0), True),
        (1 / 255, 0, (0.0, 255.0), True),
        (1 / 127.5, 127, (127.5, 127.5), True),  # half a step beside
        (1 / 127.5, 126, (127.5, 127.5), False),
        (0.98, 0, (0.0, 1.0), False),  # white is 250 for it
        (1.0, 0, ((0.0, 0.0, 9.0), (1.0, 1.0, 1.0)), False),
    ],
)
def test_bytes_are_pixels_where_both_agree_within_half_a_step(
    scale, zero_point, normalization, expected
):
    details = TensorDetails("photo", 0, (1, 4, 4, 3), np.dtype("uint8"), scale, zero_point)
    assert takes_pixels(details, normalization) == expected


def test_a_float_input_takes_no_bytes():
    details = TensorDetails("photo", 0, (1, 4, 4, 3), np.dtype("float32"))
    assert not takes_pixels(details, (0.0, 1.0))


def test_integers_that_are_pixels_are_the_input(tmp_path):
    assert exported(tmp_path / "a.tflite") == ("UINT8", "UINT8")
    assert exported(tmp_path / "b.tflite", 127.5, 127.5) == ("UINT8", "UINT8")


def test_integers_that_are_not_pixels_are_no_input(tmp_path):
    dark = photos()[0] * 0.5
    assert exported(tmp_path / "a.tflite", calibration=dark) == ("FLOAT32", "UINT8")
    assert exported(tmp_path / "b.tflite", quantization="float32") == ("FLOAT32", "FLOAT32")


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ({"normalization": None}, r"pass `normalization=.*Received: normalization=None"),
        ({"batch_size": None}, r"batch_size=1\. Received: None"),
        ({"interface": "ml-kit"}, r"\['mediapipe'\].*Received: 'ml-kit'"),
    ],
)
def test_what_is_missing_is_said_before_any_work(told, message, tmp_path):
    told = {"normalization": (0, 1), "interface": "mediapipe"} | told
    with pytest.raises(ValueError, match=message):
        export_tflite(classifier(0.0, 1.0), tmp_path / "a.tflite", "float32", **told)


def test_a_model_without_an_image_is_refused(tmp_path):
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    with pytest.raises(ValueError, match=r"one colour image.*Received: inputs of shapes \[\(None"):
        export_tflite(
            model, tmp_path / "a.tflite", "float32", normalization=(0, 1), interface="mediapipe"
        )


@pytest.mark.skipif(
    importlib.util.find_spec("mediapipe") is None, reason="needs pip install mediapipe"
)
@pytest.mark.parametrize(
    ("mean", "deviation", "quantization", "dark"),
    [
        (0.0, 1.0, "int8", 1.0),
        (127.5, 127.5, "int8", 1.0),
        (127.5, 127.5, "int8", 0.5),
        (127.5, 127.5, "float32", 1.0),
    ],
)
def test_mediapipe_names_the_colours(mean, deviation, quantization, dark, tmp_path):
    import mediapipe
    from mediapipe.tasks.python import BaseOptions, vision

    pixels, colours = photos()
    pixels = np.floor(dark * pixels)
    path = tmp_path / "colours.tflite"
    exported(path, mean, deviation, quantization, (pixels - mean) / deviation)
    options = vision.ImageClassifierOptions(base_options=BaseOptions(model_asset_path=str(path)))
    with vision.ImageClassifier.create_from_options(options) as task:
        found = [
            task.classify(
                mediapipe.Image(
                    image_format=mediapipe.ImageFormat.SRGB, data=photo.astype(np.uint8)
                )
            )
            .classifications[0]
            .categories
            for photo in pixels
        ]
    assert [best[0].category_name for best in found] == [NAMES[colour] for colour in colours]
    wanted = classifier(mean, deviation).predict((pixels - mean) / deviation, verbose=0).max(-1)
    scores = np.array([best[0].score for best in found])
    np.testing.assert_allclose(scores, wanted, atol=0.02)


@pytest.mark.skipif(
    importlib.util.find_spec("mediapipe") is None, reason="needs pip install mediapipe"
)
@pytest.mark.parametrize("quantization", ["int8", "float32"])
def test_mediapipe_segments_by_colour(quantization, tmp_path):
    import mediapipe
    from mediapipe.tasks.python import BaseOptions, vision

    random = np.random.default_rng(0)
    colours = random.integers(0, 3, (32, SIDE, SIDE))
    pixels = random.integers(0, 80, (32, SIDE, SIDE, 3)) + 175 * np.eye(3, dtype=int)[colours]
    pixels[0, 0, 0], pixels[0, 0, 1] = 0, 255
    photo = keras.Input((SIDE, SIDE, 3), name="photo")
    colour = keras.layers.Conv2D(3, 1, use_bias=False)
    model = keras.Model(photo, keras.layers.Softmax()(colour(photo)))
    colour.set_weights([np.eye(3).reshape(1, 1, 3, 3) / 64])
    path = tmp_path / "segmenter.tflite"
    export_tflite(
        model,
        path,
        quantization,
        representative_data=None if quantization == "float32" else pixels.astype("float32"),
        labels=NAMES,
        normalization=(0.0, 1.0),
        interface="mediapipe",
    )
    options = vision.ImageSegmenterOptions(
        base_options=BaseOptions(model_asset_path=str(path)), output_category_mask=True
    )
    with vision.ImageSegmenter.create_from_options(options) as segmenter:
        assert segmenter.labels == NAMES
        for chosen in (1, 2):
            image = mediapipe.Image(
                image_format=mediapipe.ImageFormat.SRGB, data=pixels[chosen].astype("uint8")
            )
            mask = segmenter.segment(image).category_mask.numpy_view()
            np.testing.assert_array_equal(mask.squeeze(), colours[chosen])


@pytest.mark.skipif(
    importlib.util.find_spec("mediapipe") is None, reason="needs pip install mediapipe"
)
@pytest.mark.parametrize("transformation", ["identity", "log", "inverse_logistic"])
def test_mediapipe_calibrates_scores(transformation, tmp_path):
    import mediapipe
    from mediapipe.tasks.python import BaseOptions, vision

    pixels, _ = photos(8)
    curve = ScoreCalibration([0.9, 0.8, 1.0], [4.0, 3.0, 2.0], [-2.0, 0.5, 0.25], transformation)
    path = tmp_path / "calibrated.tflite"
    model = classifier(0.0, 1.0)
    export_tflite(
        model,
        path,
        "float32",
        labels=NAMES,
        normalization=(0.0, 1.0),
        interface="mediapipe",
        score_calibration=curve,
    )
    options = vision.ImageClassifierOptions(base_options=BaseOptions(model_asset_path=str(path)))
    scores = model.predict(pixels, verbose=0)
    seen = {
        "identity": scores,
        "log": np.log(scores),
        "inverse_logistic": np.log(scores / (1 - scores)),
    }[transformation]
    wanted = np.array(curve.scales) / (1 + np.exp(-(np.array(curve.slopes) * seen + curve.offsets)))
    with vision.ImageClassifier.create_from_options(options) as task:
        for photo, expected in zip(pixels, wanted, strict=True):
            image = mediapipe.Image(
                image_format=mediapipe.ImageFormat.SRGB, data=photo.astype(np.uint8)
            )
            found = {
                each.category_name: each.score
                for each in task.classify(image).classifications[0].categories
            }
            np.testing.assert_allclose([found[name] for name in NAMES], expected, atol=1e-3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([1.0], [1.0, 2.0], [0.0]), r"for each class\. Received: \[1, 2, 1\]"),
        (([-1.0], [1.0], [0.0]), "scales 0 or more"),
        (([1.0], [np.nan], [0.0]), "finite numbers"),
        (([1.0], [1.0], [0.0], "sqrt"), "Received: 'sqrt'"),
    ],
)
def test_calibrations_that_are_none_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        ScoreCalibration(*arguments)


def test_a_calibration_has_a_curve_for_each_class(tmp_path):
    curve = ScoreCalibration([1.0] * 4, [1.0] * 4, [0.0] * 4)
    with pytest.raises(ValueError, match=r"one output's last axis.*Received: 4 curves"):
        export_tflite(
            classifier(0.0, 1.0), tmp_path / "a.tflite", "float32", score_calibration=curve
        )
    assert not (tmp_path / "a.tflite").exists()
