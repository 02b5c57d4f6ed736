import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers as kl
from started_script import run_script

import tfcompress as tfc
from exporters import export_tflite
from tfcompress.keras_graph.acceleration import accelerated_calls
from tfcompress.keras_graph.selection import walk_layers
from tfcompress.quantization.arithmetic.fake_quantization import fake_quantize_weights
from tfcompress.quantization.arithmetic.observers import MovingAverage

LOSS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def compiled(model, **settings):
    settings = {"jit_compile": False, **settings}
    model.compile(keras.optimizers.SGD(0.05), LOSS, metrics=["accuracy"], **settings)
    return model


def test_computes_with_rounded_weights_and_activations_by_hand():
    # One weight of 1.0 and one of 0.3: a step of 8 bits is 1/127, so 0.3 becomes 38/127.
    model = keras.Sequential([keras.Input((2,)), kl.Dense(1, use_bias=False)])
    model.layers[0].set_weights([np.array([[1.0], [0.3]], "float32")])
    x = np.array([[2.55, 0.0], [0.0, 2.55], [1.004, 0.0]], "float32")  # one step is 0.01
    q = tfc.quantize_aware(model).calibrate(x)
    outputs = np.array([[2.55], [2.55 * 38 / 127], [1.0]])
    step = 2.55 / 255  # of the outputs, whose range is [0, 2.55] too
    np.testing.assert_allclose(q(x), np.round(outputs / step) * step, atol=1e-6)


def test_shares_the_variables_of_the_float_model(small_net, images, labels):
    model = small_net()
    q = compiled(tfc.quantize_aware(model))
    before = model.get_layer("conv").kernel.numpy()
    q.fit(images, labels, epochs=2, verbose=0)
    assert (model.get_layer("conv").kernel.numpy() != before).any()
    assert q.model is model
    assert [v.path for v in q.trainable_variables] == [v.path for v in model.trainable_variables]


def test_the_float_model_still_computes_in_float(small_net, images):
    model = small_net()
    before = model(images).numpy()
    q = tfc.quantize_aware(model).calibrate(images)
    assert (model(images).numpy() == before).all()
    assert (q(images).numpy() != before).any()


def test_ranges_are_where_the_device_stores_tensors(small_net):
    q = tfc.quantize_aware(small_net())
    assert [str(point) for point in q.placement.learned] == [":input", "relu:output", "head:output"]


@pytest.mark.parametrize(
    ("observer", "ends", "is_read"),
    [
        ("moving_average", (0.0, 3.0), False),
        ("moving_average", (-1.0, 3.0), True),
        ("moving_average", (0.0, 7.0), True),
        ("mse", (0.0, 3.0), True),  # its histogram is of what the rectifier gives
    ],
)
def test_rounding_stands_for_a_rectifier_where_the_range_does(small_net, observer, ends, is_read):
    q = compiled(tfc.quantize_aware(small_net(), observer=observer))
    q.ranges.assign(np.array([(-1.0, 1.0), ends, (-1.0, 1.0)], "float32"))
    with accelerated_calls(q):
        step = tf.function(lambda x: q(x, training=True))
        graph = step.get_concrete_function(tf.TensorSpec((2, 8, 8, 3))).graph
    (rectifier,) = (each for each in graph.get_operations() if each.type == "Relu6")
    assert bool(rectifier.outputs[0].consumers()) == is_read


def test_unfused_batch_normalization_has_a_range_inside():
    inputs = keras.Input((8, 8, 3))
    x = kl.BatchNormalization(name="norm")(kl.MaxPooling2D(name="pool")(inputs))
    q = tfc.quantize_aware(keras.Model(inputs, x))
    assert [str(point) for point in q.placement.learned] == [
        ":input",
        "norm:scaled",
        "norm:output",
    ]


def test_ranges_follow_the_data(small_net, images, labels):
    q = compiled(tfc.quantize_aware(small_net(), observer=MovingAverage(0.5)))
    q.train_on_batch(images * 2.0, labels)
    np.testing.assert_allclose(q.ranges.numpy()[0], [0.0, images.max() * 2.0], rtol=1e-6)
    q.train_on_batch(images * 4.0, labels)
    np.testing.assert_allclose(q.ranges.numpy()[0], [0.0, images.max() * 3.0], rtol=1e-6)


def test_evaluation_leaves_the_ranges_alone(small_net, images, labels):
    q = compiled(tfc.quantize_aware(small_net())).calibrate(images)
    before = q.ranges.numpy()
    q.evaluate(images * 9.0, labels, verbose=0)
    q.predict(images * 9.0, verbose=0)
    assert (q.ranges.numpy() == before).all()


