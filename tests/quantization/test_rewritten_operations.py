"""TensorFlow operations that get another form, for integer kernels to follow."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers as kl
from keras import ops

import tfcompress as tfc
from exporters import export_tflite, load
from exporters.converting import convert_model
from tfcompress.keras_graph.inner_tensors import InnerTensors
from tfcompress.quantization.lowerings.kernels import _repeated_pixels
from tfcompress.quantization.lowerings.operations import FORMS, rewritings
from tfcompress.quantization.placement import Placement, PlacementError

SERIES = np.random.default_rng(0).normal(size=(32, 4, 3)).astype("float32")
INT16 = tfc.Scheme.int8_weights_int16_activations()

POWERS = (0.5, 1.0, 1.5, 2.0, 3.0, 1 / 3, 2.7)

OPERATIONS = {
    "AddV2": lambda x: tf.matmul(x, tf.ones((3, 1))) + tf.constant([1.0, -2.0, 0.5, 3.0]),
    "Cast": lambda x: tf.cast(x > 0.0, x.dtype),
    "Cumsum": lambda x: tf.cumsum(x, 1) + tf.cumsum(x, -1, exclusive=True, reverse=True),
    "Elu": tf.nn.elu,
    "Expm1": tf.math.expm1,
    "Log1p": lambda x: tf.math.log1p(tf.abs(x)),
    "Minimum": lambda x: tf.minimum(x, 1e12),
    "Bucketize": lambda x: tf.raw_ops.Bucketize(input=x, boundaries=[-0.5, 0.0, 0.3]),
    "DenseBincount": lambda x: tf.math.bincount(
        tf.cast(tf.abs(x), tf.int32), None, 3, 3, tf.float32, axis=-1
    ),
    "Einsum": lambda x: tf.einsum("bi,bd->bd", x, tf.square(x)),
    "Neg": tf.negative,
    "NotEqual": lambda x: tf.where(tf.not_equal(x, 0.5), x, 7.0),
    "OneHot": lambda x: tf.one_hot(tf.cast(tf.abs(x), tf.int32), 3, 2.0, -1.0, axis=1),
    "OnesLike": lambda x: x + tf.raw_ops.OnesLike(x=x),
    "Pow": lambda x: tf.stack([tf.abs(x) ** power for power in POWERS]),
    "RealDiv": lambda x: x / tf.sqrt(x * x + 0.5),
    "Relu6": lambda x: tf.nn.relu6(4.0 * x),
    "SelectV2": lambda x: tf.where(tf.math.is_finite(x), x, 0.0),
    "Selu": tf.nn.selu,
    "Sign": tf.sign,
    "Softplus": tf.nn.softplus,
    "Softsign": tf.nn.softsign,
    "Square": tf.square,
    "Sub": lambda x: 0.0 - x,
    "SquaredDifference": lambda x: tf.math.squared_difference(x, 0.3),
    "Sum": lambda x: tf.reduce_sum(x, [1], keepdims=True),
    "Tile": lambda x: tf.repeat(tf.tile(x, [1, 2]), 3, axis=1),
    "ZerosLike": lambda x: tf.maximum(x, tf.raw_ops.ZerosLike(x=x)),
}


def test_every_form_is_tried():
    elsewhere = {"ArgMax", "ArgMin", "AvgPool3D", "MaxPool3D"}  # in tests of the export
    assert OPERATIONS.keys() | elsewhere == FORMS.keys()


@pytest.mark.parametrize("kind", OPERATIONS)
def test_forms_compute_what_the_operations_do(kind):
    made = []

    @tf.function
    def rewritten(x):
        inner = InnerTensors()

        def form(operation):
            made.append(FORMS[kind](operation))
            return made[-1]

        with inner.within(lambda role, tensor: tensor, {kind: form}):
            return inner.read(OPERATIONS[kind](x))

    x = tf.constant([[0.5, -1.25, 0.0], [2.0, 0.3, -0.1]])
    np.testing.assert_allclose(rewritten(x), OPERATIONS[kind](x), rtol=1e-5, atol=1e-6)
    assert any(form is not None for form in made)


def test_indices_that_passed_through_floats_are_themselves():
    @tf.function
    def rewritten(x):
        inner = InnerTensors()
        with inner.within(lambda role, tensor: tensor, FORMS):
            floats = tf.reshape(tf.cast(x, tf.float32), [-1, 2, 1])
            return inner.read(tf.cast(floats, tf.int32))

    large = np.array([[2**24 + 1, 3]], "int32")  # which float32 does not have
    np.testing.assert_array_equal(rewritten(large)[..., 0], large)


def _on_vectors(function, width=6):
    inputs = keras.Input((8,))
    return keras.Model(inputs, function(kl.Dense(width, use_bias=False)(inputs)))


def _of_all_sizes():
    x = np.random.default_rng(1).normal(size=(64, 8)) * np.logspace(-3, 1, 64)[:, None]
    return x.astype("float32")


def _trained_alike(model, data):
    """Train a step, and require that the file is the model's to the last bit."""
    q = tfc.quantize_aware(model).calibrate(data)
    q.compile(keras.optimizers.SGD(1e-3), "mse", jit_compile=False)
    loss = q.fit(data, np.zeros((len(data), *model.output_shape[1:])), verbose=0).history["loss"]
    assert np.isfinite(loss).all()
    file = convert_model(q)
    with load(file.flatbuffer) as loaded:
        np.testing.assert_array_equal(loaded.predict(data)[0], q(data))
    return [operation.name for operation in file.content.subgraphs[0].operations]


