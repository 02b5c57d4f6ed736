"""Each scheme, trained and exported, against what the interpreter reads in the file."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers as kl

import tfcompress as tfc
from exporters import export_tflite
from keras_callbacks import DeployedAccuracy, QuantizationSchedule
from tfcompress.keras_graph.hooks import HookPoint
from tfcompress.quantization.arithmetic.fake_quantization import weight_limit
from tfcompress.quantization.arithmetic.observers import Percentile
from tfcompress.quantization.weights import QuantizedWeights
from tfcompress.tflite.constants import constant_value
from tfcompress.tflite.flatbuffer import read_model

RNG = np.random.default_rng(0)
IMAGES = RNG.normal(size=(32, 8, 8, 3)).astype("float32")
LABELS = RNG.integers(0, 5, 32)


def build():
    """Build convolutions and dense layers whose kernels are large enough to be quantized."""
    return keras.Sequential(
        [
            keras.Input((8, 8, 3), name="image"),
            kl.Conv2D(16, 3, use_bias=False, name="stem"),
            kl.BatchNormalization(name="norm"),
            kl.ReLU(name="relu"),
            kl.DepthwiseConv2D(3, name="depthwise"),
            kl.Conv2D(80, 1, activation="relu", name="pointwise"),
            kl.GlobalAveragePooling2D(name="pool"),
            kl.Dense(40, activation="relu", name="hidden"),
            kl.Dense(5, name="head"),
        ],
        name="net",
    )


def build_small():
    """Build one convolution and one dense layer."""
    return keras.Sequential(
        [
            keras.Input((8, 8, 3), name="image"),
            kl.Conv2D(8, 3, strides=3, activation="relu", name="stem"),
            kl.Flatten(name="flat"),
            kl.Dense(5, name="head"),
        ],
        name="small",
    )


def trained(scheme, build=build, **settings):
    q = tfc.quantize_aware(build(), scheme, **settings)
    q.compile(
        keras.optimizers.SGD(0.05),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        jit_compile=False,
    )
    q.fit(IMAGES, LABELS, epochs=2, batch_size=8, verbose=0)
    return q


def kernels(path):
    """Return the dtype, scales and integers of each kernel in a file by its operation and place."""
    model = read_model(path)
    graph = model.subgraphs[0]
    found = {}
    for operation in graph.operations:
        if operation.name in ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"):
            kernel = graph.tensors[operation.inputs[1]]
            while not kernel.constant:
                maker = next(o for o in graph.operations if kernel.index in o.outputs)
                kernel = graph.tensors[maker.inputs[0]]
            name = f"{operation.name} {sum(key.startswith(operation.name) for key in found)}"
            found[name] = (kernel, constant_value(model, kernel))
    return found


def dtypes(path):
    return {name: kernel.dtype for name, (kernel, _) in kernels(path).items()}


def scale_counts(path):
    quantizations = {name: kernel.quantization for name, (kernel, _) in kernels(path).items()}
    return {name: found and len(found.scales) for name, found in quantizations.items()}


def activation_dtypes(path):
    graph = read_model(path).subgraphs[0]
    return {graph.tensors[o.outputs[0]].dtype for o in graph.operations}


@pytest.mark.parametrize(
    ("scheme", "counts"),
    [
        (tfc.Scheme.int8(), (16, 80, 16, 1, 1)),
        (tfc.Scheme.int8_per_tensor(), (1, 1, 1, 1, 1)),
        (tfc.Scheme(dense_per_channel=True), (16, 80, 16, 40, 5)),
        (tfc.Scheme(symmetric_activations=True), (16, 80, 16, 1, 1)),
        (tfc.Scheme.int4_weights(), (16, 80, 16, 1, 1)),
    ],
    ids=["int8", "per tensor", "dense per channel", "symmetric", "4 bits"],
)
def test_integer_scheme(scheme, counts, tmp_path):
    q = trained(scheme)
    result = export_tflite(q, tmp_path / "m.tflite", validation_data=IMAGES)
    report = result.report
    assert report.float_operations == ()
    assert report.agreement.within_one >= 0.98
    weight = f"INT{scheme.weight_bits}"
    assert set(dtypes(result.path).values()) == {weight}
    names = ["CONV_2D 0", "CONV_2D 1", "DEPTHWISE_CONV_2D 0", "FULLY_CONNECTED 0"]
    found = scale_counts(result.path)
    assert [found[name] for name in (*names, "FULLY_CONNECTED 1")] == list(counts)
    zero_points = [
        tensor.quantization.zero_points[0]
        for tensor in read_model(result.path).subgraphs[0].tensors
        if tensor.quantization and tensor.quantization.scales and not tensor.constant
    ]
    assert (set(zero_points) == {0}) is scheme.symmetric_activations


def test_dense_weights_per_channel_are_the_integers_that_were_trained(tmp_path):
    q = trained(tfc.Scheme(dense_per_channel=True))
    result = export_tflite(q, tmp_path / "m.tflite", validation_data=IMAGES)
    kernel, integers = kernels(result.path)["FULLY_CONNECTED 0"]
    weights = q.model.get_layer("hidden").kernel
    scales = weight_limit(weights.value, (1,)).numpy() / 127
    np.testing.assert_allclose(kernel.quantization.scales, scales, rtol=1e-6)
    assert (np.round(weights.numpy() / scales) == integers.T).all()


def test_depthwise_is_truly_per_channel(tmp_path):
    model = keras.Sequential(
        [keras.Input((8, 8, 3)), kl.DepthwiseConv2D(3, depth_multiplier=2, name="depthwise")]
    )
    layer = model.get_layer("depthwise")
    sizes = np.float32([[1.0, 10.0], [0.1, 3.0], [100.0, 0.5]])
    values = RNG.uniform(-1, 1, layer.kernel.shape).astype("float32") * sizes
    values[0, 0] = sizes  # the largest weight of each channel
    layer.kernel.assign(values)
    q = tfc.quantize_aware(model).calibrate(IMAGES)
    result = export_tflite(q, tmp_path / "m.tflite", validation_data=IMAGES)
    ((kernel, integers),) = kernels(result.path).values()
    np.testing.assert_allclose(kernel.quantization.scales, sizes.ravel() / 127, rtol=1e-6)
    expected = np.round(values.reshape(1, 3, 3, 6) / (sizes.ravel() / 127))
    assert (integers == expected).all()


def test_int16_activations(tmp_path):
    q = trained(tfc.Scheme.int8_weights_int16_activations())
    result = export_tflite(q, tmp_path / "m.tflite", validation_data=IMAGES)
    assert set(dtypes(result.path).values()) == {"INT8"}
    assert activation_dtypes(result.path) == {"INT16", "FLOAT32"}  # the last DEQUANTIZE
    assert result.report.float_operations == ()
    tensors = read_model(result.path).subgraphs[0].tensors
    stored = [t for t in tensors if t.dtype == "INT16"]
    assert {t.quantization.zero_points for t in stored} == {(0,)}
    biases = [t for t in tensors if t.constant and t.dtype == "INT64"]
    assert len(biases) == 5
    # The ranges are those that training learnt: here, that of the output.
    head = q.ranges.numpy()[q.placement.rows()[HookPoint("head")]]
    assert any(
        np.isclose(t.quantization.scales[0], np.abs(head).max() / 32767, rtol=1e-5) for t in stored
    )
    expected = q.predict(IMAGES, verbose=0)
    assert (
        result.report.agreement.largest
        <= 4 * np.abs(head).max() / 32767 + 1e-6 * np.abs(expected).max()
    )


def test_dynamic_range(tmp_path):
    q = trained(tfc.Scheme.dynamic_range())
    result = export_tflite(q, tmp_path / "m.tflite", validation_data=IMAGES)
    found = kernels(result.path)
    assert found["CONV_2D 1"][0].dtype == found["FULLY_CONNECTED 0"][0].dtype == "INT8"
    weights = {v.path.split("/")[-2]: rounded.numpy() for v, rounded in q._weights.rounded()}
    kernel, integers = found["CONV_2D 1"]
    restored = np.transpose(integers, (1, 2, 3, 0)) * np.float32(kernel.quantization.scales)
    np.testing.assert_allclose(restored, weights["pointwise"], atol=1e-6)
    kernel, integers = found["FULLY_CONNECTED 0"]
    restored = integers.T * np.float32(kernel.quantization.scales)
    np.testing.assert_allclose(restored, weights["hidden"], atol=1e-6)
    # Kernels quantize activations to 8 bits while they run.
    outputs = q.predict(IMAGES, verbose=0)
    assert result.report.agreement.largest <= 0.03 * np.abs(outputs).max()


def test_float16(tmp_path):
    q = trained(tfc.Scheme.float16())
    result = export_tflite(q, tmp_path / "m.tflite", validation_data=IMAGES)
    found = kernels(result.path)
    assert {kernel.dtype for kernel, _ in found.values()} == {"FLOAT16"}
    half = q.model.get_layer("hidden").kernel.numpy().astype("float16")
    assert (half == found["FULLY_CONNECTED 0"][1].T).all()
    outputs = q.predict(IMAGES, verbose=0)
    assert result.report.agreement.largest <= 2e-3 * np.abs(outputs).max()  # biases are halved, too


def test_two_precisions_in_one_model(tmp_path):
    scheme = tfc.Scheme.int4_weights().override(["stem", "head"], tfc.Scheme.int8())
    q = trained(scheme)
    result = export_tflite(q, tmp_path / "m.tflite", validation_data=IMAGES)
    assert dtypes(result.path) == {
        "CONV_2D 0": "INT8",
        "DEPTHWISE_CONV_2D 0": "INT4",
        "CONV_2D 1": "INT4",
        "FULLY_CONNECTED 0": "INT4",
        "FULLY_CONNECTED 1": "INT8",
    }
    assert result.report.agreement.within_one >= 0.98
    levels = {v.path.split("/")[-2]: len(np.unique(r)) for v, r in q._weights.rounded()}
    assert levels["hidden"] <= 15 < levels["head"]


@pytest.mark.parametrize("kernels_of", ["xnnpack", "reference"])
@pytest.mark.parametrize("per_channel", [False, True])
def test_two_bits_in_fully_connected_layers(kernels_of, per_channel, tmp_path):
    numerics = {"dense_per_channel": per_channel, "kernels": kernels_of}
    scheme = tfc.Scheme(weight_bits=2, **numerics).override("stem", tfc.Scheme(kernels=kernels_of))
    q = trained(scheme, build_small)
    result = export_tflite(q, tmp_path / "m.tflite", validation_data=IMAGES)
    assert dtypes(result.path) == {"CONV_2D 0": "INT8", "FULLY_CONNECTED 0": "INT2"}
    assert set(np.unique(kernels(result.path)["FULLY_CONNECTED 0"][1])) == {-1, 0, 1}
    runs = {run.kernels: run.outputs[0].equal for run in result.report.agreement.ran}
    assert runs[kernels_of] == 1.0


def test_only_fully_connected_layers_have_2_bits():
    with pytest.raises(ValueError, match=r"Convolutions .* 2-bit weights.*\['stem'\] in .*'small'"):
        tfc.quantize_aware(build_small(), tfc.Scheme(weight_bits=2))


@pytest.mark.parametrize(
    ("name", "scheme"),
    [
        ("int8", tfc.Scheme.int8()),
        ("int16x8", tfc.Scheme.int8_weights_int16_activations()),
        ("dynamic", tfc.Scheme.dynamic_range()),
        ("float16", tfc.Scheme.float16()),
    ],
)
def test_names_and_schemes_mean_the_same(name, scheme, tmp_path):
    model = build()
    by_name = export_tflite(model, tmp_path / "a.tflite", name, representative_data=IMAGES)
    by_scheme = export_tflite(model, tmp_path / "b.tflite", scheme, representative_data=IMAGES)
    assert by_name.report.operations == by_scheme.report.operations
    assert dtypes(by_name.path) == dtypes(by_scheme.path)
    assert activation_dtypes(by_name.path) == activation_dtypes(by_scheme.path)
    assert scale_counts(by_name.path) == scale_counts(by_scheme.path)
    found = kernels(by_scheme.path)
    for key, (_, integers) in kernels(by_name.path).items():
        assert np.abs(integers.astype("float32") - found[key][1].astype("float32")).max() <= 1


@pytest.mark.parametrize("observer", ["min_max", "percentile", "mse"])
def test_observers_in_fit_and_in_calibrate(observer, tmp_path):
    q = trained(tfc.Scheme.int8(), build_small, observer=observer)
    assert export_tflite(q, tmp_path / "m.tflite", validation_data=IMAGES).report.agreement.ran
    trained_ranges = q.ranges.numpy()
    q.calibrate(IMAGES, observer="min_max")
    extremes = q.ranges.numpy()
    np.testing.assert_allclose(extremes[0], [IMAGES.min(), IMAGES.max()], rtol=1e-6)
    q.calibrate(IMAGES)
    assert (np.abs(q.ranges.numpy()) <= np.abs(extremes) + 0.1).all()
    assert trained_ranges.shape == extremes.shape


def test_observer_and_ranges_are_saved(tmp_path):
    q = trained(tfc.Scheme.int8(), build_small, observer=Percentile(99.0, momentum=0.5))
    q.save(tmp_path / "q.keras")
    loaded = keras.models.load_model(tmp_path / "q.keras")
    assert loaded.observer.get_config() == {"momentum": 0.5, "percentile": 99.0}
    assert (loaded.ranges.numpy() == q.ranges.numpy()).all()
    assert (loaded.predict(IMAGES, verbose=0) == q.predict(IMAGES, verbose=0)).all()


@pytest.mark.parametrize(
    ("learn", "bits"),
    [(("weights",), 4), (("activations",), 8), (("weights", "activations"), 4)],
)
def test_learnt_steps_are_trained_saved_and_exported(learn, bits, tmp_path):
    scheme = tfc.Scheme(weight_bits=bits)
    q = tfc.quantize_aware(build_small(), scheme, learn_steps=learn).calibrate(IMAGES)
    first = [variable.numpy() for variable in q.trainable_variables]
    names = [variable.name for variable in q.trainable_variables]
    q.compile(keras.optimizers.Adam(1e-3), "mse", jit_compile=False)
    q.fit(IMAGES, np.eye(5)[LABELS], epochs=2, batch_size=8, verbose=0)
    moved = {
        name: (variable.numpy() != before).any()
        for name, variable, before in zip(names, q.trainable_variables, first, strict=True)
    }
    steps = [name for name in names if name.endswith("_steps")]
    assert len(steps) == 2 * ("weights" in learn) + ("activations" in learn)
    assert all(moved[name] for name in steps)
    q.save(tmp_path / "q.keras")
    loaded = keras.models.load_model(tmp_path / "q.keras")
    assert (loaded.predict(IMAGES, verbose=0) == q.predict(IMAGES, verbose=0)).all()
    report = export_tflite(loaded, tmp_path / "m.tflite", validation_data=IMAGES).report
    assert report.float_operations == ()
    assert report.agreement.equal == 1.0


def test_steps_that_overshot_are_those_of_the_file(tmp_path):
    q = tfc.quantize_aware(build_small(), learn_steps=["weights", "activations"]).calibrate(IMAGES)
    for variable in q.trainable_variables:
        if variable.name.endswith("_steps"):
            variable.assign(variable - 1.0)
    report = export_tflite(q, tmp_path / "m.tflite", validation_data=IMAGES).report
    assert report.agreement.equal == 1.0


def test_steps_of_activations_start_from_calibration():
    q = tfc.quantize_aware(build_small(), learn_steps=["activations"])
    q.compile("sgd", "mse", jit_compile=False)
    with pytest.raises(ValueError, match="trained steps start from them"):
        q.fit(IMAGES, np.eye(5)[LABELS], verbose=0)
    q.calibrate(IMAGES)
    plain = tfc.quantize_aware(q.model).calibrate(IMAGES)
    np.testing.assert_allclose(q(IMAGES), plain(IMAGES), atol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"learn_steps": ["bias"]}, r"Received: learn_steps=\('bias',\)"),
        ({"learn_steps": ["weights"], "scheme": tfc.Scheme.dynamic_range()}, "integer activations"),
        ({"observer": "maximum"}, "Received: observer='maximum'"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        tfc.quantize_aware(build_small(), **arguments)


@pytest.mark.parametrize(
    ("policy", "scheme"),
    [
        ("mixed_float16", tfc.Scheme.int8()),
        ("mixed_bfloat16", tfc.Scheme.int8()),
        ("mixed_float16", tfc.Scheme.dynamic_range()),
        ("mixed_bfloat16", tfc.Scheme.float16()),
    ],
)
def test_gradients_are_float32_in_mixed_precision(policy, scheme):
    keras.config.set_dtype_policy(policy)
    try:
        model = build()
    finally:
        keras.config.set_dtype_policy("float32")
    q = tfc.quantize_aware(model, scheme).calibrate(IMAGES)
    weights = QuantizedWeights(model, {layer.name: scheme for layer in model.layers})
    kernel = next(k for k in weights.kernels if k.kernel.layer.name == "hidden")
    tiny = 1e-9 * tf.ones(kernel.variable.shape)  # less than half precision can hold
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(kernel.rounded() * tiny)
    gradient = tape.gradient(loss, kernel.variable.value)
    assert gradient.dtype == tf.float32
    assert (gradient.numpy() == tiny.numpy()).all()
    q.compile("adam", "mse", jit_compile=False)
    before = model.get_layer("hidden").kernel.numpy()
    q.fit(IMAGES, np.eye(5)[LABELS], verbose=0)
    assert np.isfinite(before).all()
    assert (model.get_layer("hidden").kernel.numpy() != before).any()


def test_a_layer_without_a_16_bit_kernel_is_named_or_let_through(tmp_path):
    inputs = keras.Input((8, 8, 3))
    x = kl.Activation("log_softmax", name="odd")(kl.Conv2D(4, 3, name="stem")(inputs))
    model = keras.Model(inputs, kl.Conv2D(2, 3, name="head")(x))
    scheme = tfc.Scheme.int8_weights_int16_activations()
    with pytest.raises(tfc.PlacementError, match=r"odd: LOG_SOFTMAX"):
        tfc.quantize_aware(model, scheme)
    q = tfc.quantize_aware(model, scheme, allow_float=["odd"]).calibrate(IMAGES)
    report = export_tflite(q, tmp_path / "m.tflite", validation_data=IMAGES).report
    assert set(report.float_operations) == {"DEQUANTIZE", "LOG_SOFTMAX", "QUANTIZE"}
    head = q.ranges.numpy()[q.placement.rows()[HookPoint("head")]]
    assert report.agreement.largest <= 2.1 * np.abs(head).max() / 32767


@pytest.mark.parametrize(
    ("observer", "settings"),
    [
        ("mse", {"run_eagerly": True}),
        ("percentile", {"jit_compile": True}),
        ("learnt", {"jit_compile": True}),
        ("learnt", {"run_eagerly": True}),
        ("learnt", {"steps_per_execution": 2}),
    ],
    ids=["mse, eager", "percentile, jit", "jit", "eager", "several steps"],
)
def test_ways_of_running(observer, settings):
    learn = ["weights", "activations"] if observer == "learnt" else []
    chosen = "moving_average" if observer == "learnt" else observer
    ranges, steps = [], []
    for how in ({}, settings):
        keras.utils.set_random_seed(0)
        q = tfc.quantize_aware(build_small(), observer=chosen, learn_steps=learn)
        q.calibrate(IMAGES[:8])
        q.compile(keras.optimizers.SGD(1e-3), "mse", **{"jit_compile": False, **how})
        q.fit(IMAGES, np.eye(5)[LABELS], batch_size=8, shuffle=False, verbose=0)
        ranges.append(q.ranges.numpy())
        steps.append([v.numpy() for v in q.trainable_variables if v.name.endswith("_steps")])
    # Kernels that differ in their last bit may round a value to the other side: by one step.
    assert (np.abs(ranges[1] - ranges[0]).max(axis=1) <= np.ptp(ranges[0], axis=1) / 255).all()
    for found, expected in zip(steps[1], steps[0], strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-3)


def test_learnt_steps_rest_when_ranges_freeze():
    q = tfc.quantize_aware(build_small(), learn_steps=["weights", "activations"])
    q.calibrate(IMAGES)
    steps = [v for v in q.trainable_variables if v.name.endswith("_steps")]
    seen = []
    q.compile(keras.optimizers.SGD(1e-3), "mse", jit_compile=False)
    watch = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: seen.append([v.numpy() for v in steps])
    )
    schedule = QuantizationSchedule(freeze_ranges_step=2)
    kernel = q.model.get_layer("head").kernel.numpy()
    q.fit(IMAGES, np.eye(5)[LABELS], batch_size=8, verbose=0, callbacks=[schedule, watch])
    assert all((a != b).any() for a, b in zip(seen[0], seen[1], strict=True))
    for later in seen[2:]:
        assert all((a == b).all() for a, b in zip(seen[1], later, strict=True))
    assert (q.model.get_layer("head").kernel.numpy() != kernel).any()


def test_deployed_accuracy_of_every_kind_of_scheme():
    for scheme in (
        tfc.Scheme.int8_weights_int16_activations(),
        tfc.Scheme.dynamic_range(),
        tfc.Scheme.float16(),
    ):
        q = tfc.quantize_aware(build_small(), scheme)
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        q.compile("sgd", loss, metrics=["accuracy"], jit_compile=False)
        deployed = DeployedAccuracy((IMAGES, LABELS))
        history = q.fit(IMAGES, LABELS, verbose=0, callbacks=[deployed]).history
        expected = q.evaluate(IMAGES, LABELS, verbose=0)[1]
        assert history["val_deployed_accuracy"][0] == pytest.approx(expected, abs=1 / 32)


def test_comparisons_of_16_bits_follow_the_model():
    inputs = [keras.Input((8,)), keras.Input((8,))]
    a, b = (kl.Dense(8, kernel_initializer="identity")(x) for x in inputs)
    larger = keras.ops.where(a > b, a, b * 0.5)
    model = keras.Model(inputs, keras.ops.where(larger > 0.3, larger, a))
    generator = np.random.default_rng(0)
    x = [scale * generator.normal(size=(256, 8)).astype("f4") for scale in (1, 5)]
    q = tfc.quantize_aware(model, tfc.Scheme.int8_weights_int16_activations(), observer="min_max")
    q.calibrate(x)
    off = np.abs(q.predict(x, verbose=0) - model.predict(x, verbose=0))
    assert (off > 0.01).mean() < 0.002
