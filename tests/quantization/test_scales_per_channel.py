"""Kernels whose scales the converter chooses itself find the grid that was trained."""

import keras
import numpy as np
import pytest
from keras import layers as kl

import tfcompress as tfc
from exporters import export_tflite
from tfcompress.tflite.constants import constant_value
from tfcompress.tflite.flatbuffer import read_model

RNG = np.random.default_rng(0)
IMAGE, SERIES = (8, 8, 4), (12, 4)
LAYERS = {
    "conv1d": (SERIES, lambda: kl.Conv1D(6, 3)),
    "conv1d strided": (SERIES, lambda: kl.Conv1D(6, 3, strides=2, padding="same")),
    "depthwise1d": (SERIES, lambda: kl.DepthwiseConv1D(3)),
    "separable1d": (SERIES, lambda: kl.SeparableConv1D(6, 3)),
    "transposed2d": (IMAGE, lambda: kl.Conv2DTranspose(3, 2, strides=2)),
    "transposed1d": (SERIES, lambda: kl.Conv1DTranspose(3, 2, strides=2)),
}
SCHEMES = {
    "int8": tfc.Scheme.int8(),
    "int16x8": tfc.Scheme.int8_weights_int16_activations(),
    "int4": tfc.Scheme.int4_weights(),
}


def restored_kernels(path):
    """Return the numbers that each kernel of a file means, sorted, and how many scales it has."""
    model = read_model(path)
    found = []
    for tensor in model.subgraphs[0].tensors:
        if not tensor.constant or tensor.dtype not in ("INT8", "INT4") or len(tensor.shape) < 3:
            continue
        scales = np.float32(tensor.quantization.scales)
        if len(scales) > 1:
            shape = [1] * len(tensor.shape)
            shape[tensor.quantization.axis] = -1
            scales = scales.reshape(shape)
        found.append((np.sort((constant_value(model, tensor) * scales).ravel()), scales.size))
    return found


CASES = [
    (layer, scheme)
    for layer in LAYERS
    for scheme in SCHEMES
    if not (layer.startswith("transposed") and scheme == "int4")
]


@pytest.mark.parametrize(("layer", "scheme"), CASES)
def test_file_holds_the_weights_that_were_trained(layer, scheme, tmp_path):
    shape, build = LAYERS[layer]
    model = keras.Sequential([keras.Input(shape), build()])
    x = RNG.normal(size=(16, *shape)).astype("float32")
    for variable in model.trainable_variables:  # channels of very different sizes
        size = 10.0 ** RNG.uniform(-1, 1, variable.shape[-1])
        variable.assign(RNG.normal(size=variable.shape) * size)
    q = tfc.quantize_aware(model, SCHEMES[scheme]).calibrate(x)
    result = export_tflite(q, tmp_path / "m.tflite", validation_data=x)
    trained = [np.sort(rounded.numpy().ravel()) for _, rounded in q._weights.rounded()]
    found = restored_kernels(result.path)
    assert len(found) == len(trained)
    for weights in trained:
        size = np.abs(weights).max()
        assert any(
            values.size == weights.size and np.allclose(values, weights, atol=1e-6 * size)
            for values, _ in found
        )
    if scheme != "int4":
        assert all(scales > 1 for _, scales in found)
    # A rounding may fall on the other side: by a step of the output, or by a step of the inner
    # tensor times the weights that it is multiplied by.
    ends = np.abs(q.ranges.numpy()).max(axis=1)
    steps = 2 * ends / (65535 if scheme == "int16x8" else 255)
    allowed = 1.01 * steps[-1]
    if len(trained) == 2:
        pointwise = np.abs(model.layers[0].pointwise_kernel.numpy())
        allowed += steps[1] * pointwise.sum(axis=(0, 1)).max()
    unit = 1.0 if scheme == "int16x8" else result.report.outputs[0]["scale"]
    assert result.report.agreement.largest * unit <= allowed


@pytest.mark.parametrize("layer", ["transposed1d", "transposed2d"])
def test_transposed_convolutions_have_no_4_bits(layer):
    shape, build = LAYERS[layer]
    model = keras.Sequential([keras.Input(shape), build()], name="net")
    name = model.layers[0].name
    with pytest.raises(ValueError, match=rf"no kernel for 4-bit.*override\(\['{name}'\]"):
        tfc.quantize_aware(model, tfc.Scheme.int4_weights())
    scheme = tfc.Scheme.int4_weights().override([name], tfc.Scheme.int8())
    assert tfc.quantize_aware(model, scheme).scheme == scheme


def test_embeddings_have_no_4_bits():
    tokens = keras.Input((6,), dtype="int32")
    x = kl.Flatten()(kl.Embedding(9, 4, name="tokens")(tokens))
    model = keras.Model(tokens, kl.Dense(3)(x))
    with pytest.raises(ValueError, match=r"embeddings have no kernel for 4-bit.*\['tokens'\]"):
        tfc.quantize_aware(model, tfc.Scheme.int4_weights())
    scheme = tfc.Scheme.int4_weights().override("tokens", tfc.Scheme.int8())
    assert tfc.quantize_aware(model, scheme).scheme == scheme
