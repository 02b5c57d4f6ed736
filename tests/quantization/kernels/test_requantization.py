import numpy as np
import pytest
import tensorflow as tf

from tfcompress.quantization.kernels import requantization as rq


def by_frexp(real):
    """Do in NumPy what the kernels do with std::frexp."""
    fraction, exponent = np.frexp(real)
    multiplier = np.floor(fraction * 2.0**31 + 0.5).astype("i8")
    carried = multiplier == 1 << 31
    multiplier, exponent = np.where(carried, 1 << 30, multiplier), exponent + carried
    return np.where(exponent < -31, 0, multiplier), np.where(exponent < -31, 0, exponent)


@pytest.mark.parametrize("wrapped", [lambda function: function, tf.function])
def test_multiplier_is_that_of_frexp(wrapped):
    random = np.random.default_rng(0)
    real = np.concatenate(
        [
            2.0 ** random.uniform(-34, 12, 20000),
            2.0 ** np.arange(-34.0, 12.0),
            1.0 - 2.0 ** -np.arange(20.0, 53.0),  # from 2**-32 on, rounding carries to 1.0
            [0.0],
        ]
    )
    multiplier, shift = wrapped(rq.fixed_point_multiplier)(tf.constant(real, tf.float64))
    expected, exponent = by_frexp(real)
    np.testing.assert_array_equal(multiplier, expected)
    np.testing.assert_array_equal(shift, exponent)


def test_carry_makes_a_power_of_two():
    multiplier, shift = rq.fixed_point_multiplier(tf.constant(1.0 - 2.0**-40, tf.float64))
    assert (int(multiplier), int(shift)) == (1 << 30, 1)


def multiplied(values, real, **fields):
    parts = rq.fixed_point_multiplier(tf.constant(real, tf.float64))
    return rq.multiply_fixed_point(tf.constant(values), *parts, **fields).numpy().tolist()


def test_product_is_rounded_twice():
    # 0.45 is 0.9 of a half: 0.9 is rounded to 1, and its half to 1.
    assert multiplied([1, -1, 10], 0.45) == [1, -1, 5]


def test_vector_instructions_take_halves_up():
    assert multiplied([2, -2, -6], 0.25) == [1, -1, -2]
    assert multiplied([2, -2, -6], 0.25, vectorized=True) == [1, 0, -1]
    assert multiplied([-2, -2], 0.25, vectorized=tf.constant([True, False])) == [0, -1]


def test_multiplier_above_one_shifts_left():
    assert multiplied([3, -3], 2.5) == [8, -7]


def test_16_bits_keep_15_bits_of_the_multiplier():
    # 0.3 is 19661 * 2**-16 in 15 bits: 0.3000031.
    parts = rq.fixed_point_multiplier(tf.constant(0.3, tf.float64))
    values = tf.constant([1_000_000, -1_000_000], tf.int64)
    assert rq.multiply_16_bit(values, *parts).numpy().tolist() == [300003, -300003]


def test_16_bit_multiplier_just_below_a_power_of_two():
    # Rounded to 15 bits it would be 2**15, which 16 bits do not hold: 0x7fff stays.
    parts = rq.fixed_point_multiplier(tf.constant(1.0 - 2.0**-20, tf.float64))
    values = tf.constant([1 << 15], tf.int64)
    assert rq.multiply_16_bit(values, *parts).numpy().tolist() == [0x7FFF]


@pytest.mark.parametrize(
    ("scale", "zero_point", "xnnpack", "reference"),
    [
        (12.0, 0, [0, 0], [0, 1]),  # 6 is half a step
        (12.0, 1, [1, 2], [1, 2]),  # 0.5 + 1 goes to the even 2
        (12.0, -101, [-101, -100], [-101, -100]),
        (0.02, -128, [-128, 127], [-128, 127]),  # 300 steps do not fit
    ],
)
def test_limits_of_relu6(grid, scale, zero_point, xnnpack, reference):
    described = grid(scale, zero_point)
    for kernels, expected in (("xnnpack", xnnpack), ("reference", reference)):
        limits = rq.activation_limits("RELU6", described, kernels)
        assert [float(limit) for limit in limits] == expected


def test_limits_of_the_other_activations(grid):
    described = grid(0.5, 3)
    found = {
        name: [float(limit) for limit in rq.activation_limits(name, described, "reference")]
        for name in ("NONE", "RELU", "RELU_N1_TO_1")
    }
    assert found == {"NONE": [-128, 127], "RELU": [3, 127], "RELU_N1_TO_1": [1, 5]}


def test_unknown_activation_is_refused(grid):
    with pytest.raises(ValueError, match="Received: TANH"):
        rq.activation_limits("TANH", grid(1.0), "xnnpack")


def test_type_without_a_range_is_refused(grid):
    with pytest.raises(ValueError, match="Received: a tensor of INT32"):
        rq.activation_limits("NONE", grid(1.0, dtype="INT32"), "xnnpack")


def test_division_by_a_constant_stays_a_division():
    values = np.random.default_rng(1).normal(size=100000).astype("f4")
    divided = tf.function(lambda x: rq.quotient(x, tf.constant(np.float32(0.37))))
    np.testing.assert_array_equal(divided(tf.constant(values)), values / np.float32(0.37))


@pytest.mark.parametrize("constant", [0, 1, 2])
def test_factor_in_float32_is_rounded_after_each_step(constant):
    scales = (2.0 ** np.random.default_rng(2).uniform(-12, 0, (3, 5000))).astype("f4")
    expected = scales[1] * scales[2] / scales[0]
    np.testing.assert_array_equal(rq.factor("xnnpack", *scales), expected)

    @tf.function
    def with_a_constant(*rest):
        given = list(rest)
        given.insert(constant, tf.constant(scales[constant]))
        return rq.factor("xnnpack", *given)

    rest = [tf.constant(each) for index, each in enumerate(scales) if index != constant]
    np.testing.assert_array_equal(with_a_constant(*rest), expected)


def test_factors_in_float64_and_float32():
    # The quotient is a little less than 3 / 2, which is the nearest number of float32.
    scales = tf.constant(7.878988253651187e-05), tf.constant(0.000118184820166789)
    assert float(rq.factor("xnnpack", *scales)) == 1.5
    assert float(rq.factor("micro", *scales)) == float(scales[1]) / float(scales[0]) < 1.5
