"""The matrix of coverage: its models, its cells and its page."""

import keras
import numpy as np
import pytest


@pytest.mark.parametrize("name", ["MobileNetV3Small"])
def test_a_shortened_network_is_the_same_on_both_libraries(name):
    import tf_keras
    from coverage_models import ROWS, shortened

    ours, theirs = (shortened(ROWS[name], library) for library in (keras, tf_keras))
    assert ours.count_params() == theirs.count_params()
    assert ours.output_shape == theirs.output_shape == (None, 5)
    assert len(ours.layers) < len(ROWS[name].build(keras).layers) / 2


@pytest.mark.parametrize("name", ["shared layers", "subclassed models", "a layer of one's own"])
def test_toys_are_the_same_on_both_libraries(name):
    import tf_keras
    from coverage_models import ROWS, examples, shortened

    ours, theirs = (shortened(ROWS[name], library) for library in (keras, tf_keras))
    theirs.set_weights(ours.get_weights())
    inputs, _ = examples(ours, 3)
    found = [np.asarray(model(inputs, training=False)) for model in (ours, theirs)]
    np.testing.assert_allclose(*found, atol=1e-5)


def test_examples_are_tokens_where_a_model_takes_integers():
    import tf_keras
    from coverage_models import ROWS, examples

    for library in (keras, tf_keras):
        inputs, targets = examples(ROWS["Embedding"].build(library), 2)
        assert inputs.dtype == "int32"
        assert targets.shape == (2, 5)


def test_every_cell_has_its_form():
    from coverage_cells import CELLS
    from coverage_page import FORMS

    assert list(FORMS) == list(CELLS)


def test_half_of_the_weights_are_zero_or_the_cell_fails():
    from coverage_cells import FallsShortError, zeros_reached

    assert zeros_reached([np.array([0.0, 1.0]), np.array([2.0, 0.0])])["sparsity"] == 0.5
    with pytest.raises(FallsShortError, match=r"25\.0% zeros where 50% were asked for"):
        zeros_reached([np.array([0.0, 1.0, 2.0, 3.0])])
    with pytest.raises(FallsShortError, match="no weight was pruned"):
        zeros_reached([])


def test_a_cell_that_works_gives_the_figures_of_its_form():
    from coverage_cells import CELLS
    from coverage_models import ROWS
    from coverage_page import FORMS

    for cell in ("pruning", "clustering", "channel removal", "PTQ int8", "run"):
        figures = CELLS[cell](ROWS["swish"])
        assert FORMS[cell].format(**figures)
    assert figures["difference"] < 1e-5


def test_the_page_notes_why_a_cell_fails_once_for_each_reason():
    from coverage_page import FORMS, matrix

    rows = [
        {"model": "LSTM", "cell": "PTQ int8", "figures": {"decibels": 31.2, "bytes": 9}},
        {"model": "LSTM", "cell": "TFMOT QAT", "error": "ValueError: no | layer"},
        {"model": "GRU", "cell": "TFMOT QAT", "error": "ValueError: no | layer"},
        {"model": "mish", "cell": "TFMOT QAT", "left_out": "tf_keras: none"},
        {
            "model": "swish",
            "cell": "QAT",
            "figures": {"within_one": 0.5, "float_operations": ["ELU"]},
        },
    ]
    text = "\n".join(matrix({"rows": rows, "left_out": {"TFMOT pruning": "not installed: x"}}))
    cells = {line.split(" | ")[0][2:]: line.split(" | ")[1:] for line in text.splitlines()}
    assert cells["LSTM"][list(FORMS).index("PTQ int8")] == "31 dB"
    notes = dict(line.split(". ", 1)[::-1] for line in text.splitlines() if line[:1].isdigit())
    same = f"no ({notes['ValueError: no / layer']}) |"
    assert cells["LSTM"][-1] == cells["GRU"][-1] == same
    assert cells["mish"][-1] == f"- ({notes['tf_keras: none']}) |"
    assert cells["swish"][list(FORMS).index("QAT")] == f"50.0% ({notes['in float: ELU']})"
    assert "TFMOT pruning is left out: not installed: x." in text


def test_growth_is_summed_up_over_rounds_and_sizes():
    from growth import summarize

    rows = [
        {
            "size": width,
            "technique": "plain",
            "figures": {"size": weights, "seconds": {"epoch": seconds}},
        }
        for width, weights, times in ((1, 100, (1.0, 2.0, 9.0)), (2, 400, (4.0, 8.0, 8.0)))
        for seconds in times
    ]
    rows.append({"size": 9, "technique": "QAT", "error": "not done in 240 s"})
    found = summarize(rows)
    assert [point["seconds"] for point in found["curves"]["epoch"]] == [2.0, 8.0]
    assert found["exponents"]["epoch"] == pytest.approx(1.0)
    assert found["left_out"] == [{"size": 9, "technique": "QAT", "error": "not done in 240 s"}]
