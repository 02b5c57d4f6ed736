"""Models as people publish them, each with something that conversions got wrong."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter
from keras import layers as kl
from keras import ops

import tfcompress as tfc
from exporters import export_tflite, validate
from exporters.converting import convert_model
from exporters.deployed_outputs import deployed_outputs
from exporters.running.runtime import load
from keras_callbacks import DeployedAccuracy
from tfcompress.quantization.float_file import ConversionError

RANDOM = np.random.default_rng(0)


def both_ways(model, x, path):
    """Return the evidence of an export after training, and of a quantization-aware one."""
    after = export_tflite(model, path, "int8", representative_data=x).report
    quantized = tfc.quantize_aware(model).calibrate(x)
    trained = export_tflite(quantized, path, validation_data=x).report
    assert after.float_operations == trained.float_operations == ()
    assert [output.equal for output in trained.agreement.runs[0].outputs] == [1.0] * len(
        model.outputs
    )
    return after.agreement, trained.agreement


def decibels(model, x, path):
    """Return how much stronger each of a model's outputs is than the errors of its file."""
    exact = [np.asarray(output) for output in keras.tree.flatten(model(x))]
    with load(str(path)) as loaded:
        noise = [found - wanted for found, wanted in zip(loaded.predict(x), exact, strict=True)]
    pairs = zip(exact, noise, strict=True)
    return [10 * np.log10((output**2).sum() / (off**2).sum()) for output, off in pairs]


def test_a_rectifier_of_a_rectified_convolution(tmp_path):
    inputs = keras.Input((8, 8, 3))
    outputs = [
        last()(kl.ReLU()(kl.Conv2D(4, 3, activation="relu")(inputs)))
        for last in (kl.ReLU, kl.Flatten)
    ]
    model = keras.Model(inputs, outputs)
    both_ways(model, RANDOM.random((16, 8, 8, 3), "float32"), tmp_path / "m")


def test_patches_of_images(tmp_path):
    inputs = keras.Input((8, 8, 3))
    patches = ops.reshape(ops.image.extract_patches(inputs, 4), (-1, 4, 48))
    model = keras.Model(inputs, kl.Dense(5)(patches))
    both_ways(model, RANDOM.random((16, 8, 8, 3), "float32"), tmp_path / "m")


@pytest.mark.parametrize("features", [6, 8])
def test_a_gate_of_one_channel_is_no_bias(features, tmp_path):
    inputs = keras.Input((8, features))
    model = keras.Model(inputs, inputs + kl.Dense(1)(inputs))
    x = RANDOM.normal(size=(16, 8, features)).astype("float32")
    export_tflite(model, tmp_path / "f", "float32")
    with load(str(tmp_path / "f")) as loaded:
        np.testing.assert_allclose(loaded.predict(x)[0], model.predict(x, verbose=0), atol=1e-5)
    both_ways(model, x, tmp_path / "m")


def test_a_layer_that_returns_nothing_beside_a_tensor(tmp_path):
    class Inner(kl.Layer):
        def build(self, shape):
            self.dense = kl.Dense(4)
            self.dense.build(shape)

        def call(self, x):
            return self.dense(x), None

    class Outer(kl.Layer):
        def build(self, shape):
            self.inner = Inner()
            self.inner.build(shape)

        def call(self, x):
            return self.inner(x)[0]

    inputs = keras.Input((4,))
    model = keras.Model(inputs, Outer()(inputs))
    both_ways(model, RANDOM.random((16, 4), "float32"), tmp_path / "m")


def test_inputs_have_the_users_names_in_every_file(tmp_path):
    inputs = {name: keras.Input((2,), name=name) for name in ("hours", "age")}
    model = keras.Model(inputs, kl.Dense(2)(kl.Concatenate()(list(inputs.values()))))
    data = {name: RANDOM.random((16, 2), "float32") for name in inputs}
    path = tmp_path / "m.tflite"
    for exported in (model, tfc.quantize_aware(model).calibrate(data)):
        export_tflite(exported, path, representative_data=data)
        interpreter = Interpreter(model_path=str(path))
        assert {d["name"] for d in interpreter.get_input_details()} == {"hours", "age"}
        assert set(interpreter.get_signature_list()["serving_default"]["inputs"]) == set(inputs)