class Thresholds(kl.Layer):
    """One score beside four thresholds, as ordinal regression has them."""

    def build(self, shape):
        self.thresholds = self.add_weight(shape=(4,), initializer="random_normal", name="bias")

    def call(self, x):
        return x + self.thresholds


def test_four_numbers_added_to_one_channel():
    inputs = keras.Input((8,))
    model = keras.Model(inputs, keras.ops.sigmoid(Thresholds()(kl.Dense(1)(inputs))))
    x = _of_all_sizes()
    with load(convert_model(model, "float32").flatbuffer) as loaded:
        np.testing.assert_allclose(loaded.predict(x)[0], model(x), atol=1e-6)
    assert "ADD" in _trained_alike(model, x)


@pytest.mark.parametrize("power", [-2.0, -1.0, -0.5])
def test_negative_powers_are_quotients_and_roots(power):
    model = _on_vectors(lambda x: ops.power(ops.abs(x) + 0.5, power))
    assert "POW" not in _trained_alike(model, _of_all_sizes())


@pytest.mark.parametrize(
    "divided",
    [
        lambda y: y / (ops.norm(y, axis=-1, keepdims=True) + 1e-3),
        lambda y: y / (ops.abs(y) + 1e-3),
        lambda y: y / ops.maximum(ops.mean(ops.square(y), -1, keepdims=True), 1e-3),
    ],
    ids=["norm", "absolute", "maximum"],
)
def test_a_divisor_that_rounds_to_zero_is_one_step(divided):
    model, data = _on_vectors(divided), _of_all_sizes()
    assert "MAXIMUM" in _trained_alike(model, data)
    with load(convert_model(model, "int8", representative_data=data).flatbuffer) as loaded:
        (found,) = loaded.predict(data)
    expected = model(data).numpy()
    error, size = np.abs(found - expected), np.abs(expected).max()
    assert (found * np.sign(expected) >= -0.05 * size).all()
    dividend = np.abs(model.layers[1](data))
    assert error[dividend > 0.2 * dividend.max()].max() <= 0.1 * size


def test_a_constant_divided_by_what_may_be_small():
    model, data = _on_vectors(lambda y: 2.0 / (ops.abs(y) + 1e-3)), _of_all_sizes()
    with load(convert_model(model, "int8", representative_data=data).flatbuffer) as loaded:
        (found,) = loaded.predict(data)
    expected = model(data).numpy()
    large = expected < 1.0  # by a divisor of many steps
    assert large.any()
    assert (found[large] <= 3 * expected[large] + 0.05 * found.max()).all()


def test_a_prelu_beside_a_transposition(tmp_path):
    inputs = keras.Input((4, 3))
    x = ops.transpose(kl.Conv1D(3, 1)(inputs), (0, 2, 1))
    x = kl.PReLU(keras.initializers.RandomUniform(0.1, 0.4, seed=0))(x)
    model = keras.Model(inputs, ops.flip(x, axis=1))
    report = export_tflite(model, tmp_path / "m.tflite", representative_data=SERIES).report
    assert report.float_operations == ()
    _trained_alike(model, SERIES)


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (kl.UpSampling1D(3), (7, 2)),
        (kl.UpSampling2D((2, 3)), (5, 7, 2)),
        (kl.UpSampling3D(2), (3, 4, 5, 2)),
        (kl.RepeatVector(3), (4,)),
    ],
    ids=["1D", "2D", "3D", "a vector"],
)
def test_repeated_values_need_no_tile(layer, shape):
    model = keras.Sequential([keras.Input(shape), kl.Dense(2), layer])
    data = np.random.default_rng(0).normal(size=(8, *shape)).astype("float32")
    kinds = _trained_alike(model, data)
    assert "TILE" not in kinds
    assert ("RESIZE_NEAREST_NEIGHBOR" in kinds) == (len(shape) > 1)


@pytest.mark.parametrize("factor", range(2, 60))
def test_pixels_are_repeated_exactly(factor):
    images = np.arange(1.0, 42.0, dtype="float32").reshape(1, 41, 1, 1)
    found = _repeated_pixels(images, (factor, 1))
    np.testing.assert_array_equal(found, np.repeat(images, factor, 1))


