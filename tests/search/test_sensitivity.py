"""What each layer tolerates, by hand-made numbers, and sparsity distributed by it."""

import json

import keras
import numpy as np
import pytest
from keras import layers as kl

import tfcompress as tfc
from tfcompress.search import Sensitivity
from tfcompress.search.sensitivity import Effect, distribute_sparsity, error_at


def linear_model():
    """Two inputs to two outputs by way of two hidden units, without biases."""
    model = keras.Sequential(
        [
            keras.Input((2,)),
            kl.Dense(2, use_bias=False, name="a"),
            kl.Dense(2, use_bias=False, name="b"),
        ]
    )
    model.set_weights([np.float32([[1, 0], [0, 0.5]]), np.float32([[1, 0], [0, 1]])])
    return model


X = np.float32([[1, 0], [0, 1]])


def test_errors_by_hand():
    # Outputs are the rows of a: energy 1 + 0.25. Half of the weights of a kernel are zero already.
    table = tfc.sensitivity(linear_model(), X, sparsities=(0.5, 0.75), bits=(8,), progress=False)
    found = {(e.path, e.level): e.error for e in table.effects if e.change == "sparsity"}
    assert found["a/kernel", 0.5] == found["b/kernel", 0.5] == 0.0
    assert found["a/kernel", 0.75] == pytest.approx(0.25 / 1.25)
    assert found["b/kernel", 0.75] in (pytest.approx(0.25 / 1.25), pytest.approx(1 / 1.25))
    assert table.of("bits", 8)["a/kernel"].error < 1e-4


def test_the_model_is_as_before_and_labels_give_accuracy():
    model = linear_model()
    before = model.get_weights()
    table = tfc.sensitivity(
        model, (X, np.array([0, 1])), sparsities=(0.75,), bits=(), progress=False
    )
    assert table.metric == 1.0
    assert table.of("sparsity", 0.75)["a/kernel"].metric == 0.5
    for one, other in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    text = table.to_text()
    assert "a/kernel" in text
    assert "75% zero" in text
    assert json.loads(json.dumps(table.to_json()))["metric"] == 1.0


@pytest.mark.parametrize("order", [("cls", "value"), ("value", "cls")])
def test_labels_by_name_are_those_of_the_first_output(order):
    x = keras.Input((2,))
    heads = {"cls": kl.Dense(2, name="cls")(x), "value": kl.Dense(1, name="value")(x)}
    model = keras.Model(x, heads)
    labels = {"cls": np.array([0, 1]), "value": np.zeros((2, 1), "float32")}
    model.get_layer("cls").set_weights([np.eye(2), np.zeros(2)])
    options = {"sparsities": (0.75,), "bits": (), "progress": False}
    data = X, {name: labels[name] for name in order}
    assert tfc.sensitivity(model, data, **options).metric == 1.0
    as_list = X, list(labels.values())
    assert tfc.sensitivity(keras.Model(x, list(heads.values())), as_list, **options).metric == 1.0


def test_numbers_as_labels_have_no_accuracy():
    table = tfc.sensitivity(
        linear_model(), (X, np.float32([[0.3, 1], [2, 0]])), sparsities=(0.5,), progress=False
    )
    assert table.metric is table.effects[0].metric is None


def test_logits_of_yes_or_no_are_decided_at_zero():
    model = keras.Sequential([keras.Input((1,)), kl.Dense(1, use_bias=False)])
    model.set_weights([np.float32([[1.0]])])
    data = np.float32([[-1.0], [0.3]]), np.array([0, 1])
    table = tfc.sensitivity(model, data, sparsities=(), bits=(8,), progress=False)
    assert table.metric == 1.0