def test_two_outputs_of_one_layer(tmp_path):
    inputs = keras.Input((6, 4))
    model = keras.Model(inputs, ops.split(kl.Dense(4)(inputs), 2, axis=-1))
    report = export_tflite(model, tmp_path / "m", "float32").report
    assert [output["shape"] for output in report.outputs] == [[1, 6, 2], [1, 6, 2]]


def test_a_text_classifier_of_any_weights(tmp_path):
    inputs = keras.Input((10,), dtype="int32")
    outputs = []
    for seed in range(4):
        keras.utils.set_random_seed(seed)
        x = kl.GlobalAveragePooling1D()(kl.Embedding(20, 8)(inputs))
        outputs.append(kl.Dense(1, activation="sigmoid")(x))
    model = keras.Model(inputs, outputs)
    quantized = tfc.quantize_aware(model).calibrate(RANDOM.integers(0, 20, (32, 10)))
    report = export_tflite(quantized, tmp_path / "m").report  # on indices that the table has
    assert report.float_operations == ()
    assert [output.equal for output in report.agreement.runs[0].outputs] == [1.0] * 4


PAST = np.tril(np.ones((6, 6), "float32")) > 0
BIAS = np.float32([[-0.5 * abs(i - j) for i in range(6)] for j in range(6)])
MASKS = {
    "-1e9 added": lambda scores: scores + np.where(PAST, 0, -1e9).astype("float32"),
    "-1e4 added": lambda scores: scores + (1.0 - PAST) * -1e4,
    "-100 added": lambda scores: scores + (1.0 - PAST) * -100.0,
    "-inf chosen": lambda scores: ops.where(PAST, scores, -np.inf),
    "-inf added": lambda scores: scores + np.where(PAST, 0, -np.inf).astype("float32"),
    "beside a bias": lambda scores: scores + np.where(PAST, BIAS, -1e9).astype("float32"),
    "before a bias": lambda scores: (scores + (1.0 - PAST) * -1e4) + BIAS,
    "from a number": lambda scores: scores - 1e4 * (1.0 - ops.cast(PAST, "float32")),
}


def test_a_mask_of_ones_own_leaves_scores_their_bits(tmp_path):
    inputs, outputs = keras.Input((6, 4)), []
    for mask in MASKS.values():
        keras.utils.set_random_seed(0)
        query, key = kl.Dense(8)(inputs), kl.Dense(8)(inputs)
        scores = mask(ops.matmul(query, ops.transpose(key, (0, 2, 1))))
        outputs.append(kl.Dense(3)(ops.matmul(ops.softmax(scores), inputs)))
    model = keras.Model(inputs, outputs)
    x = np.random.default_rng(0).normal(size=(64, 6, 4)).astype("float32")
    both_ways(model, x, tmp_path / "m")
    found = dict(zip(MASKS, decibels(model, x, tmp_path / "m"), strict=True))
    assert {mask: ratio for mask, ratio in found.items() if ratio <= 28} == {}


@pytest.mark.parametrize(
    "attention",
    [kl.MultiHeadAttention(2, 4), kl.MultiHeadAttention(2, 4, dropout=0.1)],
    ids=["fused", "in steps"],
)
def test_a_query_of_which_all_is_masked(attention, tmp_path):
    tokens = keras.Input((6,), dtype="int32")
    x = kl.Embedding(10, 8, mask_zero=True)(tokens)
    x = kl.GlobalAveragePooling1D()(attention(x, x, use_causal_mask=True))
    model = keras.Model(tokens, kl.Dense(3)(x))
    data = np.random.default_rng(0).integers(1, 10, (64, 6))
    data[::2, 0] = 0  # the first query sees itself alone
    both_ways(model, data, tmp_path / "m")
    assert decibels(model, data, tmp_path / "m")[0] > 20