def test_operations_without_integer_kernels_are_trained(tmp_path):
    inputs = keras.Input((4, 3))
    x = kl.Dense(3)(inputs)
    outputs = ops.concatenate([-x, ops.square(x), ops.softplus(x), ops.cast(x > 0.1, x.dtype)], -1)
    q = tfc.quantize_aware(keras.Model(inputs, outputs))
    q.compile(keras.optimizers.SGD(0.01), "mse", jit_compile=False)
    q.fit(SERIES, np.zeros((32, 4, 12)), verbose=0)
    report = export_tflite(q, tmp_path / "m.tflite", validation_data=SERIES).report
    assert report.float_operations == ()
    assert report.agreement.within_one >= 0.99
    assert Placement.from_config(q.placement.get_config()) == q.placement


def test_the_converter_quantizes_what_it_would_leave_in_float(tmp_path):
    inputs = keras.Input((4, 3))
    x = kl.Dense(3, activation="gelu")(inputs)  # which the converter knows by its parts, a negation
    model = keras.Model(inputs, ops.concatenate([-x, ops.cast(x > 0.1, x.dtype)], -1))
    report = export_tflite(model, tmp_path / "m.tflite", representative_data=SERIES).report
    assert report.float_operations == ()
    assert "GELU" in report.operations
    assert report.agreement.largest <= 4


@pytest.mark.parametrize("scheme", [INT16, "int16x8"])
def test_sums_of_16_bits(scheme, tmp_path):
    inputs = keras.Input((4, 3))
    model = keras.Model(inputs, ops.sum(kl.Dense(3)(inputs), axis=1))
    report = export_tflite(model, tmp_path / "m.tflite", scheme, representative_data=SERIES).report
    assert max(run.outputs[0].largest for run in report.agreement.runs) < 0.05


@pytest.mark.parametrize("scheme", [INT16, "int16x8"])
def test_hard_swish_of_16_bits(scheme, tmp_path):
    inputs = keras.Input((4, 3))
    model = keras.Model(inputs, kl.Dense(3, activation="hard_swish")(inputs))
    report = export_tflite(model, tmp_path / "m.tflite", scheme, representative_data=SERIES).report
    assert report.float_operations == ()
    assert max(run.outputs[0].largest for run in report.agreement.runs) < 0.05


@pytest.mark.parametrize("scheme", ["int8", "int16x8"])
def test_a_softmax_by_its_parts(scheme, tmp_path):
    inputs = keras.Input((4, 3))
    logits = kl.Dense(3)(inputs)
    scores = ops.exp(logits)

    def report(shares):
        # Over another axis, which no operation has: it stays in parts.
        outputs = [shares, scores / ops.sum(scores, axis=1, keepdims=True)]
        model = keras.Model(inputs, outputs)
        data = {"representative_data": SERIES}
        return export_tflite(model, tmp_path / "m.tflite", scheme, repair=False, **data).report

    ours = report(scores / ops.sum(scores, axis=-1, keepdims=True))
    twin = report(ops.softmax(logits))
    assert ours.operations == twin.operations
    assert ours.operations["SOFTMAX"] == 1
    one, other = (r.agreement.ran[0].outputs[0] for r in (ours, twin))
    assert (one.equal, one.largest) == pytest.approx((other.equal, other.largest), rel=1e-3)


def test_far_limits_do_not_overflow_16_bits(tmp_path):
    inputs = keras.Input((4, 3))
    model = keras.Model(inputs, kl.UnitNormalization()(kl.Dense(3)(inputs)))
    result = export_tflite(model, tmp_path / "m.tflite", "int16x8", representative_data=SERIES)
    assert max(run.outputs[0].largest for run in result.report.agreement.runs) < 0.05


def test_models_that_need_no_other_form_keep_theirs(small_net):
    assert tfc.quantize_aware(small_net()).placement.rewritten == rewritings(8)[0]


def test_a_bare_operation_is_named_and_let_through(tmp_path):
    inputs = keras.Input((3,))
    model = keras.Model(inputs, kl.Dense(2)(ops.floor(kl.Dense(3)(inputs))))
    (name,) = [operation.name for operation in model.operations if "floor" in operation.name]
    with pytest.raises(PlacementError, match=f"{name}: FLOOR"):
        tfc.quantize_aware(model)
    q = tfc.quantize_aware(model, allow_float=[name]).calibrate(SERIES[:, 0])
    report = export_tflite(q, tmp_path / "m.tflite").report
    assert "FLOOR" in report.float_operations


def test_an_einsum_sums_what_one_operand_alone_has():
    inputs = keras.Input((4, 3))
    weights = keras.ops.softmax(kl.Dense(2)(inputs), axis=1)
    model = keras.Model(inputs, keras.ops.einsum("bti,btd->bd", weights, inputs))
    with load(convert_model(model, "float32").flatbuffer) as loaded:
        np.testing.assert_allclose(loaded.predict(SERIES)[0], model(SERIES), atol=1e-5)
    assert "SUM" in _trained_alike(model, SERIES)