def test_normalization_moves_its_statistics_as_keras_does(small_net, images):
    plain, model = small_net(), small_net()
    model.set_weights(plain.get_weights())
    q = tfc.quantize_aware(model)
    # The same rounded kernel and input, so that the statistics are those of the same numbers.
    plain.layers[0].kernel.assign(fake_quantize_weights(plain.layers[0].kernel.value, 8, (3,)))
    x = np.round(images * 255 / images.max()) * np.float32(images.max() / 255)
    q(x, training=True)
    plain(x, training=True)
    for name in ("moving_mean", "moving_variance"):
        expected = getattr(plain.get_layer("norm"), name).numpy()
        found = getattr(model.get_layer("norm"), name).numpy()
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


def test_frozen_normalization_stays_frozen(small_net, images, labels):
    model = small_net()
    model.get_layer("norm").trainable = False
    q = compiled(tfc.quantize_aware(model))
    q.fit(images, labels, verbose=0)
    assert not model.get_layer("norm").moving_mean.numpy().any()


def test_only_selected_layers_are_rounded(small_net, images):
    model = small_net()
    q = tfc.quantize_aware(model, layers=["head"])
    rounded = [variable.path for variable, _ in q._weights.rounded()]
    assert rounded == [model.get_layer("head").kernel.path]


def test_four_bit_weights(small_net, images):
    model = small_net()
    q = tfc.quantize_aware(model, tfc.Scheme.int4_weights())
    for variable, value in q._weights.rounded():
        kernel = variable.numpy().reshape(-1, variable.shape[-1])
        for channel, rounded in zip(kernel.T, value.numpy().reshape(kernel.shape).T, strict=True):
            assert len(np.unique(rounded)) <= 15
            assert np.abs(channel - rounded).max() <= np.abs(kernel).max() / 14 + 1e-6


@pytest.mark.parametrize(
    "settings",
    [{}, {"steps_per_execution": 2}, {"run_eagerly": True}, {"jit_compile": True}],
    ids=["plain", "steps_per_execution", "eager", "jit"],
)
def test_training_learns_and_is_the_same_in_every_mode(small_net, images, labels, settings):
    q = compiled(tfc.quantize_aware(small_net()), **settings)
    first = q.fit(images, labels, batch_size=8, shuffle=False, verbose=0).history["loss"][0]
    last = q.fit(images, labels, batch_size=8, epochs=20, shuffle=False, verbose=0).history["loss"]
    assert last[-1] < 0.7 * first
    assert q.calibrated


def test_xla_infers_the_same_integers(small_net, images, labels):
    q = compiled(tfc.quantize_aware(small_net()))
    q.fit(images, labels, verbose=0)
    expected = q.predict(images, verbose=0)
    q.compile(loss=q.loss, jit_compile=True)
    # XLA multiplies by the last scale in another order; a step of the output is 1e4 times that.
    np.testing.assert_allclose(q.predict(images, verbose=0), expected, rtol=3e-7, atol=1e-7)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision_rounds_in_float32(small_net, images, labels, policy):
    keras.config.set_dtype_policy(policy)
    try:
        model = small_net()
        q = compiled(tfc.quantize_aware(model))
        q.fit(images, labels, epochs=2, verbose=0)
    finally:
        keras.config.set_dtype_policy("float32")
    assert q.ranges.dtype == "float32"
    for variable, value in q._weights.rounded():
        scale = np.abs(variable.numpy()).max() / 127
        assert np.abs(variable.numpy() - value.numpy()).max() <= scale / 2 + 1e-6


def test_replicas_agree_on_the_ranges(small_net, images, labels, two_replicas):
    with two_replicas.scope():
        q = compiled(tfc.quantize_aware(small_net()))
    q.fit(images, labels, epochs=2, batch_size=8, verbose=0)
    copies = [value.numpy() for value in two_replicas.experimental_local_results(q.ranges.value)]
    assert len(copies) == 2
    for copy in copies:
        assert (copy == copies[0]).all()


def test_saved_model_finds_inner_layers_whose_names_keras_makes_up_anew(tmp_path):
    x = np.random.default_rng(0).normal(size=(8, 4, 6)).astype("float32")
    inputs = keras.Input((4, 6))
    attended = keras.layers.MultiHeadAttention(2, 3)(inputs, inputs)  # has a Softmax of its own
    q = tfc.quantize_aware(keras.Model(inputs, attended)).calibrate(x)
    q.save(tmp_path / "q.keras")
    loaded = keras.models.load_model(tmp_path / "q.keras")
    assert [path for path, _ in walk_layers(loaded)] == [path for path, _ in walk_layers(q)]
    np.testing.assert_array_equal(loaded(x), q(x))


def test_saved_model_computes_the_same_in_a_new_process(small_net, images, labels, tmp_path):
    q = compiled(tfc.quantize_aware(small_net()))
    q.fit(images, labels, verbose=0)
    q.save(tmp_path / "q.keras")
    np.save(tmp_path / "x.npy", images)
    script = tmp_path / "predict.py"
    script.write_text(
        "import tfcompress, keras, numpy as np\n"
        f"q = keras.models.load_model({str(tmp_path / 'q.keras')!r})\n"
        f"np.save({str(tmp_path / 'y.npy')!r}, q(np.load({str(tmp_path / 'x.npy')!r})))\n"
    )
    ended = run_script(script)
    assert ended.returncode == 0, ended.stderr
    assert (np.load(tmp_path / "y.npy") == q(images).numpy()).all()


