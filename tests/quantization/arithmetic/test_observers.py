import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfcompress.quantization.arithmetic.observers import (
    NO_RANGE,
    LeastDivergence,
    LeastError,
    MinMax,
    MovingAverage,
    Percentile,
    get_observer,
    histogram,
    least_divergence_range,
    least_error_range,
    moving_range,
    observed_range,
    percentile_range,
    wider_range,
)


def follow(observer, batches, bits=8, symmetric=False):
    value_range = tf.constant(NO_RANGE)
    for batch in batches:
        observed = observer.observe(tf.constant(batch, tf.float32), bits, symmetric)
        value_range = observer.follow(value_range, observed)
    return value_range.numpy()


@pytest.mark.parametrize(
    ("values", "expected"),
    [([-2.0, 3.0], [-2.0, 3.0]), ([1.0, 3.0], [0.0, 3.0]), ([-2.0, -1.0], [-2.0, 0.0])],
)
def test_observed_range_holds_zero(values, expected):
    assert observed_range(tf.constant(values)).numpy().tolist() == expected


@pytest.mark.parametrize("values", [[-2.0, 9.0], [-3.0, -1.0], [1.0, 2.0]])
@pytest.mark.parametrize("rectifier", [tf.nn.relu, tf.nn.relu6])
def test_the_range_behind_a_rectifier_is_that_of_its_input_cut_off(values, rectifier):
    expected = observed_range(rectifier(tf.constant(values))).numpy()
    step = tf.function(lambda x: observed_range(rectifier(x)))
    assert (step(tf.constant(values)).numpy() == expected).all()
    graph = step.get_concrete_function(tf.constant(values)).graph
    (rectified,) = (each for each in graph.get_operations() if each.type.startswith("Relu"))
    assert not rectified.outputs[0].consumers()


@pytest.mark.parametrize(("examples", "expected"), [(1, [-2.0, 1.0]), (9, [-2.0, 3.0])])
def test_only_the_first_examples_are_looked_at(examples, expected):
    values = tf.constant([[-2.0, 1.0], [0.0, 3.0]])
    assert observed_range(values, tf.constant([examples])).numpy().tolist() == expected


def test_wider_range_by_hand():
    joined = wider_range(tf.constant([-1.0, 2.0]), tf.constant([0.0, 5.0]))
    assert joined.numpy().tolist() == [-1.0, 5.0]


def test_moving_range_starts_from_the_first_batch():
    first = moving_range(tf.constant(NO_RANGE), tf.constant([-1.0, 2.0]), 0.75)
    assert first.numpy().tolist() == [-1.0, 2.0]
    second = moving_range(first, tf.constant([-3.0, 4.0]), 0.75)
    assert second.numpy().tolist() == [-1.5, 2.5]


def test_a_range_of_zeros_has_been_seen():
    first = moving_range(tf.constant(NO_RANGE), tf.constant([0.0, 0.0]), 0.75)
    second = moving_range(first, tf.constant([0.0, 4.0]), 0.75)
    assert second.numpy().tolist() == [0.0, 1.0]


def test_min_max_keeps_the_extremes():
    assert follow(MinMax(), [[1.0, 5.0], [-2.0, 3.0], [0.0, 4.0]]).tolist() == [-2.0, 5.0]


def test_histogram_by_hand():
    values, value_range = tf.constant([-0.9, -0.1, 0.1, 0.2, 1.0]), tf.constant([-1.0, 1.0])
    counts, edges = histogram(values, value_range, bins=4)
    assert counts.numpy().tolist() == [1.0, 1.0, 2.0, 1.0]
    np.testing.assert_allclose(edges, [-1.0, -0.5, 0.0, 0.5, 1.0])


def test_histogram_of_zeros_counts_them():
    counts, _ = histogram(tf.zeros(7), tf.constant([0.0, 0.0]), bins=4)
    assert counts.numpy().sum() == 7


def test_percentile_range_leaves_out_rare_values_at_both_ends():
    counts = tf.constant([1.0, 2.0, 94.0, 2.0, 1.0])
    edges = tf.constant([-3.0, -2.0, -1.0, 1.0, 2.0, 3.0])
    assert percentile_range(counts, edges, 98.5).numpy().tolist() == [-2.0, 2.0]
    assert percentile_range(counts, edges, 96.5).numpy().tolist() == [-1.0, 1.0]
    assert percentile_range(counts, edges, 100.0).numpy().tolist() == [-3.0, 3.0]


def test_percentile_is_that_of_numpy_within_a_bin():
    values = np.random.default_rng(0).normal(size=20_000).astype("float32")
    found = follow(Percentile(99.0), [values])
    bin_width = np.ptp(values) / 2048
    np.testing.assert_allclose(found, np.percentile(values, [1, 99]), atol=2 * bin_width)


def quantization_error(values, smallest, largest, bits):
    step = (largest - smallest) / (2**bits - 1)
    return np.mean((np.clip(np.round(values / step) * step, smallest, largest) - values) ** 2)


@pytest.mark.parametrize("symmetric", [False, True])
def test_least_error_range_beats_the_full_range_where_there_are_outliers(symmetric):
    values = np.random.default_rng(0).normal(size=10_000).astype("float32")
    values[0] = 20.0
    full = observed_range(tf.constant(values)).numpy()
    found = follow(LeastError(), [values], bits=4, symmetric=symmetric)
    assert 1.0 < found[1] < 10.0
    largest = max(-found[0], found[1]) if symmetric else found[1]
    smallest = -largest if symmetric else found[0]
    better = quantization_error(values[1:], smallest, largest, 4)
    assert better < 0.1 * quantization_error(values[1:], *full, 4)


