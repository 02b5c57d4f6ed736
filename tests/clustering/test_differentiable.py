import keras
import numpy as np
import pytest
from small_clustered_net import compiled, data, net

import tfcompress as tfc
from exporters import export_tflite
from keras_callbacks import MagnitudePruning
from tfcompress.keras_graph.kernels import find_kernels


def soft(model=None, clusters=6, **how):
    return compiled(tfc.cluster_weights(model or net(), clusters, method="differentiable", **how))


def test_training_moves_values_and_lowers_the_loss():
    model = soft()
    before = [variable.numpy() for variable in model.non_trainable_variables]
    losses = model.fit(*data(), epochs=12, verbose=0).history["loss"]
    assert losses[-1] < 0.9 * losses[0]
    assert not np.array_equal(before[0], model.non_trainable_variables[0].numpy())
    for kernel in find_kernels(model):  # the stored weights are free
        assert len(np.unique(kernel.variable.numpy())) > 6


def test_settled_model_computes_what_the_wrapper_did():
    x, y = data()
    model = soft()
    model.fit(x, y, epochs=2, verbose=0)
    expected = model.predict(x, verbose=0)
    plain = model.settle()
    assert max(tfc.unique_weights(plain)[f"{n}/kernel"] for n in ("conv", "point", "head")) <= 6
    np.testing.assert_allclose(plain.predict(x, verbose=0), expected, atol=1e-5)
    compiled(plain).fit(x, y, verbose=0)
    assert max(tfc.unique_weights(plain)[f"{n}/kernel"] for n in ("conv", "point", "head")) <= 6


def test_values_of_each_channel():
    model = soft(clusters=3, layers="conv", granularity="channel")
    model.fit(*data(), verbose=0)
    kernel = model.settle().get_layer("conv").kernel.numpy()
    assert all(len(np.unique(kernel[..., channel])) <= 3 for channel in range(16))
    assert len(np.unique(kernel)) > 3


def test_zeros_of_pruning_stay():
    model = compiled(net())
    model.fit(*data(), verbose=0, callbacks=[MagnitudePruning(tfc.ConstantSparsity(0.5, 0))])
    zeros = model.get_layer("conv").kernel.numpy() == 0
    wrapped = soft(model)
    wrapped.fit(*data(), epochs=2, verbose=0)
    settled = wrapped.settle().get_layer("conv").kernel.numpy()
    assert (settled[zeros] == 0).all()
    assert len(np.unique(settled)) <= 6


def test_compiled_by_xla_in_executions_of_several_steps():
    model = tfc.cluster_weights(net(), 4, method=tfc.DifferentiableKMeans(0.1, 2))
    compiled(model, jit_compile=True, steps_per_execution=2).fit(*data(), epochs=2, verbose=0)
    assert tfc.unique_weights(model.settle())["point/kernel"] <= 4


def test_mixed_precision():
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = soft()
    finally:
        keras.config.set_dtype_policy("float32")
    model.fit(*data(), epochs=2, verbose=0)
    assert tfc.unique_weights(model.settle())["point/kernel"] <= 6


def test_saved_and_loaded(tmp_path):
    x, y = data()
    model = soft()
    model.fit(x, y, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded.predict(x, verbose=0), model.predict(x, verbose=0))
    assert loaded.method == model.method


def test_unfinished_models_are_refused_by_name(tmp_path):
    model = soft()
    with pytest.raises(
        ValueError, match=r"an export needs.*Pass the model that `settle\(\)` returns"
    ):
        export_tflite(model, tmp_path / "model.tflite", "float32")
    with pytest.raises(
        ValueError, match=r"an export needs.*Pass the model that `settle\(\)` returns"
    ):
        export_tflite(tfc.Distiller(model, net()), tmp_path / "model.tflite", "float32")
    with pytest.raises(ValueError, match=r"Pass the model that `settle\(\)` returns"):
        tfc.quantize_aware(model)
    with pytest.raises(ValueError, match=r"Pass the model that `settle\(\)` returns"):
        tfc.cluster_weights(model)
    with pytest.raises(ValueError, match=r"Pass the model that `settle\(\)` returns"):
        model.fit(*data(), verbose=0, callbacks=[MagnitudePruning(tfc.ConstantSparsity(0.5, 0))])
    with pytest.raises(ValueError, match=r"Pass the model that `fold\(\)` returns"):
        tfc.cluster_weights(tfc.gated(net(), 0.5, "element"))
    with pytest.raises(ValueError, match="method='soft'"):
        tfc.cluster_weights(net(), method="soft")
