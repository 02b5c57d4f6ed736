import keras
import numpy as np
import pytest
from keras import layers as kl

import tfcompress as tfc
from exporters.converting import convert_model
from exporters.running.runtime import load
from tfcompress.keras_graph.linear_layers import linear_layers
from tfcompress.post_training import CorrectBiases, Equalize, RoundWeights
from tfcompress.tflite.constants import constant_value
from tfcompress.tflite.flatbuffer import read_model


def decibels(wanted, found):
    return 10 * np.log10(np.sum(np.square(wanted)) / np.sum(np.square(wanted - found)))


def int8_file(model, data):
    return convert_model(model, "int8", representative_data=data).flatbuffer


def run(flatbuffer, inputs):
    with load(flatbuffer) as loaded:
        return loaded.predict(inputs)[0]


def kernels_in_file(flatbuffer):
    """Return the 8-bit kernels of a file, in the order of its operations: (integers, scales)."""
    content = read_model(flatbuffer)
    graph = content.subgraphs[0]
    for operation in graph.operations:
        if operation.name in ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"):
            tensor = graph.tensors[operation.inputs[1]]
            yield constant_value(content, tensor), np.array(tensor.quantization.scales)


def as_in_file(linear):
    """Return a kernel in the file's order of axes: outputs first, or last if it is depthwise."""
    kernel = keras.ops.convert_to_numpy(linear.kernel)
    if isinstance(linear.layer, kl.DepthwiseConv2D):
        return kernel.reshape(1, *kernel.shape[:2], -1), (3,)
    if isinstance(linear.layer, kl.Dense):
        return kernel.T, ()
    return kernel.transpose(3, 0, 1, 2), (0,)


@pytest.fixture(scope="module")
def held_out():
    generator = np.random.default_rng(1)
    brightness = generator.random((64, 1, 1, 1), dtype="float32")
    return brightness * generator.random((64, 10, 10, 3), dtype="float32")


def test_the_repaired_file_is_nearer_to_the_model(mobile_net, images, held_out):
    model = mobile_net()
    before = [weights.copy() for weights in model.get_weights()]
    wanted = model.predict(held_out, verbose=0)
    plain = decibels(wanted, run(int8_file(model, images), held_out))
    repaired = tfc.repair(model, images)
    file = int8_file(repaired, images)
    assert decibels(wanted, run(file, held_out)) > plain + 3.0
    assert repaired.input_shape == model.input_shape
    assert repaired.output_shape == model.output_shape

    # Every integer of every kernel is the one that was chosen, and not what the nearest would be.
    linears, _ = linear_layers(repaired)
    stored = list(kernels_in_file(file))
    assert len(stored) == len(linears) == 5
    for linear, (integers, scales) in zip(linears, stored, strict=True):
        kernel, axis = as_in_file(linear)
        shape = [len(scales) if index in axis else 1 for index in range(kernel.ndim)]
        steps = scales.reshape(shape)
        np.testing.assert_array_equal(np.round(kernel / steps), integers)
        np.testing.assert_allclose(kernel, integers * steps, rtol=1e-5, atol=1e-9)

    equalized = tfc.equalize(model, images)
    nearest = [integers for integers, _ in kernels_in_file(int8_file(equalized, images))]
    assert any((one != other[0]).any() for one, other in zip(nearest, stored, strict=True))

    report = repaired.repair_report
    assert [step.step for step in report.steps] == ["equalize", "round", "correct_biases"]
    assert report.outputs.after > report.outputs.before + 3.0
    assert [layer.path for layer in report.layers] == [linear.path for linear in linears]
    assert report.to_json()["outputs"]["after"] == report.outputs.after
    assert "depthwise_0 to conv_1" in report.steps[0].changed
    assert "its channels are an output of the model" in str(report)
    for one, other in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_four_bits(mobile_net, images, held_out):
    model, scheme = mobile_net(), tfc.Scheme.int4_weights()
    wanted = model.predict(held_out, verbose=0)

    def file(of):
        return convert_model(of, scheme, representative_data=images).flatbuffer

    plain = decibels(wanted, run(file(model), held_out))
    repaired = tfc.repair(model, images, scheme=scheme)
    assert decibels(wanted, run(file(repaired), held_out)) > plain + 6.0
    largest = max(np.abs(integers).max() for integers, _ in kernels_in_file(file(repaired)))
    assert largest == 7


