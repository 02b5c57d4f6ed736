"""Files that ai-edge-quantizer makes: what is in them, and that they run and agree with Keras."""

import builtins

import keras
import numpy as np
import pytest
from keras import layers as kl

import tfcompress as tfc
from exporters import AfterTraining, export_tflite
from exporters.after_training.calibration import (
    complete_ranges,
    learnt_ranges,
    observe,
    second_moments,
)
from exporters.converting import FloatOperationError, convert_model
from tfcompress.tflite.flatbuffer import read_model
from tfcompress.tflite.precision import float_operations

pytest.importorskip("ai_edge_quantizer", reason="needs the extra: pip install 'tfcompress[ptq]'")


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).random((64, 8, 8, 3), dtype="float32")


@pytest.fixture(scope="module")
def net():
    """Build a convolution, a depthwise one and two fully connected layers, with trained scales."""
    keras.utils.set_random_seed(1)
    return keras.Sequential(
        [
            keras.Input((8, 8, 3), name="image"),
            kl.Conv2D(8, 3, padding="same", use_bias=False, name="conv"),
            kl.BatchNormalization(name="norm"),
            kl.ReLU(6.0, name="relu"),
            kl.DepthwiseConv2D(3, padding="same", activation="relu", name="depthwise"),
            kl.MaxPooling2D(2, name="pool"),
            kl.Flatten(name="flat"),
            kl.Dense(64, activation="relu", name="hidden"),
            kl.Dense(10, name="head"),
        ],
        name="net",
    )


def kernels(content):
    """Return {operation: [(type, number of scales, block size) of each kernel]}."""
    graph = read_model(content).subgraphs[0]
    found = {}
    for operation in graph.operations:
        if operation.name in ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"):
            kernel = graph.tensors[operation.inputs[1]]
            scales = kernel.quantization
            found.setdefault(operation.name, []).append(
                (kernel.dtype, len(scales.scales), scales.block_size)
            )
    return found


def exported(net, path, settings, images, **arguments):
    result = export_tflite(net, path, settings, representative_data=images, **arguments)
    return result.report, path.read_bytes()


def test_int8_has_a_scale_for_each_channel_of_a_dense_kernel(net, images, tmp_path):
    report, content = exported(net, tmp_path / "m.tflite", AfterTraining(), images)
    assert kernels(content) == {
        "CONV_2D": [("INT8", 8, 0)],
        "DEPTHWISE_CONV_2D": [("INT8", 8, 0)],
        "FULLY_CONNECTED": [("INT8", 64, 0), ("INT8", 10, 0)],
    }
    assert report.float_operations == ()
    assert [port["dtype"] for port in (*report.inputs, *report.outputs)] == ["int8", "int8"]
    assert report.agreement.within_one >= 0.9
    assert report.agreement.largest <= 3


def test_four_bits_reach_convolutions_and_dense_kernels(net, images, tmp_path):
    report, content = exported(net, tmp_path / "m.tflite", AfterTraining(weight_bits=4), images)
    assert kernels(content) == {
        "CONV_2D": [("INT4", 8, 0)],
        "DEPTHWISE_CONV_2D": [("INT8", 8, 0)],
        "FULLY_CONNECTED": [("INT4", 64, 0), ("INT4", 10, 0)],
    }
    assert report.float_operations == ()
    assert report.size < exported(net, tmp_path / "8.tflite", AfterTraining(), images)[0].size


def test_blocks_of_weights_have_scales_of_their_own(net, images, tmp_path):
    settings = AfterTraining(weight_bits=4, activation_bits=None, block_size=32)
    _, content = exported(net, tmp_path / "m.tflite", settings, images)
    hidden, head = kernels(content)["FULLY_CONNECTED"]
    assert (hidden[0], hidden[2]) == ("INT4", 32)
    assert (head[0], head[2]) == ("INT4", 32)


def test_a_layer_without_whole_blocks_has_a_scale_for_each_channel(images):
    net = keras.Sequential([keras.Input((40,)), kl.Dense(64), kl.Dense(5)])
    settings = AfterTraining(weight_bits=4, activation_bits=None, block_size=32)
    content = convert_model(net, settings).flatbuffer
    assert kernels(content) == {"FULLY_CONNECTED": [("INT4", 64, 0), ("INT4", 0, 32)]}
    assert errors(net, settings, images[:, :5, :, 0].reshape(-1, 40)) < 0.1