def centred(x):
    return x - ops.mean(x, axis=(1, 2), keepdims=True)


def variance(x):
    return ops.mean(ops.square(centred(x)), axis=(1, 2), keepdims=True) + 1e-3


def by_moments(x):
    mean, deviation = ops.moments(x, axes=(1, 2), keepdims=True)
    return (x - mean) * ops.rsqrt(deviation + 1e-3)


PLACES = np.arange(16, dtype="float32").reshape(1, 16, 1)
BY_HAND = {
    "a root divided by": lambda x: centred(x) / ops.sqrt(variance(x)),
    "an inverse root": lambda x: centred(x) * ops.rsqrt(variance(x)),
    "moments": by_moments,
    "an expectation": lambda x: ops.sum(ops.softmax(x) * np.arange(3, dtype="float32"), axis=-1),
    "a soft argmax": lambda x: ops.softmax(ops.reshape(x, (-1, 16, 3)), axis=1) * PLACES,
    "logsumexp": lambda x: ops.logsumexp(x, axis=-1),
    "Softmax(axis=[1, 2])": kl.Softmax(axis=[1, 2]),
    "a cumulative sum": lambda x: ops.cumsum(x, axis=1),
    "overlapping patches": lambda x: ops.image.extract_patches(x, 3, strides=1),
    "attention of channels": lambda x: x * ops.softmax(ops.mean(x, (1, 2), keepdims=True)),
    "LayerNormalization(axis=[1, 2])": kl.LayerNormalization(axis=[1, 2]),
    "a softmax of two axes": lambda x: ops.exp(x - ops.logsumexp(x, (1, 2), keepdims=True)),
}


def test_what_people_compute_by_hand(tmp_path):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((4, 4, 2))
    model = keras.Model(inputs, [how(kl.Conv2D(3, 1)(inputs)) for how in BY_HAND.values()])
    x = np.random.default_rng(0).random((32, 4, 4, 2), "float32")
    both_ways(model, x, tmp_path / "m")
    found = dict(zip(BY_HAND, decibels(model, x, tmp_path / "m"), strict=True))
    assert {how: ratio for how, ratio in found.items() if ratio <= 25} == {}


class OwnAttention(kl.MultiHeadAttention):
    """A subclass that changes nothing."""


@keras.saving.register_keras_serializable("tests")
class FusedAttention(kl.Layer):
    """The one function that Keras has for attention."""

    def call(self, x):
        heads = ops.reshape(x, (-1, 6, 2, 4))
        return ops.reshape(ops.dot_product_attention(heads, heads, heads), (-1, 6, 8))


@pytest.mark.parametrize(("shape", "last"), [((6, 8), 1), ((3, 4, 8), 2)])
def test_attention_over_other_axes(shape, last, tmp_path):
    inputs = keras.Input(shape)
    layers = [kl.MultiHeadAttention(2, 4, attention_axes=axes) for axes in (None, (last,))]
    model = keras.Model(inputs, [layer(inputs, inputs) for layer in layers])
    both_ways(model, RANDOM.random((16, *shape), "float32"), tmp_path / "m")


def test_an_array_among_the_constants_makes_no_doubles(tmp_path):
    inputs = keras.Input((4,))
    model = keras.Model(inputs, kl.Dense(3)(inputs / np.sqrt(2.0)) + np.ones(3))
    assert model.output.dtype == "float64"
    quantized = tfc.quantize_aware(model)
    quantized.compile("sgd", "mse")
    x = RANDOM.random((16, 4), "float32")
    quantized.fit(x, np.zeros((16, 3)), verbose=0)
    for exported in (model, quantized):
        report = export_tflite(exported, tmp_path / "m", representative_data=x).report
        assert report.float_operations == ()
    assert report.agreement.equal == 1.0


def test_attention_of_ones_own(tmp_path):
    inputs = keras.Input((6, 8))
    x = OwnAttention(2, 4)(inputs, inputs, use_causal_mask=False)
    masked = OwnAttention(2, 4)(inputs, inputs, use_causal_mask=True)
    model = keras.Model(inputs, [FusedAttention()(x), masked])
    both_ways(model, RANDOM.random((16, 6, 8), "float32"), tmp_path / "m")