def test_goes_on_from_its_file(tmp_path, monkeypatch):
    file = tmp_path / "table.jsonl"
    model = linear_model()
    options = {"sparsities": (0.5, 0.75), "bits": (4,), "progress": False, "file": file}
    whole = tfc.sensitivity(model, X, **options)
    lines = file.read_text().splitlines()
    file.write_text("\n".join(lines[:3]) + "\n" + lines[3][:10])  # killed while it wrote
    calls = []
    predict = model.predict_on_batch
    monkeypatch.setattr(model, "predict_on_batch", lambda x: calls.append(1) or predict(x))
    assert tfc.sensitivity(model, X, **options) == whole
    assert len(calls) == 1 + 4  # the reference, and what the file did not have
    with pytest.raises(ValueError, match="another model or of other data"):
        tfc.sensitivity(model, X[:1], **options)


def test_heat_map(tmp_path):
    pytest.importorskip("matplotlib", reason="needs the extra `report`")
    table = tfc.sensitivity(linear_model(), X, progress=False)
    table.draw(tmp_path / "map.svg")
    assert (
        "b/kernel" in (tmp_path / "map.svg").read_text()
        or (tmp_path / "map.svg").stat().st_size > 2000
    )


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"sparsities": (1.0,)}, "1.0"),
        ({"bits": (1,)}, "Received: 1"),
        ({"sparsities": (), "bits": ()}, "At least one"),
        ({"layers": "nothing"}, "matches no layer"),
    ],
)
def test_bad_input_is_named(how, message):
    with pytest.raises(ValueError, match=message):
        tfc.sensitivity(linear_model(), X, progress=False, **how)


def table(**kernels):
    """Build a table from {layer: (weights, error at 50 %, error at 90 %)}."""
    return Sensitivity(
        tuple(
            Effect(f"{layer}/kernel", "sparsity", level, weights, error)
            for layer, (weights, *errors) in kernels.items()
            for level, error in zip((0.5, 0.9), errors, strict=True)
        )
    )


def test_errors_between_levels_by_hand():
    curve = [(0.5, 0.01), (0.9, 0.1)]
    assert error_at(curve, 0.25) == pytest.approx(0.0025)  # with the square of the sparsity
    assert error_at(curve, 0.7) == pytest.approx(0.1**1.5)  # half-way in the logarithm
    assert error_at(curve, 0.9) == pytest.approx(0.1)
    assert error_at([(0.5, 0.0), (0.9, 0.0)], 0.7) == pytest.approx(0, abs=1e-11)


def test_equal_kernels_get_equal_shares():
    shares = distribute_sparsity(table(a=(100, 0.01, 0.1), b=(100, 0.01, 0.1)), 0.6)
    assert shares == {"a/kernel": pytest.approx(0.6), "b/kernel": pytest.approx(0.6)}


def test_the_sensitive_kernel_stays_denser_and_the_whole_has_what_was_asked():
    weights = {"a/kernel": 100, "b/kernel": 900}
    shares = distribute_sparsity(table(a=(100, 0.3, 0.9), b=(900, 0.001, 0.02)), 0.7)
    assert shares["a/kernel"] < 0.2
    total = sum(shares[path] * weights[path] for path in weights)
    assert total == pytest.approx(700, abs=18)  # a step of the large kernel


def test_no_kernel_is_emptied():
    shares = distribute_sparsity(table(a=(100, 0.5, 0.9), b=(100, 0.0, 0.0)), 0.9)
    assert shares["b/kernel"] == pytest.approx(0.98)
    assert shares["a/kernel"] == pytest.approx(0.82)


def test_what_is_needed_is_named():
    with pytest.raises(ValueError, match=r"levels \[\]"):
        distribute_sparsity(Sensitivity(()), 0.5)
    with pytest.raises(ValueError, match=r"sparsity=0\.99"):
        distribute_sparsity(table(a=(100, 0.5, 0.9)), 0.99)


def test_the_old_name_of_an_argument_warns():
    options = {"sparsities": (0.75,), "bits": (), "progress": False}
    with pytest.warns(DeprecationWarning, match="`most` of sensitivity is now `max_examples`"):
        old = tfc.sensitivity(linear_model(), X, most=1, **options)
    assert old == tfc.sensitivity(linear_model(), X, max_examples=1, **options)
    assert old != tfc.sensitivity(linear_model(), X, **options)