@pytest.mark.parametrize("activation", ["relu", "relu6"])
def test_equalized_models_compute_the_same(mobile_net, images, activation):
    model = mobile_net(activation)
    equalized = tfc.equalize(model, images)
    wanted = model.predict(images, verbose=0)
    np.testing.assert_allclose(equalized.predict(images, verbose=0), wanted, rtol=1e-3, atol=1e-4)
    (step,) = equalized.repair_report.steps
    assert step.changed


def test_channels_at_a_cap_stay_as_they_are(images):
    model = keras.Sequential(
        [
            keras.Input((10, 10, 3)),
            kl.Conv2D(3, 1, use_bias=False, name="conv"),
            kl.ReLU(6.0, name="relu"),
            kl.Conv2D(2, 1, name="reader"),
        ]
    )
    # The first channel is cut off at 6; the others stay far below.
    model.get_layer("conv").kernel.assign([[[[30.0, 0.02, 0.5]] * 3]])
    equalized = tfc.equalize(model, images)
    kernel = keras.ops.convert_to_numpy(equalized.get_layer("conv").kernel)
    assert kernel[0, 0, 0, 0] == 30.0
    made = keras.ops.convert_to_numpy(equalized.get_layer("conv")(images))
    assert made[..., 1:].max() <= 0.8 * 6.0 + 1e-5
    wanted = model.predict(images, verbose=0)
    np.testing.assert_allclose(equalized.predict(images, verbose=0), wanted, rtol=1e-4, atol=1e-5)


def test_corrected_biases_restore_the_means(mobile_net, images):
    model, scheme = mobile_net(), tfc.Scheme.int4_weights()
    corrected = tfc.correct_biases(model, images, scheme=scheme)

    def mean_error(of):
        quantized = tfc.quantize_aware(of, scheme, observer="min_max").calibrate(images)
        difference = quantized.predict(images, verbose=0) - model.predict(images, verbose=0)
        return np.abs(difference.mean(0)).max(), np.abs(difference).mean()

    before, spread = mean_error(tfc.correct_biases(model, images, scheme=tfc.Scheme.int8()))
    after, _ = mean_error(corrected)
    assert after < 0.2 * before
    assert after < 0.2 * spread


def test_a_model_of_several_inputs_nested_and_in_mixed_precision(images, held_out):
    policy = "mixed_float16"
    block = keras.Sequential(
        [
            keras.Input((10, 10, 3)),
            kl.Conv2D(6, 3, dtype=policy, name="conv"),
            kl.BatchNormalization(dtype=policy, name="norm"),
            kl.ReLU(dtype=policy),
            kl.GlobalAveragePooling2D(dtype=policy),
        ],
        name="block",
    )
    image, number = keras.Input((10, 10, 3), name="image"), keras.Input((2,), name="number")
    x = kl.Concatenate()([block(image), kl.Dense(4, activation="relu", name="side")(number)])
    model = keras.Model({"image": image, "number": number}, kl.Dense(2, name="head")(x))
    data = {"image": images, "number": images[:, 0, 0, :2]}
    repaired = tfc.repair(model, data)
    assert repaired.repair_report.outputs.after > repaired.repair_report.outputs.before
    left = repaired.repair_report.steps[0].left
    assert "Concatenate" in left["side"]
    wanted = model.predict(data, verbose=0)
    assert decibels(wanted, repaired.predict(data, verbose=0)) > 30.0


def test_models_whose_inner_tensors_are_seen_in_graphs_alone(images):
    inputs = keras.Input((10, 30))
    x = kl.Dense(8, name="before")(inputs)
    x = kl.MultiHeadAttention(2, 4, name="attention")(x, x)
    outputs = kl.Dense(3, name="after")(kl.Flatten()(x))
    model, data = keras.Model(inputs, outputs), images.reshape(-1, 10, 30)
    repaired = tfc.repair(model, data)
    assert repaired.repair_report.steps[1].changed == ("before", "after")
    assert any("EinsumDense" in reason for reason in repaired.repair_report.steps[1].left.values())
    assert repaired.repair_report.outputs.after > repaired.repair_report.outputs.before