def test_an_operation_that_tflite_lacks_is_named_by_its_layer(tmp_path):
    inputs = keras.Input((4,))
    first = keras.Sequential([keras.Input((4,)), kl.Dense(4, name="a")], name="a_1")
    model = keras.Model(inputs, kl.Activation(ops.arctan, name="a")(first(inputs)))
    with pytest.raises(ConversionError, match=r"\n  a: Atan\n"):
        export_tflite(model, tmp_path / "m", "float32")


def test_a_quantization_aware_model_is_a_part_of_another(tmp_path):
    inputs = keras.Input((4,), name="x")
    model = keras.Model(inputs, kl.Dense(3, name="logits")(inputs))
    x = RANDOM.random((16, 4), "float32")
    quantized = tfc.quantize_aware(model).calibrate(x)
    assert (quantized.input_shape, quantized.output_shape) == ((None, 4), (None, 3))
    assert (quantized.input_names, quantized.output_names) == (["x"], ["logits"])
    assert quantized.inputs == model.inputs
    assert quantized.outputs == model.outputs
    assert quantized.get_layer("logits") is model.get_layer("logits")
    whole = keras.Sequential([keras.Input((4,)), quantized, kl.Softmax()])
    expected = keras.ops.softmax(quantized.predict(x, verbose=0))
    np.testing.assert_allclose(whole.predict(x, verbose=0), expected, atol=1e-6)


@pytest.mark.parametrize("use", [tfc.quantize_aware, convert_model])
def test_a_model_that_holds_a_quantization_aware_one_is_refused(use):
    inputs = keras.Input((4,), name="x")
    part = tfc.quantize_aware(keras.Sequential([inputs, kl.Dense(3)], name="part"))
    whole = keras.Model(inputs, kl.Dense(2)(part(inputs)), name="whole")
    with pytest.raises(ValueError, match=r"'part' of model 'whole'.*`part\.model`"):
        use(whole)


def two_heads():
    inputs = keras.Input((8,))
    x = kl.Dense(8, activation="relu")(inputs)
    heads = [kl.Dense(3, activation="softmax", name="cls")(x), kl.Dense(4, name="box")(x)]
    return keras.Model(inputs, heads)


@pytest.mark.parametrize("kind", ["list", "dict", "dataset"])
def test_labels_of_several_outputs(kind, tmp_path):
    x = RANDOM.normal(size=(32, 8)).astype("float32")
    cls, box = RANDOM.integers(0, 3, 32), RANDOM.normal(size=(32, 4)).astype("float32")
    losses = {"cls": "sparse_categorical_crossentropy", "box": "mse"}
    labels = [cls, box] if kind == "list" else {"cls": cls, "box": box}
    quantized = tfc.quantize_aware(two_heads())
    quantized.compile("adam", list(losses.values()) if kind == "list" else losses)
    data = (x, labels)
    deployed = DeployedAccuracy(data)
    history = quantized.fit(x, labels, verbose=0, callbacks=[deployed]).history
    expected = tf.argmax(quantized.predict(x, verbose=0)[0], -1).numpy() == cls
    assert history["val_deployed_cls_accuracy"] == pytest.approx([expected.mean()])
    if kind == "dataset":
        data = tf.data.Dataset.from_tensor_slices(data).batch(16)
    report = export_tflite(quantized, tmp_path / "m", validation_data=data).report
    assert report.agreement.equal == 1.0
    assert report.agreement.no_metric.startswith(
        "several outputs have labels; `exporters.validate("
    )

    def metric(outputs, labels):
        first = labels[0] if kind == "list" else labels["cls"]
        return float((outputs[0].argmax(-1) == first).mean())

    found = validate(tmp_path / "m", against=quantized, data=data, metric=metric)
    assert found.reference_metric == expected.mean()