def errors(net, settings, images):
    """Return the root of the mean squared error of a file's outputs."""
    from exporters import load

    with load(convert_model(net, settings, representative_data=images).flatbuffer) as loaded:
        outputs = loaded.predict(images)[0]
    return float(np.sqrt(np.mean((outputs - net.predict(images, verbose=0)) ** 2)))


def test_sixteen_bit_activations_are_nearer_to_the_float_model(net, images, tmp_path):
    settings = AfterTraining(activation_bits=16)
    report, content = exported(net, tmp_path / "m.tflite", settings, images)
    assert report.float_operations == ()
    graph = read_model(content).subgraphs[0]
    made = [graph.tensors[operation.outputs[0]].dtype for operation in graph.operations]
    assert made == ["INT16"] * 7 + ["FLOAT32"]
    eight_bits = errors(net, AfterTraining(), images)
    assert errors(net, settings, images) < 0.8 * eight_bits


def test_gptq_is_nearer_to_the_float_model_than_rounding(net, images):
    four_bits = {"weight_bits": 4, "activation_bits": None}
    rounded = errors(net, AfterTraining(**four_bits), images)
    chosen = errors(net, AfterTraining(**four_bits, gptq=True), images)
    assert chosen < rounded


def test_learnt_ranges_reach_the_file(net, images):
    q = tfc.quantize_aware(net)
    q.calibrate(images)
    content = convert_model(q, AfterTraining()).flatbuffer
    graph = read_model(content).subgraphs[0]
    made = convert_model(q).content.subgraphs[0]

    def scales(graph):
        return {
            tensor.shape: tensor.quantization.scales[0]
            for tensor in graph.tensors
            if not tensor.constant and tensor.dtype == "INT8"
        }

    assert scales(graph) == pytest.approx(scales(made), rel=1e-5)
    assert len(scales(graph)) >= 5


def test_learnt_ranges_are_found_by_value(net, images):
    q = tfc.quantize_aware(net)
    q.calibrate(images)
    content = convert_model(net, "float32").flatbuffer
    learnt = learnt_ranges(q, content)
    observed = observe(content, ({"image": image[None]} for image in images))
    assert len(learnt) >= 5
    for name, ends in learnt.items():
        assert ends[0] <= 0 <= ends[1]
        assert ends == pytest.approx(observed[name], abs=0.2 * (ends[1] - ends[0]))
    assert set(complete_ranges(content, learnt)) == set(observed)


def test_second_moments_are_those_of_what_enters(images):
    net = keras.Sequential([keras.Input((4,), name="x"), kl.Dense(2)])
    x = images[:, 0, :2, :2].reshape(-1, 4)
    content = convert_model(net, "float32").flatbuffer
    (found,) = second_moments(content, [{"x": row[None]} for row in x]).values()
    np.testing.assert_allclose(found[0], 2.0 * x.T @ x / len(x), rtol=1e-5)
    assert found[1] == len(x)


def test_a_float_operation_is_refused_by_the_layers_name(images):
    layers = [kl.Conv2D(4, 3), kl.ELU(name="curve"), kl.Conv2D(2, 3)]
    net = keras.Sequential([keras.Input((8, 8, 3)), *layers])
    with pytest.raises(FloatOperationError, match="curve"):
        convert_model(net, AfterTraining(), representative_data=images)
    content = convert_model(
        net, AfterTraining(), representative_data=images, allow_float=["curve"]
    ).content
    assert [operation.name for operation in float_operations(content)].count("ELU") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"weight_bits": 3}, "Received: weight_bits=3"),
        ({"activation_bits": 4}, "Received: activation_bits=4"),
        ({"block_size": 48}, "Received: block_size=48"),
        ({"block_size": 32}, "activation_bits=8"),
        ({"block_size": 32, "activation_bits": None}, "weight_bits=8"),
        ({"gptq": True}, "activation_bits=8"),
    ],
)
def test_what_is_not_supported_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        AfterTraining(**arguments)


def test_data_is_asked_for(net):
    with pytest.raises(ValueError, match="representative_data"):
        convert_model(net, AfterTraining())
    with pytest.raises(ValueError, match="representative_data"):
        convert_model(net, AfterTraining(activation_bits=None, gptq=True))


def test_a_missing_quantizer_is_said_how_to_install(net, images, monkeypatch):
    import_ = builtins.__import__

    def without(name, *arguments):
        if name.startswith("ai_edge_quantizer"):
            raise ImportError(name)
        return import_(name, *arguments)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match=r"pip install 'tfcompress\[ptq\]'"):
        convert_model(net, AfterTraining(), representative_data=images)
