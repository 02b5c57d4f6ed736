"""Files that a device refuses, rewritten: it takes them, and they give what they gave."""

import functools
import json

import edits
import keras
import numpy as np
import pytest
import tensorflow as tf
import toy_files
from keras import layers

from exporters import compatibility
from exporters.compatibility import check_target
from exporters.running.runtime import RunError, find_runtimes, load, load_isolated
from tfcompress.compat.tensorflow_graphs import freeze_variables
from tfcompress.tflite.flatbuffer import read_model
from tfcompress.tflite.rewriting import (
    REWRITES,
    fix_batch_to_one,
    split_dense_scales,
    split_transposed_activation,
)


def converted(shape, *stack, batch=1, quantization=None) -> bytes:
    """Convert a stack of layers."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input(shape), *stack])
    function = tf.function(lambda x: model(x, training=False))
    spec = tf.TensorSpec((batch, *shape), tf.float32, name="x")
    frozen = freeze_variables(function.get_concrete_function(spec))
    converter = tf.lite.TFLiteConverter.from_concrete_functions([frozen], model)
    if quantization is not None:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if quantization == "int8":
        samples = np.random.default_rng(0).random((16, 1, *shape), np.float32)
        converter.representative_dataset = lambda: ([sample] for sample in samples)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = tf.int8
    return converter.convert()


@functools.cache
def dense() -> bytes:
    """Two dynamic range dense layers: with bias and activation, and without."""
    hidden = layers.Dense(128, activation="relu", bias_initializer="normal", name="hidden")
    return converted((64,), hidden, layers.Dense(64, use_bias=False), quantization="dynamic")


@functools.cache
def upsampling(quantization, activation="relu", batch=1) -> bytes:
    """A transposed convolution with bias and activation."""
    up = layers.Conv2DTranspose(6, 3, 2, "same", activation=activation, bias_initializer="normal")
    return converted((8, 8, 4), up, layers.Conv2D(3, 1), quantization=quantization, batch=batch)


@functools.cache
def reshapes() -> bytes:
    """Reshapes that compute with a free batch."""
    stack = (layers.Reshape((8, 6)), layers.Conv1D(5, 3), layers.Flatten(), layers.Dense(3))
    return converted((6, 8), *stack, batch=None)


def operations(content):
    return [(op.name, op.version) for op in read_model(content).subgraphs[0].operations]


def outputs(content, kernels):
    with load(content, kernels=kernels) as loaded:
        (details,) = loaded.inputs
        values = np.random.default_rng(1).uniform(-1, 1, (5, *details.shape[1:]))
        return loaded.predict(values.astype(np.float32))[0]


@pytest.mark.parametrize(
    ("rewrite", "content", "expected"),
    [
        (
            split_dense_scales,
            dense,
            [
                ("FULLY_CONNECTED", 9),
                ("MUL", 1),
                ("ADD", 1),
                ("FULLY_CONNECTED", 9),
                ("MUL", 1),
            ],
        ),
        (
            split_transposed_activation,
            functools.partial(upsampling, None),
            [("TRANSPOSE_CONV", 3), ("RELU", 1), ("CONV_2D", 1)],
        ),
        (
            split_transposed_activation,
            functools.partial(upsampling, "int8"),
            [("TRANSPOSE_CONV", 3), ("CONV_2D", 3)],
        ),
        (
            fix_batch_to_one,
            reshapes,
            [
                ("RESHAPE", 1),
                ("EXPAND_DIMS", 1),
                ("CONV_2D", 1),
                ("RESHAPE", 1),
                ("FULLY_CONNECTED", 1),
            ],
        ),
        (
            fix_batch_to_one,
            functools.partial(upsampling, None, batch=None),
            [("TRANSPOSE_CONV", 4), ("CONV_2D", 1)],
        ),
    ],
)
@pytest.mark.parametrize("kernels", ["xnnpack", "reference"])
def test_a_rewrite_keeps_the_meaning(rewrite, content, expected, kernels):
    rewritten, changes = rewrite(content())
    assert changes
    assert operations(rewritten) == expected
    np.testing.assert_allclose(
        outputs(rewritten, kernels), outputs(content(), kernels), rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize("rewrite", REWRITES)
def test_a_rewrite_leaves_alone_what_needs_none(rewrite):
    for kind in ("float32", "int8"):
        content = toy_files.content(kind)
        assert rewrite(content) == (content, ())


def test_a_quantized_activation_that_the_range_does_not_imply_stays():
    """A range that begins below zero does not clip at zero by itself."""
    content = upsampling("int8")
    tree = edits.tree_of(content)
    output = read_model(content).subgraphs[0].operations[0].outputs[0]
    tree.subgraphs[0].tensors[output].quantization.zeroPoint = [0]
    assert split_transposed_activation(edits.packed(tree))[1] == ()


@pytest.mark.parametrize(
    ("content", "target"),
    [
        (dense, "raspberry-pi-zero"),
        (functools.partial(upsampling, "int8"), "coral-edgetpu"),
        (reshapes, "android-nnapi"),
    ],
)
def test_a_device_takes_the_fixed_file(content, target):
    before = check_target(content(), target)
    after = check_target(content(), target, fix=True)
    assert (before.ok, before.fixed) == (False, None)
    assert after.ok
    assert after.changes
    assert check_target(after.fixed, target).ok
    assert "fixed" not in json.loads(json.dumps(after.to_json()))


def test_a_file_that_is_fine_is_left_alone():
    verdict = check_target(toy_files.content("int8"), "generic-cpu", fix=True)
    assert (verdict.ok, verdict.changes, verdict.fixed) == (True, (), None)


def test_a_file_that_no_rewrite_helps_keeps_its_reasons():
    verdict = check_target(toy_files.content("float32"), "coral-edgetpu", fix=True)
    assert not verdict.ok
    assert verdict.fixed is None


def test_a_rewrite_that_changes_the_outputs_is_found_out(monkeypatch):
    def wrong(content):
        return edits.with_negated_kernel(content, "CONV_2D"), ("negated a kernel",)

    monkeypatch.setattr(compatibility, "REWRITES", (wrong,))
    faults = iter([2, 1])
    with pytest.raises(RunError, match="gives other values for 'output_0'"):
        compatibility.fixed_content(toy_files.content("int8"), lambda _: next(faults))


@pytest.mark.process
def test_the_old_runtime_runs_the_fixed_dense_file(old_runtime):
    (runtime,) = find_runtimes(old_runtime)
    with pytest.raises(RunError, match=r"FULLY_CONNECTED' version '12'"):
        load_isolated(dense(), runtime)
    fixed = check_target(dense(), "raspberry-pi-zero", fix=True).fixed
    values = np.random.default_rng(0).standard_normal((3, 64)).astype(np.float32)
    with load_isolated(fixed, runtime) as old, load(dense()) as new:
        np.testing.assert_allclose(
            old.predict(values)[0], new.predict(values)[0], rtol=1e-4, atol=1e-4
        )
