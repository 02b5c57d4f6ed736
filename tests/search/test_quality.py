"""What a search keeps: accuracy, or any metric of the task, with one output or several."""

import json

import keras
import numpy as np
import pytest
from keras import layers as kl
from small_search import QUICK

import tfcompress as tfc
from exporters.running.runtime import load
from tfcompress.distillation import LogitsMSE, SoftLabels
from tfcompress.recipes import distillation_losses, require_loss
from tfcompress.search.quality import quality_of
from tfcompress.search.results import Budget, Reference, make_budget, read_result
from tfcompress.search.training_data import require_labels

OUTPUTS = {
    "size": np.array([[1.0], [2.0], [4.0]], "float32"),
    "kind": np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]], "float32"),
}
LABELS = {"size": np.array([[1.0], [2.0], [1.0]], "float32"), "kind": np.array([0, 1, 1])}


def farthest(labels, outputs):
    return np.abs(labels["size"] - outputs["size"]).max()


@pytest.mark.parametrize(
    ("metric", "mode", "outputs", "labels", "expected"),
    [
        (None, "auto", {"kind": OUTPUTS["kind"]}, LABELS["kind"], ("accuracy", False, 2 / 3)),
        ("mse", "auto", {"size": OUTPUTS["size"]}, LABELS["size"], ("mean_squared_error", True, 3)),
        (
            lambda: keras.metrics.MeanAbsoluteError(name="mae"),
            "auto",
            {"size": OUTPUTS["size"]},
            LABELS["size"],
            ("mae", True, 1),
        ),
        (
            lambda: {"kind": keras.metrics.SparseCategoricalAccuracy(name="accuracy")},
            "auto",
            OUTPUTS,
            LABELS,
            ("kind accuracy", False, 2 / 3),
        ),
        (
            {"size": "mse"},
            "auto",
            OUTPUTS,
            [LABELS["size"], LABELS["kind"]],
            ("size mean_squared_error", True, 3),
        ),
        (lambda: farthest, "min", OUTPUTS, LABELS, ("farthest", True, 3)),
    ],
)  # fmt: skip
def test_a_metric_by_hand(metric, mode, outputs, labels, expected):
    # Made in the test: a metric of Keras has variables.
    quality = quality_of(metric() if callable(metric) else metric, mode)
    assert (quality.name, quality.lower_is_better) == expected[:2]
    for _ in range(2):  # a Keras metric adds up what it sees; each file has one of its own
        assert quality.compute(outputs, labels) == pytest.approx(expected[2])


@pytest.mark.parametrize(
    ("metric", "mode", "message"),
    [
        (farthest, "auto", "'farthest' is better cannot be told by its name: pass `metric_mode`"),
        ("mse", "up", "Received: 'up'"),
        ({"a": "mse", "b": "mse"}, "auto", "keeps one metric"),
        (7, "max", "Received: metric=7"),
    ],
)
def test_metrics_that_cannot_be_kept(metric, mode, message):
    with pytest.raises(ValueError, match=message):
        quality_of(metric, mode)


def test_an_output_that_is_none_of_the_model():
    with pytest.raises(ValueError, match=r"\['size', 'kind'\]. Received: 'colour'"):
        quality_of({"colour": "mse"}).compute(OUTPUTS, LABELS)


@pytest.mark.parametrize(
    ("name", "lower"),
    [
        ("mean_io_u", False), ("auc", False), ("f1_score", False), ("r2_score", False),
        ("root_mean_squared_error", True), ("binary_crossentropy", True), ("kl_divergence", True),
        ("top_k_categorical_accuracy", False), ("cosine_similarity", False), ("log_cosh", True),
    ],
)  # fmt: skip
def test_the_name_tells_the_direction(name, lower):
    assert quality_of(keras.metrics.Mean(name=name)).lower_is_better is lower


def test_worse_is_a_drop_in_either_direction():
    reference = Reference("f", 0.5, 400, 200, 0.004, 100, 1000, 20, "mse", lower_is_better=True)
    assert reference.drop_to(0.75) == 0.25
    assert (reference.text_of(0.75), reference.change_of(0.25)) == ("0.75", "+0.25")
    reference = Reference("f", 0.5, 400, 200, 0.004, 100, 1000, 20)
    assert reference.drop_to(0.75) == -0.25
    assert (reference.text_of(0.75), reference.change_of(-0.25)) == ("75.00%", "+25.00 points")