def test_least_error_range_is_the_best_of_its_candidates():
    values = np.random.default_rng(0).exponential(size=5_000).astype("float32")
    counts, edges = histogram(tf.constant(values), observed_range(tf.constant(values)))
    found = least_error_range(counts, edges, 4, symmetric=False).numpy()
    errors = {
        share: quantization_error(values, 0.0, share * values.max(), 4)
        for share in np.arange(1, 65) / 64
    }
    best = min(errors, key=errors.get) * values.max()
    assert abs(found[1] - best) <= values.max() / 64 + 1e-6


def test_uniform_values_are_not_clipped():
    values = np.linspace(0.0, 1.0, 4096, dtype="float32")
    assert follow(LeastError(), [values])[1] == pytest.approx(1.0, abs=1 / 64)


def divergence(counts, edges, share, bits):
    """Compute by loops what the range from 0 to a share of the last edge loses."""
    step = share * edges[-1] / (2**bits - 1)
    levels = [round((a + b) / 2 / step) for a, b in itertools.pairwise(edges)]
    inside = [level <= 2**bits - 1 for level in levels]
    whole, last = np.array(counts, float), max(i for i, kept in enumerate(inside) if kept)
    whole[0] = 0.0  # zeros are on every grid
    kept = whole * inside
    whole[last] += whole[last + 1 :].sum()
    whole[last + 1 :] = 0.0
    spread = np.zeros(len(counts))
    for level in set(levels):
        members = [i for i, own in enumerate(levels) if own == level and kept[i] > 0]
        spread[members] = kept[members].mean() if members else 0.0
    p, q = whole / whole.sum(), np.maximum(spread / spread.sum(), 1e-6)
    return sum(a * np.log(a / b) for a, b in zip(p, q, strict=True) if a > 0)


def test_least_divergence_range_is_the_best_of_its_candidates():
    generator = np.random.default_rng(0)
    edges = np.linspace(0.0, 8.0, 257).astype("float32")
    counts = np.round(1000 * np.exp(-edges[:-1]) + generator.random(256)).astype("float32")
    found = least_divergence_range(tf.constant(counts), tf.constant(edges), 4, False).numpy()
    losses = {s: divergence(counts, edges, s, 4) for s in np.arange(1, 65) / 64}
    assert found.tolist() == [0.0, 8.0 * min(losses, key=losses.get)]
    assert found[1] < 8.0


def test_least_divergence_leaves_out_an_outlier_and_keeps_what_is_uniform():
    values = np.random.default_rng(0).normal(size=20_000).astype("float32")
    values[0] = 40.0
    smallest, largest = follow(LeastDivergence(), [values])
    assert 2.0 < largest < 12.0
    assert -12.0 < smallest < -2.0
    uniform = np.linspace(0.0, 1.0, 4096, dtype="float32")
    assert follow(LeastDivergence(), [uniform])[1] == pytest.approx(1.0, abs=1 / 64)
    assert follow(LeastDivergence(), [np.zeros(16, "float32")]).tolist() == [0.0, 0.0]


@pytest.mark.parametrize("name", ["moving_average", "min_max", "percentile", "mse", "kl"])
def test_every_observer_by_name_in_a_graph_and_in_a_file(name):
    observer = get_observer(name)
    config = keras.saving.serialize_keras_object(observer)
    twin = keras.saving.deserialize_keras_object(config)
    assert type(twin) is type(observer)
    assert twin.get_config() == observer.get_config()
    batch = tf.constant([[-1.0, 0.5, 2.0], [0.0, 1.0, 1.5]])

    @tf.function
    def step(observer_range):
        return twin.follow(observer_range, twin.observe(batch, 8, False))

    found = step(tf.constant(NO_RANGE)).numpy()
    np.testing.assert_allclose(found, [-1.0, 2.0], atol=0.1)


def test_observer_object_is_taken_as_it_is():
    observer = Percentile(99.0, momentum=0.5)
    assert get_observer(observer) is observer


@pytest.mark.parametrize("identifier", ["maximum", None, 3])
def test_unknown_observer(identifier):
    with pytest.raises(ValueError, match=rf"'percentile'.*Received: observer={identifier!r}"):
        get_observer(identifier)


@pytest.mark.parametrize("momentum", [-0.1, 1.0])
def test_bad_momentum(momentum):
    with pytest.raises(ValueError, match=f"Received: momentum={momentum}"):
        MovingAverage(momentum)


@pytest.mark.parametrize("percentile", [50, 100.1])
def test_bad_percentile(percentile):
    with pytest.raises(ValueError, match=f"Received: percentile={percentile}"):
        Percentile(percentile)


@pytest.mark.parametrize("rectify", [tf.nn.relu, tf.nn.relu6, tf.identity])
def test_the_minimum_of_rectified_values_in_a_graph_is_zero(rectify):
    observed = tf.function(lambda x: observed_range(rectify(x)))(tf.constant([-2.0, 1.5]))
    assert observed.numpy().tolist() == [-2.0 if rectify is tf.identity else 0.0, 1.5]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([-1e9, 2.0, -3.0], [-11.0, 2.0]),  # scores: a little below the smallest that counts
        ([-1e9, 0.0, 0.0], [-1024.0, 0.0]),  # a mask that is to be added to scores
        ([-1e5, 2.0], [-1e5, 2.0]),
    ],
)
@pytest.mark.parametrize("traced", [False, True])
def test_masked_values_take_no_bits_from_others(values, expected, traced):
    def observe(x):
        return observed_range(x + tf.zeros_like(x))

    found = (tf.function(observe) if traced else observe)(tf.constant(values))
    np.testing.assert_allclose(found, expected, rtol=1e-6)
