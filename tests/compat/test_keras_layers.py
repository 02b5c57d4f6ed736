import keras
import numpy as np
from compat.canary import canary
from keras import layers as kl

from tfcompress.compat import keras_layers


@canary("keras", "Layer._flatten_layers")
def test_all_layers():
    model = keras.Sequential([kl.TimeDistributed(kl.Dense(1, name="inner"), name="outer")])
    names = [layer.name for layer in keras_layers.all_layers(model, include_self=False)]
    assert names == ["outer", "inner"]
    (outer,) = keras_layers.all_layers(model, include_self=False, recursive=False)
    assert outer.name == "outer"


@canary("keras", "Dense._kernel", "EinsumDense._kernel", "Conv2D._kernel")
def test_stored_kernel():
    for layer, shape in [
        (kl.Dense(2), (1, 3)),
        (kl.EinsumDense("ab,bc->ac", (2,)), (1, 3)),
        (kl.Conv2D(2, 1), (1, 1, 1, 3)),
    ]:
        layer.build(shape)
        layer.enable_lora(1)
        assert isinstance(keras_layers.stored_kernel(layer), keras.Variable)
    assert keras_layers.stored_kernel(kl.ReLU()) is None


@canary("keras", "Embedding._embeddings")
def test_stored_embeddings():
    layer = kl.Embedding(5, 4)
    layer.build()
    assert isinstance(keras_layers.stored_embeddings(layer), keras.Variable)
    assert keras_layers.stored_embeddings(layer).shape == (5, 4)


@canary("keras", "Layer._trainable_variables")
def test_own_trainable_variables():
    layer = kl.Dense(2, trainable=False)
    layer.build((1, 3))
    assert len(keras_layers.own_trainable_variables(layer)) == 2


@canary("keras", "Layer._trainable")
def test_shown_as_frozen():
    layer = kl.Dense(2)
    layer.build((1, 3))
    with keras_layers.shown_as_frozen(layer, True):
        assert not layer.trainable
        assert layer.kernel.trainable
    assert layer.trainable


@canary("keras", "keras.src")
def test_is_stock():
    class Own(kl.Dense):
        pass

    assert keras_layers.is_stock(kl.Dense(1))
    assert not keras_layers.is_stock(Own(1))


@canary("keras", "keras.src.utils.naming.to_snake_case")
def test_automatic_name():
    assert keras_layers.automatic_name("Conv2DTranspose") == "conv2d_transpose"


@canary("keras", "keras.src.applications")
def test_application_layer():
    for module, name in [
        ("inception_resnet_v2", "CustomScaleLayer"),
        ("convnext", "LayerScale"),
        ("convnext", "StochasticDepth"),
    ]:
        assert issubclass(keras_layers.application_layer(module, name), keras.Layer)


@canary("keras", "Lambda._output_shape")
def test_declared_output_shape():
    layer = kl.Lambda(lambda x: x[:, :1], output_shape=(1,))
    assert keras_layers.declared_output_shape(layer) == (1,)


@canary("keras", "Layer._build_shapes_dict")
def test_build_shapes():
    layer = kl.Dense(2)
    assert keras_layers.build_shapes(layer) == {}
    layer(np.zeros((1, 3)))
    assert list(keras_layers.build_shapes(layer).values()) == [(1, 3)]


@canary(
    "keras",
    "GroupNormalization._reshape_into_groups",
    "GroupNormalization._create_broadcast_shape",
)
def test_split_into_groups():
    layer = kl.GroupNormalization(2)
    layer.build((5, 3, 4))
    grouped, shape = keras_layers.split_into_groups(layer, keras.ops.ones((5, 3, 4)))
    assert tuple(grouped.shape) == (5, 3, 2, 2)
    assert [int(size) for size in shape] == [1, 1, 2, 2]


@canary("keras", "GroupedQueryAttention._query_dense")
def test_grouped_projections():
    layer = kl.GroupQueryAttention(4, 2, 1)
    layer.build((None, 3, 8), (None, 3, 8))
    projections, last = keras_layers.grouped_projections(layer)
    assert {role for role, _ in projections} == {"query", "key", "value"}
    assert last.kernel.shape == (2, 4, 8)