def test_training_goes_on_after_loading(small_net, images, labels, tmp_path):
    q = compiled(tfc.quantize_aware(small_net()))
    q.fit(images, labels, verbose=0)
    q.save(tmp_path / "q.keras")
    loaded = keras.models.load_model(tmp_path / "q.keras")
    losses = [
        model.fit(images, labels, epochs=3, shuffle=False, verbose=0).history["loss"]
        for model in (q, loaded)
    ]
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-5)


def test_nested_shared_and_multi_input_models():
    branch = keras.Sequential(
        [keras.Input((8,)), kl.Dense(4, activation="relu", name="dense")], name="branch"
    )
    left, right = keras.Input((8,), name="left"), keras.Input((8,), name="right")
    outputs = kl.Add(name="sum")([branch(left), branch(right)])
    q = tfc.quantize_aware(keras.Model([left, right], outputs))
    assert [str(point) for point in q.placement.learned] == [
        ":input",
        ":input[0,1]",
        "branch/dense:output",
        "branch/dense:output[1,0]",
        "sum:output",
    ]
    x = np.random.default_rng(0).random((2, 4, 8), dtype="float32")
    assert q.calibrate([x[0], x[1]])([x[0], x[1]]).shape == (4, 4)


@pytest.mark.parametrize("use", ["call", "predict", "evaluate"])
def test_a_model_without_ranges_says_so(small_net, images, labels, use):
    q = compiled(tfc.quantize_aware(small_net()))
    arguments = {"call": (images,), "predict": (images,), "evaluate": (images, labels)}[use]
    with pytest.raises(ValueError, match=r"'small' has not seen any data.*calibrate"):
        (q if use == "call" else getattr(q, use))(*arguments)


def test_unbuilt_model():
    with pytest.raises(ValueError, match="'empty' is not built"):
        tfc.quantize_aware(keras.Sequential([kl.Dense(3)], name="empty"))


def test_quantization_aware_twice(small_net):
    with pytest.raises(ValueError, match="quantization-aware already"):
        tfc.quantize_aware(tfc.quantize_aware(small_net()))


def test_unknown_dimension():
    model = keras.Sequential([keras.Input((None, 3)), kl.Conv1D(2, 3)])
    with pytest.raises(ValueError, match=r"unknown dimension.*Received: shape=\(None, None, 3\)"):
        tfc.quantize_aware(model)


def test_layer_without_integer_kernels_is_named():
    inputs = keras.Input((6, 8))
    waves = kl.Lambda(lambda x: keras.ops.sin(x) + 1.0, name="waves")
    model = keras.Model(inputs, waves(inputs))
    with pytest.raises(tfc.PlacementError, match=r"(?s)waves: .*SIN.*allow_float=\['waves'\]"):
        tfc.quantize_aware(model)


def test_layers_that_may_compute_in_float_are_let_through(tmp_path):
    inputs = keras.Input((8, 8, 3))
    x = kl.Activation(keras.ops.floor, name="odd")(kl.Conv2D(4, 3, name="conv")(inputs))
    model = keras.Model(inputs, kl.Conv2D(2, 3, name="head")(x))
    with pytest.raises(tfc.PlacementError, match=r"odd: FLOOR"):
        tfc.quantize_aware(model)
    examples = np.random.default_rng(0).random((8, 8, 8, 3), dtype="float32")
    q = tfc.quantize_aware(model, allow_float=["odd"]).calibrate(examples)
    report = export_tflite(q, tmp_path / "m.tflite", validation_data=examples).report
    assert report.float_operations == ("DEQUANTIZE", "FLOOR", "QUANTIZE")
    assert report.agreement.within_one == 1.0


def test_allowing_a_layer_that_is_not_there(small_net):
    with pytest.raises(ValueError, match="no layer 'odd'"):
        tfc.quantize_aware(small_net(), allow_float=["odd"])


def test_calibrating_on_nothing(small_net, images):
    with pytest.raises(ValueError, match="at least one batch"):
        tfc.quantize_aware(small_net()).calibrate(images[:0])


@pytest.mark.parametrize(
    ("observer", "largest"), [("moving_average", (1 + 2 + 6) / 3), ("min_max", 6.0)]
)
def test_all_batches_of_a_calibration_count_alike(observer, largest):
    inputs = keras.Input((2,))
    q = tfc.quantize_aware(keras.Model(inputs, keras.layers.Dense(1)(inputs)))
    data = np.array([[-1, 1], [-1, 2], [-4, 6]], "float32")
    for rows in (data, data[::-1]):
        q.calibrate(rows, batch_size=1, observer=observer)
        (given,) = q.input_ranges()
        assert given == pytest.approx((-2.0 if observer == "moving_average" else -4.0, largest))
