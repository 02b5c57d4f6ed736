"""What the timings are made of: turns, ratios, models, exponents."""

import keras
import pytest
import tf_keras


def test_works_run_one_at_a_time_round_and_round():
    from turns import take_turns

    seen = []

    def work(name, pieces):
        def run(turns):
            for piece in range(pieces):
                seen.append((name, piece))
                turns.hand_over(name)
                turns.wait(name)

        return run

    take_turns({"a": work("a", 3), "b": work("b", 1), "c": work("c", 2)})
    assert seen == [("a", 0), ("b", 0), ("c", 0), ("a", 1), ("c", 1), ("a", 2)]


def test_ratios_are_taken_within_a_turn():
    from ratios import compare

    # The machine is ten times slower in the second turn; the ratio stays.
    plain = {"first_epoch_s": [2.0, 4.0, 8.0], "step_s": [1.0, 10.0, 1.0]}
    changed = {"first_epoch_s": [3.0, 6.0, 8.0], "step_s": [1.5, 15.0, 3.0]}
    found = compare(changed, plain)
    assert found["first_epoch"] == 1.5
    assert found["step"] == 1.5
    assert found["step_quartiles"] == [1.5, 3.0]
    assert found["turns"] == 3


@pytest.mark.parametrize(("name", "weights"), [("ResNet-8", 78_666), ("DS-CNN", 24_778)])
def test_models_are_the_same_in_both_libraries(name, weights):
    from timed_models import MODELS

    ours, theirs = MODELS[name](keras), MODELS[name](tf_keras)
    assert ours.count_params() == theirs.count_params() == weights
    assert ours.output_shape == theirs.output_shape == (None, 10)


@pytest.mark.parametrize("exponent", [0.0, 0.5, 1.0, 2.0])
def test_the_exponent_is_the_slope_of_the_logarithms(exponent):
    from growth import fit_exponent

    sizes = [1e5, 1e6, 2e7]
    seconds = [3e-6 * size**exponent for size in sizes]
    assert fit_exponent(sizes, seconds) == pytest.approx(exponent, abs=1e-9)


def test_the_network_of_growth_grows_with_the_square_of_its_width():
    from growth_work import BLOCKS, make_model

    width = 20
    kernels = 27 * width + BLOCKS * (9 * width + width**2) + 10 * width + 10
    normalizations = 4 * width * (1 + 2 * BLOCKS)
    assert make_model(width).count_params() == kernels + normalizations


def test_the_front_holds_what_no_file_beats():
    from sections.pareto import File, front

    points = [
        File("big", 9, 90, theirs=False),
        File("small", 1, 50, theirs=False),
        File("beaten", 5, 60, theirs=False),
        File("middle", 4, 70, theirs=False),
        File("twin", 9, 80, theirs=False),
    ]
    assert [point.label for point in front(points)] == ["small", "middle", "big"]


def test_a_file_stands_above_a_line_that_is_straight_in_the_logarithm_of_bytes():
    from sections.pareto import File, highest_above

    line = [File("a", 100, 50.0, theirs=False), File("b", 10_000, 70.0, theirs=False)]

    def above(size, accuracy):
        return highest_above(line, [File("theirs", size, accuracy, theirs=True)])

    assert above(1000, 60.5) == pytest.approx(0.5)
    assert above(1000, 58.0) == pytest.approx(-2.0)
    assert above(50_000, 71.0) == pytest.approx(1.0)
    assert above(99, 10.0) == float("inf")


def test_a_contender_that_cannot_train_is_left_out_with_its_reason(monkeypatch):
    import dataclasses

    import training_cost
    from timed_models import MODELS

    def refuse(model, steps):
        raise RuntimeError("unsupported layer")

    peer = dataclasses.replace(training_cost.CONTENDERS["tf_keras, plain"], set_up=refuse)
    absent = dataclasses.replace(peer, library=None)
    monkeypatch.setitem(training_cost.CONTENDERS, "refuses", peer)
    monkeypatch.setitem(training_cost.CONTENDERS, "absent", absent)
    monkeypatch.setattr(training_cost, "NO_PEERS", "TFMOT is not installed")
    build = MODELS["DS-CNN"]
    times = {name: training_cost.Times() for name in ("refuses", "Keras 3, plain", "absent")}
    data = training_cost.make_data(build(keras), 5)
    reasons = training_cost.run_round(list(times), build, data, 2, times)
    assert reasons == {
        "refuses": "RuntimeError: unsupported layer",
        "absent": "TFMOT is not installed",
    }
    found = times["Keras 3, plain"]
    assert [len(found.first_epoch_s), len(found.step_s), len(found.export_s)] == [1, 1, 1]
    assert found.first_epoch_s[0] > 0
