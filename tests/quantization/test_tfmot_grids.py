"""Fake quantization in a model: its grids are those of the file, and no operation is left of it."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers as kl

from exporters import load
from exporters.converting import convert_model
from tfcompress.quantization.planning import (
    Fixed,
    Float,
    make_plan,
    tfmot_activation_grid,
    tfmot_kernel_bits,
)
from tfcompress.quantization.scheme import Scheme
from tfcompress.tflite.constants import constant_value
from tfcompress.tflite.filling import Storage
from tfcompress.tflite.flatbuffer import read_model
from tfcompress.tflite.rewriting import remove_quantization_pairs


class Rounding(kl.Layer):
    """Rounds to a grid in 8 bits, or in others."""

    def __init__(self, smallest, largest, bits=8):
        super().__init__()
        self.range = {"min": smallest, "max": largest, "num_bits": bits}

    def call(self, x):
        return tf.quantization.fake_quant_with_min_max_args(x, **self.range)


class RoundedDense(kl.Dense):
    """Multiplies by a kernel that is rounded to steps of 1/100."""

    def call(self, x):
        kernel = tf.quantization.fake_quant_with_min_max_args(
            self.kernel, -1.27, 1.27, narrow_range=True
        )
        return x @ kernel + self.bias


IMAGES = np.random.default_rng(0).uniform(-1, 3, (32, 8, 8, 2)).astype("float32")


def built(*layers):
    keras.utils.set_random_seed(0)
    return keras.Sequential([keras.Input((8, 8, 2)), *layers])


def converted(model, quantization="int8"):
    return convert_model(model, quantization, representative_data=IMAGES)


def grids(content):
    """Return the name of each operation with the grid of what it makes."""
    graph = content.subgraphs[0]
    outputs = [graph.tensors[operation.outputs[0]] for operation in graph.operations]
    return [
        (
            operation.name,
            np.float32(tensor.quantization.scales[0]),
            *tensor.quantization.zero_points,
        )
        for operation, tensor in zip(graph.operations, outputs, strict=True)
    ]


def test_grids_of_the_model_are_those_of_the_file():
    model = built(Rounding(-1.0, 3.0), kl.Conv2D(3, 3), Rounding(-2.0, 3.1), kl.ReLU())
    content = converted(model).content
    graph = content.subgraphs[0]
    assert graph.tensors[graph.inputs[0]].quantization.scales == (np.float32(4 / 255),)
    assert graph.tensors[graph.inputs[0]].quantization.zero_points == (64 - 128,)
    (convolution, *others) = grids(content)
    assert convolution == ("CONV_2D", np.float32(5.1 / 255), 100 - 128)
    # The last range is observed.
    assert [name for name, *_ in others] == ["RELU"]


def test_a_grid_behind_a_copy_is_that_of_the_copied():
    model = built(kl.Conv2D(3, 3), kl.Flatten(), Rounding(-2.0, 3.1), kl.Dense(2))
    found = grids(converted(model).content)
    step = np.float32(5.1 / 255)
    assert found[:2] == [("CONV_2D", step, -28), ("RESHAPE", step, -28)]


def test_what_has_another_grid_is_read_on_the_one_of_the_model():
    """Averages are in the grid of what they are of, and the next layer reads them on its own."""
    model = built(
        Rounding(-1.0, 3.0),
        kl.AveragePooling2D(2),
        Rounding(-1.0, 2.0),
        kl.Flatten(),
        kl.Dense(2),
    )
    result = converted(model)
    names = [name for name, *_ in grids(result.content)]
    assert names == ["AVERAGE_POOL_2D", "QUANTIZE", "RESHAPE", "FULLY_CONNECTED"]
    pooled, read, copied, dense = (grid for _, *grid in grids(result.content))
    assert pooled == [np.float32(4 / 255), -64]
    assert read == copied == [np.float32(3 / 255), 85 - 128]
    expected = model(IMAGES).numpy()
    with load(result.flatbuffer) as loaded:
        found = loaded.predict(IMAGES)[0]
    assert np.abs(found - expected).max() < 2 * dense[0]


def test_a_kernel_has_the_integers_of_the_model():
    model = built(kl.Flatten(), RoundedDense(4))
    content = converted(model).content
    graph = content.subgraphs[0]
    kernel = graph.tensors[graph.operations[-1].inputs[1]]
    np.testing.assert_allclose(kernel.quantization.scales, [0.01], rtol=1e-6)
    rounded = np.rint(100 * model.layers[-1].kernel.numpy())
    np.testing.assert_array_equal(constant_value(content, kernel), rounded.T)


@pytest.mark.parametrize(
    ("form", "bits"),
    [
        (Storage("UINT8", (0.5, 0.25), (128, 128)), 8),
        (Storage("INT8", (0.5,), (0,)), 8),
        (Storage("UINT4", (0.5,), (8,)), 4),
        (Storage("UINT8", (0.5, 0.25), (128, 127)), None),
    ],
)
def test_kernels_have_no_zero_points(form, bits):
    assert tfmot_kernel_bits(form) == bits


@pytest.mark.parametrize(
    ("form", "dtype", "grid"),
    [
        # From -50 to 77.5, from -100 to 155, from -102 to 153.
        (Storage("UINT8", (0.5,), (100,)), "INT8", (0.5, -28)),
        (Storage("UINT8", (0.5,), (100,)), "INT16", (77.5 / 32767, 0)),
        (Storage("UINT16", (255 / 65535,), (25700,)), "INT8", (1.0, -28)),
        (Storage("INT4", (17.0,), (-2,)), "INT8", (1.0, -26)),
    ],
)
def test_a_range_stays_where_the_file_has_other_bits(form, dtype, grid):
    scale, zero_point = tfmot_activation_grid(form, dtype)
    assert scale == pytest.approx(grid[0], rel=1e-6)
    assert zero_point == grid[1]


@pytest.mark.parametrize(("quantization", "bits"), [("int16x8", 8), ("int8", 4), ("int8", 16)])
def test_a_file_of_other_bits_cuts_off_what_the_model_does(quantization, bits):
    model = built(kl.Conv2D(3, 3), Rounding(-0.5, 1.0, bits), kl.ReLU())
    result = converted(model, quantization)
    names = {operation.name for operation in result.content.subgraphs[0].operations}
    assert names - {"QUANTIZE", "DEQUANTIZE"} == {"CONV_2D", "RELU"}
    assert model.layers[0](IMAGES).numpy().max() > 1.5
    with load(result.flatbuffer) as loaded:
        largest = loaded.predict(IMAGES)[0].max()
    assert largest == pytest.approx(model(IMAGES).numpy().max(), abs=1.5 / 255)


def test_a_file_without_pairs_computes_what_it_did_without_rounding():
    model = built(Rounding(-1.0, 3.0), Rounding(-9.0, 9.0), kl.Conv2D(3, 3), Rounding(-6.0, 6.0))
    content = convert_model(model, "float32").flatbuffer
    bare, found = remove_quantization_pairs(content, read_model(content))
    assert [operation.name for operation in read_model(bare).subgraphs[0].operations] == ["CONV_2D"]
    # Of the two at the input the first counts.
    assert sorted(grid.scales[0] for grid in found.values()) == pytest.approx([4 / 255, 12 / 255])
    with load(bare) as loaded:
        np.testing.assert_allclose(
            loaded.predict(IMAGES)[0], model.layers[2](IMAGES).numpy(), atol=1e-5
        )


def test_what_lacks_a_range_is_in_float_where_none_is_observed():
    """Two parts have grids, what joins them has none; the layer behind reads on one again."""
    x = keras.Input((8, 8, 2))
    parts = [Rounding(-1.0, 3.0)(x), Rounding(-2.0, 6.0)(kl.Conv2D(2, 3, padding="same")(x))]
    joined = Rounding(-9.0, 9.0)(kl.ReLU()(kl.Concatenate()(parts)))
    model = keras.Model(x, Rounding(-4.0, 4.0)(kl.Conv2D(3, 3)(joined)))
    content = convert_model(model, "float32").flatbuffer
    bare, forms = remove_quantization_pairs(content, read_model(content))
    file = read_model(bare)
    plan = make_plan(file, Scheme.int8(), {}, forms, observed=False)
    in_float = [file.subgraphs[0].operations[index].name for index in plan.in_float]
    assert in_float == ["CONCATENATION", "RELU"]
    assert plan.rows == ()
    (first, concatenation, relu, last) = file.subgraphs[0].operations
    assert [plan.form(concatenation, place) for place in (0, 1)] == [Float(), Float()]
    assert plan.tensors[relu.outputs[0]] == Float()
    assert plan.form(last, 0) == Fixed(*tfmot_activation_grid(forms[relu.outputs[0]], "INT8"))
    assert plan.tensors[first.outputs[0]] == Fixed(
        *tfmot_activation_grid(forms[first.outputs[0]], "INT8")
    )