@pytest.mark.parametrize("cell", [kl.LSTM, kl.GRU])
def test_sequences_in_both_directions_of_any_batch_size(cell, tmp_path):
    inputs = keras.Input((3, 2))
    x = kl.Bidirectional(cell(2, return_sequences=True))(inputs)
    quantized = tfc.quantize_aware(keras.Model(inputs, x))
    x = RANDOM.normal(size=(20, 3, 2)).astype("float32")
    quantized.calibrate(x)
    together = quantized(x)
    for count in (1, 7):
        np.testing.assert_array_equal(quantized(x[:count]), together[:count])
        report = export_tflite(quantized, tmp_path / "m", validation_data=x[:count]).report
        assert report.agreement.equal == 1.0


def test_weights_of_16_bits(tmp_path):
    def build(dtype):
        return keras.Sequential([keras.Input((8,), dtype="float16"), kl.Dense(3, dtype=dtype)])

    half, mixed = build("float16"), build("mixed_float16")
    x = RANDOM.random((32, 8), "float32")
    report = export_tflite(half, tmp_path / "m", representative_data=x).report
    assert report.float_operations == ()
    assert report.agreement.within_one > 0.9
    with pytest.raises(ValueError, match=r"weights in float16.*dtype='mixed_float16'"):
        tfc.quantize_aware(half)
    mixed.set_weights(half.get_weights())
    quantized = tfc.quantize_aware(mixed).calibrate(x)
    assert export_tflite(quantized, tmp_path / "m").report.agreement.equal == 1.0


def test_states_go_in_and_out_as_the_advice_says(tmp_path):
    stateful = keras.Sequential([keras.Input(batch_shape=(1, 4, 3)), kl.GRU(2, stateful=True)])
    with pytest.raises(ValueError, match=r"'gru.*\(initial_state=.*return_state=True\)"):
        tfc.quantize_aware(stateful)
    inputs, state = keras.Input((4, 3)), keras.Input((2,))
    model = keras.Model([inputs, state], kl.GRU(2, return_state=True)(inputs, initial_state=state))
    x = [RANDOM.random((16, 4, 3), "float32"), RANDOM.random((16, 2), "float32")]
    both_ways(model, x, tmp_path / "m")
    agreement = export_tflite(model, tmp_path / "m", "float32", validation_data=x).report.agreement
    assert agreement.within_one == 1.0


def test_data_from_a_generator_function_and_no_path_for_a_model(tmp_path):
    x = RANDOM.random((16, 8), "float32")
    model = keras.Sequential([keras.Input((8,)), kl.Dense(3)])

    def samples():
        for row in x:
            yield [row[None]]

    export_tflite(model, tmp_path / "a", representative_data=samples)
    export_tflite(model, tmp_path / "b", representative_data=x)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    for use in (tfc.quantize_aware, lambda model: export_tflite(model, tmp_path / "m")):
        with pytest.raises(TypeError, match=r"load_model\('m\.keras'\)"):
            use("m.keras")


@pytest.mark.parametrize("aware", [False, True])
def test_a_layer_in_float_has_one_name_and_no_other_is_in_float(aware, tmp_path):
    inputs = keras.Input((8,))
    model = keras.Model(inputs, kl.Dense(3)(ops.sin(kl.Dense(3)(inputs))))
    (name,) = [op.name for op in model.operations if op.name.startswith("sin")]
    x = RANDOM.random((16, 8), "float32")

    def export(*allowed):
        if aware:
            quantized = tfc.quantize_aware(model, allow_float=allowed).calibrate(x)
            return export_tflite(quantized, tmp_path / "m")
        return export_tflite(model, tmp_path / "m", representative_data=x, allow_float=allowed)

    with pytest.raises(ValueError, match=rf"allow_float=\['{name}'\]"):
        export()
    with pytest.raises(ValueError, match="no layer 'PartitionedCall:01'"):
        export("PartitionedCall:01")
    assert export(name).report.float_operations == ("DEQUANTIZE", "SIN", "QUANTIZE")