def test_a_budget_in_the_unit_of_the_metric():
    assert make_budget("accuracy", None) == Budget(0.01)
    assert make_budget("mse", 12.5).max_accuracy_drop == 12.5
    with pytest.raises(ValueError, match="how much worse mse may get, in its own unit"):
        make_budget("mse", None)
    with pytest.raises(ValueError, match="Received: max_accuracy_drop=-1"):
        make_budget("mse", -1)


def test_labels_of_several_outputs_are_counted():
    x = np.arange(6.0).reshape(6, 1)
    y = {"size": x * 2, "kind": np.arange(6)}
    np.testing.assert_array_equal(require_labels((x, y), "validation_data")["size"], 2 * x)
    with pytest.raises(ValueError, match="6 examples and 5 labels"):
        require_labels((x, {**y, "kind": np.arange(5)}), "validation_data")
    with pytest.raises(ValueError, match="needs labels"):
        require_labels((x,), "validation_data")


def several_outputs():
    inputs = keras.Input((4,))
    return keras.Model(
        inputs,
        {
            "size": kl.Dense(1, name="size")(inputs),
            "kind": kl.Dense(3, name="kind")(inputs),
            "tags": kl.Dense(2, activation="sigmoid", name="tags")(inputs),
        },
    )


def test_each_output_follows_the_teacher_as_it_is_trained():
    losses = distillation_losses(
        several_outputs(),
        {
            "size": "mse",
            "kind": keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            "tags": "binary_crossentropy",
        },
    )
    assert [(type(loss), loss.activation, loss.output) for loss in losses] == [
        (SoftLabels, "softmax", 0),  # outputs come in the order of their sorted names
        (LogitsMSE, "softmax", 1),
        (SoftLabels, "sigmoid", 2),
    ]


def test_a_loss_is_asked_for():
    model = several_outputs()
    with pytest.raises(ValueError, match="pass `loss`, as `compile` takes it, or a compiled"):
        require_loss(model)
    model.compile("sgd", {"size": "mse"})
    assert require_loss(model) == {"size": "mse"}
    assert require_loss(model, "mae") == "mae"


def test_a_search_that_keeps_an_error_of_one_of_two_outputs(tmp_path):
    generator = np.random.default_rng(0)
    keras.utils.set_random_seed(0)
    x = generator.normal(size=(256, 6, 6, 1)).astype("float32")
    mean = x.mean((1, 2))
    y = {"size": 3 * mean, "kind": (mean[:, 0] > 0).astype(int)}
    inputs = keras.Input((6, 6, 1), name="image")
    hidden = kl.Conv2D(8, 3, activation="relu", name="first")(inputs)
    hidden = kl.GlobalAveragePooling2D()(hidden)
    kind = kl.Dense(2, activation="softmax", name="kind")(hidden)
    model = keras.Model(inputs, {"size": kl.Dense(1, name="size")(hidden), "kind": kind})
    losses = {"size": "mse", "kind": "sparse_categorical_crossentropy"}
    model.compile(keras.optimizers.Adam(0.03), losses, jit_compile=False)
    model.fit(x, y, epochs=5, verbose=0)
    settings = {**QUICK, "max_trials": 2, "metric": {"size": "mse"}, "max_accuracy_drop": 0.5}
    result = tfc.compress(model, (x, y), (x, y), directory=tmp_path, **settings)
    assert result.met
    expected = np.mean((model.predict(x, verbose=0)["size"] - y["size"]) ** 2)
    assert result.reference.accuracy == pytest.approx(expected, rel=1e-3)
    with load(result.path) as file:
        outputs = dict(zip([p.name for p in file.outputs], file.predict(x), strict=True))
    found = np.mean((outputs["size"] - y["size"]) ** 2, dtype=np.float64)
    assert result.best.accuracy == pytest.approx(found)
    assert result.best.accuracy_drop == pytest.approx(found - result.reference.accuracy)
    assert f"size mean_squared_error {found:.5g} against {expected:.5g}"[:30] in result.verdict()
    assert set(result.front) <= set(result.trials)
    read = read_result(tmp_path)
    assert read == result
    assert (read.reference.metric, read.reference.lower_is_better) == (
        "size mean_squared_error",
        True,
    )
    assert "metric" not in json.loads((tmp_path / "result.json").read_text())["budget"]
    with pytest.raises(ValueError, match="another metric, 'size mean_squared_error'"):
        tfc.compress(
            model, (x, y), (x, y), directory=tmp_path, **{**settings, "metric": {"size": "mae"}}
        )