def test_a_repaired_model_is_saved_and_loaded(mobile_net, images, tmp_path):
    repaired = tfc.repair(mobile_net(), images, steps="equalize")
    repaired.save(tmp_path / "repaired.keras")
    loaded = keras.models.load_model(tmp_path / "repaired.keras")
    np.testing.assert_array_equal(
        loaded.predict(images, verbose=0), repaired.predict(images, verbose=0)
    )


def test_pruned_weights_stay_zero(mobile_net, images):
    model = mobile_net()
    kernel = model.get_layer("conv_1").kernel
    kernel.assign(np.where(np.abs(kernel) < np.median(np.abs(kernel)), 0.0, kernel))
    repaired = tfc.repair(model, images)
    after = keras.ops.convert_to_numpy(repaired.get_layer("conv_1").kernel)
    np.testing.assert_array_equal(after == 0, keras.ops.convert_to_numpy(kernel) == 0)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (None, "pass a few hundred inputs.*labels are not needed. Received: None"),
        (np.zeros((0, 10, 10, 3)), "At least one example is needed"),
        (np.full((4, 10, 10, 3), np.nan), "NaN or infinite.*Received: 1200 such values"),
        (np.zeros((4, 9, 9, 3)), r"the shape \(examples, 10, 10, 3\). Received.*\(4, 9, 9, 3\)"),
        (np.full((4, 10, 10, 3), "a"), "needs numbers that float32 can hold"),
        ([np.zeros((4, 10, 10, 3))] * 2, r"takes 1 inputs, \['image'\].*Received: 2"),
    ],
)
def test_bad_data(mobile_net, data, message):
    with pytest.raises(ValueError, match=message):
        tfc.repair(mobile_net(), data)


def test_bad_models(mobile_net, images):
    class Own(keras.Model):
        def call(self, x):
            return x

    own = Own(name="own")
    own.build((None, 3))
    with pytest.raises(ValueError, match=r"'own' is a subclassed model.*Functional"):
        tfc.repair(own, images)
    with pytest.raises(ValueError, match="'unbuilt' is not built"):
        tfc.repair(keras.Sequential([kl.Dense(2)], name="unbuilt"), images)
    model = mobile_net()
    model.get_layer("head").bias.assign([np.nan] * 4)
    with pytest.raises(ValueError, match="NaN or infinite, in these layers: head"):
        tfc.repair(model, images)


def test_quantization_aware_models_are_refused(mobile_net, images):
    with pytest.raises(ValueError, match=r"quantization-aware.*pass `model.model`"):
        tfc.repair(tfc.quantize_aware(mobile_net()), images)


def test_bad_arguments(mobile_net, images):
    model = mobile_net()
    with pytest.raises(ValueError, match=r"'equalize', 'round', 'correct_biases'.*Received: 'fix'"):
        tfc.repair(model, images, steps=["round", "fix"])
    with pytest.raises(ValueError, match=r'"equalize" before "round". Received: .*RoundWeights'):
        tfc.repair(model, images, steps=["round", "equalize"])
    with pytest.raises(ValueError, match=r"Received: scheme=.*activations are floats"):
        tfc.repair(model, images, scheme=tfc.Scheme.float16())
    with pytest.raises(ValueError, match="Received: observer='middle'"):
        tfc.repair(model, images, observer="middle")
    with pytest.raises(ValueError, match="Received: max_examples=0"):
        tfc.repair(model, images, max_examples=0)
    with pytest.raises(ValueError, match=r"Received: headroom=1\.5"):
        Equalize(headroom=1.5)
    with pytest.raises(ValueError, match="Received: passes=0"):
        CorrectBiases(passes=0)


def test_the_former_name_of_max_examples_warns(mobile_net, images):
    with (
        pytest.warns(DeprecationWarning, match="`most` of repair is now `max_examples`"),
        pytest.raises(ValueError, match="Received: max_examples=0"),
    ):
        tfc.equalize(mobile_net(), images, most=0)


def test_steps_are_configured_by_objects(mobile_net, images):
    scheme = tfc.Scheme.int8_weights_int16_activations()
    steps = [Equalize(headroom=0.5), RoundWeights(dampings=(0.1,)), CorrectBiases()]
    repaired = tfc.repair(mobile_net(), images, steps, scheme=scheme, observer="percentile")
    assert [step.step for step in repaired.repair_report.steps] == [
        "equalize",
        "round",
        "correct_biases",
    ]