def test_an_lstm_that_starts_from_what_looks_like_its_kernel(tmp_path):
    model = keras.Sequential([keras.Input((4, 3)), kl.LSTM(1)])
    kernel = model.layers[0].cell.recurrent_kernel
    kernel.assign(0.0 * kernel)
    x = RANDOM.normal(size=(8, 4, 3)).astype("float32")
    export_tflite(model, tmp_path / "m", "float32")
    with load(str(tmp_path / "m")) as loaded:
        np.testing.assert_allclose(loaded.predict(x)[0], model(x), atol=1e-6)


def test_several_inputs_are_inferred_as_their_file_does(tmp_path):
    inputs = [keras.Input((4,), name="left"), keras.Input((6,), name="right")]
    model = keras.Model(inputs, kl.Dense(3)(kl.Concatenate()(inputs)))
    x = [RANDOM.normal(size=(64, size)).astype("float32") for size in (4, 6)]
    quantized = tfc.quantize_aware(model).calibrate(x)
    export_tflite(quantized, tmp_path / "m", validation_data=x)
    with load(str(tmp_path / "m")) as loaded:
        np.testing.assert_array_equal(loaded.predict(x)[0], quantized.predict(x, verbose=0))


def two_inputs(kind=list):
    inputs = {name: keras.Input((2,), name=name) for name in ("hours", "age")}
    x = kl.Concatenate()([inputs["hours"] * 3.0, inputs["age"]])
    model = keras.Model(list(inputs.values()) if kind is list else inputs, kl.Dense(2)(x))
    return model, {name: RANDOM.normal(size=(16, 2)).astype("float32") for name in inputs}


def test_a_list_of_inputs_is_fed_by_name(tmp_path):
    model, x = two_inputs()  # in another order than the alphabet's
    listed = [*x.values()]
    quantized = tfc.quantize_aware(model).calibrate(listed)
    expected = quantized.predict(listed, verbose=0)
    ranges = quantized.ranges.numpy()
    np.testing.assert_array_equal(quantized.predict(x | {"id": np.zeros(16)}, verbose=0), expected)
    np.testing.assert_array_equal(quantized.calibrate(x).ranges.numpy(), ranges)
    report = export_tflite(quantized, tmp_path / "m", validation_data=x).report
    assert report.agreement.equal == 1.0
    assert deployed_outputs(quantized, x, {}, {})[2] == 1.0
    with pytest.raises(ValueError, match=r"takes the inputs \['hours', 'age'\].*\['hour', 'age'\]"):
        quantized.calibrate({"hour": listed[0], "age": listed[1]})


def test_a_list_for_a_dict_of_inputs_is_refused(tmp_path):
    model, x = two_inputs(dict)
    quantized = tfc.quantize_aware(model).calibrate(x)
    for use in (
        quantized.calibrate,
        quantized,
        lambda data: export_tflite(quantized, tmp_path / "m", validation_data=data),
        lambda data: export_tflite(model, tmp_path / "m", representative_data=data),
    ):
        with pytest.raises(ValueError, match=r"a dict of inputs, \['hours', 'age'\]: pass a dict"):
            use([*x.values()])


@pytest.mark.parametrize("batch", [np.zeros((6, 6, 3), "float32"), np.zeros((4, 6, 6), "float32")])
def test_data_of_another_shape_is_named_by_its_input(batch, tmp_path):
    model = keras.Sequential([keras.Input((6, 6, 3), name="photo"), kl.Conv2D(2, 3)])
    quantized = tfc.quantize_aware(model).calibrate(RANDOM.random((4, 6, 6, 3), "float32"))
    for use in (
        quantized.calibrate,
        quantized,
        lambda data: export_tflite(quantized, tmp_path / "m", validation_data=data),
    ):
        with pytest.raises(ValueError, match=r"'photo'.*needs the shape \(examples, 6, 6, 3\)"):
            use(batch)


def test_numbers_with_and_without_an_axis_of_their_own(tmp_path):
    x = np.linspace(-1, 1, 16, dtype="float32")
    model = keras.Sequential([keras.Input((1,)), kl.Dense(3)])
    quantized = tfc.quantize_aware(model).calibrate(x)
    expected = quantized.predict(x[:, None], verbose=0)
    np.testing.assert_array_equal(quantized.predict(x, verbose=0), expected)
    report = export_tflite(quantized, tmp_path / "m", validation_data=x).report
    assert report.agreement.equal == 1.0


def test_dilated_convolutions_with_a_normalization(tmp_path):
    inputs, outputs = keras.Input((8, 8, 3)), []
    for kind in (kl.Conv2D, kl.SeparableConv2D):
        x = kind(4, 3, padding="same", dilation_rate=2)(inputs)
        outputs.append(kl.ReLU()(kl.BatchNormalization()(x)))
    model = keras.Model(inputs, outputs)
    both_ways(model, RANDOM.random((16, 8, 8, 3), "float32"), tmp_path / "m")


def test_the_sign_of_a_number(tmp_path):
    inputs = keras.Input((6,))
    x = kl.Dense(8)(inputs)
    shrunk = ops.sign(x) * ops.relu(ops.abs(x) - 0.2)
    model = keras.Model(inputs, kl.Dense(3)(shrunk))
    both_ways(model, RANDOM.normal(size=(64, 6)).astype("float32"), tmp_path / "m")


@pytest.mark.parametrize("batch_size", [1, None])
def test_the_largest_for_any_batch(batch_size, tmp_path):
    inputs = keras.Input((6, 4))
    model = keras.Model(inputs, ops.one_hot(ops.argmax(inputs, axis=-1), 4))
    x = RANDOM.normal(size=(5, 6, 4)).astype("float32")
    export_tflite(model, tmp_path / "m", "float32", batch_size=batch_size)
    with load(str(tmp_path / "m")) as loaded:
        np.testing.assert_array_equal(loaded.predict(x)[0], np.eye(4)[x.argmax(-1)])


def test_a_file_that_takes_one_example_at_a_time(tmp_path):
    inputs = keras.Input((6,))
    tokens = kl.EinsumDense("bf,fd->bfd", (6, 4), bias_axes="fd")(inputs)
    model = keras.Model(inputs, kl.Dense(3)(tokens))
    x = RANDOM.normal(size=(16, 6)).astype("float32")
    both_ways(model, x, tmp_path / "m")


@pytest.mark.parametrize("quantization", ["float32", "float16", "int8"])
def test_a_vector_of_zeros_has_no_length(quantization, tmp_path):
    inputs = keras.Input((4, 6))
    model = keras.Model(inputs, kl.UnitNormalization()(inputs))
    x = np.random.default_rng(0).normal(size=(8, 4, 6)).astype("float32")
    x[:, 1] = 0.0
    export_tflite(model, tmp_path / "m", quantization, representative_data=x)
    with load(str(tmp_path / "m")) as loaded:
        np.testing.assert_allclose(loaded.predict(x)[0], model.predict(x, verbose=0), atol=0.01)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_loaded_model_rounds_where_it_did(sign, tmp_path):
    # Of what is positive PReLU makes itself: the values alone do not tell the two apart.
    layers = [kl.Dense(1, activation="relu6"), kl.PReLU("uniform"), kl.Dense(2)]
    model = keras.Sequential([keras.Input((4,)), *layers])
    layers[0].kernel.assign(sign * np.ones((4, 1)))
    x = np.random.default_rng(0).uniform(-1, 1, (8, 4)).astype("float32")
    quantized = tfc.quantize_aware(model).calibrate(x)
    expected = quantized(x)
    quantized.save(tmp_path / "q.keras")
    loaded = keras.models.load_model(tmp_path / "q.keras")
    np.testing.assert_array_equal(loaded(x), expected)
    assert quantized.deployed.graph.points == loaded.deployed.graph.points


def test_values_that_round_to_zero_have_a_length():
    inputs = keras.Input((4, 1))
    quantized = tfc.quantize_aware(keras.Model(inputs, ops.normalize(inputs))).calibrate(
        np.float32([[[3.0], [1e-3], [-2.0], [-1e-3]]])
    )
    np.testing.assert_allclose(
        quantized(np.float32([[[2.0], [1.0], [0.0], [-1.0]]])).numpy().ravel(),
        [1, 1, 0, -1],
        atol=0.02,
    )


@pytest.mark.parametrize("mode", ["multi_hot", "count", "one_hot"])
def test_categories_are_encoded_in_the_file(mode, tmp_path):
    numbers = keras.Input((3,), name="numbers")
    kinds = keras.Input((1 if mode == "one_hot" else 4,), dtype="int32", name="kinds")
    encoded = kl.CategoryEncoding(num_tokens=6, output_mode=mode)(kinds)
    buckets = kl.Embedding(4, 2)(kl.Discretization([-0.5, 0.0, 0.5])(numbers))
    x = kl.Concatenate()([encoded, kl.Flatten()(buckets)])
    model = keras.Model([numbers, kinds], kl.Dense(2)(x))
    x = [
        RANDOM.uniform(-1, 1, (16, 3)).astype("float32"),
        RANDOM.integers(0, 6, (16, *kinds.shape[1:])).astype("int32"),
    ]
    both_ways(model, x, tmp_path / "m")
    with load(convert_model(model, "float32").flatbuffer) as loaded:
        found = loaded.predict({"numbers": x[0], "kinds": x[1]})[0]
    np.testing.assert_allclose(found, model(x), rtol=1e-5, atol=1e-6)


@keras.saving.register_keras_serializable("people")
class Noted(kl.Layer):
    """A layer that keeps a metric of what passes."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.size = keras.metrics.Mean(name="size")

    def call(self, x):
        self.size.update_state(ops.mean(ops.abs(x)))
        return x * 2.0


def test_a_metric_in_a_call_stays_out_of_the_file(tmp_path):
    inputs = keras.Input((4,))
    model = keras.Model(inputs, kl.Dense(2)(Noted()(kl.Dense(3)(inputs))))
    x = RANDOM.random((16, 4), "float32")
    both_ways(model, x, tmp_path / "m")


class OwnStep(keras.Model):
    """A model that trains itself, as in the guides of Keras."""

    def train_step(self, data):
        return super().train_step(data)


def test_a_training_step_of_ones_own_is_not_left_out_silently():
    inputs = keras.Input((4,))
    model = OwnStep(inputs, kl.Dense(2)(inputs), name="own")
    with pytest.warns(UserWarning, match=r"'own' has a `train_step`.*Received: OwnStep"):
        tfc.quantize_aware(model)


def test_a_server_infers_with_the_same_integers(tmp_path):
    model, x = two_inputs()
    x = [*x.values()]
    quantized = tfc.quantize_aware(model).calibrate(x)
    quantized.export(tmp_path / "server", verbose=False)
    server = tf.saved_model.load(tmp_path / "server")
    np.testing.assert_array_equal(server.serve(x), quantized.predict(x, verbose=0))
    with pytest.raises(ValueError, match=r"`export_tflite\(model, path\)`.*'litert'"):
        quantized.export(tmp_path / "m", format="litert")


def test_no_file_is_written_that_cannot_be_loaded(tmp_path):
    quantized = tfc.quantize_aware(keras.Sequential([keras.Input((4,)), kl.Dense(2)]))
    with pytest.raises(ValueError, match=r"'\.keras'.*m\.h5"):
        quantized.save(tmp_path / "m.h5")
    assert not list(tmp_path.iterdir())


def test_images_of_any_size_are_given_one_as_the_error_says():
    any_size = [keras.Input((None, None, 3)), kl.Conv2D(2, 3), kl.GlobalAveragePooling2D()]
    model = keras.Sequential(any_size)
    with pytest.raises(ValueError, match=r"keras\.Input\(\(64, 64, 3\)\)"):
        tfc.quantize_aware(model)
    inputs = keras.Input((64, 64, 3))
    quantized = tfc.quantize_aware(keras.Model(inputs, model(inputs)))
    quantized.calibrate(np.ones((1, 64, 64, 3)))
    assert quantized.model.get_layer(model.name) is model
