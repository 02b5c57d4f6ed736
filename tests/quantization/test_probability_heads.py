"""Losses on probabilities see the logits behind them, while inference gives the device's."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers as kl

import tfcompress as tfc
from exporters import export_tflite

SPARSE = keras.losses.SparseCategoricalCrossentropy
BINARY = keras.losses.BinaryCrossentropy


def by_hand(x):
    scores = keras.ops.exp(x - keras.ops.max(x, axis=-1, keepdims=True))
    return scores / keras.ops.sum(scores, axis=-1, keepdims=True)


HEADS = {
    "logits": lambda: [kl.Dense(3)],
    "layer activation": lambda: [kl.Dense(3, activation="softmax")],
    "Activation": lambda: [kl.Dense(3), kl.Activation("softmax")],
    "Softmax": lambda: [kl.Dense(3), kl.Softmax()],
    "operation": lambda: [kl.Dense(3), keras.ops.softmax],
    "by hand": lambda: [kl.Dense(3), by_hand],
    "nested": lambda: [keras.Sequential([kl.Input((8,)), kl.Dense(3, activation="softmax")])],
}


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(96, 6)).astype("float32")
    return x, (x @ rng.normal(size=(6, 3))).argmax(-1)


def net(head, seed=1, certain=1.0):
    """Build a net with a head; one that is ``certain`` has large logits."""
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((6,))
    x = kl.Dense(8, activation="relu")(inputs)
    for layer in HEADS[head]():
        x = layer(x)
    model = keras.Model(inputs, x)
    weights = model.get_weights()
    weights[2] *= certain
    model.set_weights(weights)
    return model


def loss_and_gradient(model, loss, x, y, choose=lambda outputs: outputs):
    @tf.function
    def run():
        with tf.GradientTape() as tape:
            value = loss(y, choose(model(x, training=True)))
        gradient = tape.gradient(value, model.trainable_variables)
        return value, tf.linalg.global_norm([g for g in gradient if g is not None])

    return [float(value) for value in run()]


def compiled(model, loss):
    model.compile(keras.optimizers.SGD(0.1), loss, metrics=["accuracy"], jit_compile=False)
    return model


def test_a_softmax_by_hand_is_one(data, tmp_path):
    x, _ = data
    q, twin = (tfc.quantize_aware(net(h, certain=60)).calibrate(x) for h in ("by hand", "Softmax"))
    wrong = twin.predict(x, verbose=0).argmin(-1)
    assert loss_and_gradient(q, SPARSE(), x, wrong) == loss_and_gradient(twin, SPARSE(), x, wrong)
    report = export_tflite(q, tmp_path / "m.tflite", validation_data=x).report
    assert "SOFTMAX" in report.operations
    assert not {"EXP", "DIV", "SUM"} & set(report.operations)
    assert report.agreement.equal == 1.0


@pytest.mark.parametrize("head", [head for head in HEADS if head not in ("logits", "by hand")])
def test_the_most_wrong_examples_have_the_gradient_of_logits(head, data):
    x, _ = data
    logits, probabilities = net("logits", certain=60), net(head, certain=60)
    wrong = logits.predict(x, verbose=0).argmin(-1)
    expected = loss_and_gradient(probabilities, SPARSE(), x, wrong)
    ours = loss_and_gradient(tfc.quantize_aware(probabilities).calibrate(x), SPARSE(), x, wrong)
    twin = tfc.quantize_aware(logits).calibrate(x)
    assert ours == loss_and_gradient(twin, SPARSE(from_logits=True), x, wrong)
    np.testing.assert_allclose(ours, expected, rtol=0.1)  # the rest is rounding
    assert expected[0] > 50  # probabilities alone give at most -log(1e-7) = 16.1


@pytest.mark.parametrize("head", ["layer activation", "Softmax", "nested"])
def test_evaluation_sees_logits_and_prediction_gives_what_the_file_does(head, data, tmp_path):
    x, y = data
    q = compiled(tfc.quantize_aware(net(head, certain=60)).calibrate(x), SPARSE())
    twin = compiled(
        tfc.quantize_aware(net("logits", certain=60)).calibrate(x), SPARSE(from_logits=True)
    )
    assert q.evaluate(x, 2 - y, verbose=0)[0] == twin.evaluate(x, 2 - y, verbose=0)[0] > 20
    predicted = q.predict(x, verbose=0)
    assert (predicted * 256 == np.round(predicted * 256)).all()
    report = export_tflite(q, tmp_path / "m.tflite", validation_data=x).report
    assert report.agreement.equal == 1.0
    assert not (np.asarray(q(x, training=True)) * 256 % 1 == 0).all()


@pytest.mark.parametrize("eagerly", [False, True])
def test_from_scratch_probabilities_train_as_logits_do(eagerly, data):
    x, y = data
    twins = []
    for head, loss in (("logits", SPARSE(from_logits=True)), ("Softmax", SPARSE())):
        q = tfc.quantize_aware(net(head))
        q.compile("adam", loss, run_eagerly=eagerly, jit_compile=False)
        q.optimizer.build(q.trainable_variables)
        variables = [*q.variables, *q.optimizer.variables]
        twins.append((q, variables, [np.array(variable) for variable in variables]))
    for seed in range(1) if eagerly else range(2):
        ends = []
        for q, variables, start in twins:
            for variable, value in zip(variables, start, strict=True):
                variable.assign(value)
            q.model.set_weights(net("logits", seed).get_weights())
            history = q.fit(
                x, y, epochs=2, validation_data=(x, y), shuffle=False, verbose=0
            ).history
            ends.append((history["loss"], history["val_loss"], q.get_weights()))
        assert ends[0][:2] == ends[1][:2]
        for one, other in zip(ends[0][2][:4], ends[1][2][:4], strict=True):
            np.testing.assert_array_equal(one, other)


def test_a_model_that_is_wrong_everywhere_and_sure_learns_again(data):
    x, _ = data
    model = net("layer activation", certain=60)
    wrong = model.predict(x, verbose=0).argmin(-1)
    q = tfc.quantize_aware(model).calibrate(x)
    q.compile(keras.optimizers.Adam(0.05), SPARSE(), metrics=["accuracy"], jit_compile=False)
    assert q.evaluate(x, wrong, verbose=0)[1] == 0.0
    q.fit(x, wrong, epochs=60, verbose=0)
    assert q.evaluate(x, wrong, verbose=0)[1] > 0.9


def two_heads(activations):
    keras.utils.set_random_seed(2)
    inputs = keras.Input((6,))
    kind = kl.Dense(3, activation=activations[0], name="kind")(inputs)
    tags = kl.Dense(4, activation=activations[1], name="tags")(inputs)
    model = keras.Model(inputs, {"kind": kind, "tags": tags})
    model.set_weights([60 * weight for weight in model.get_weights()])
    return model


def test_softmax_and_sigmoid_outputs_beside_each_other(data):
    x, y = data
    tags = np.random.default_rng(3).integers(0, 2, (len(x), 4)).astype("float32")
    losses = []
    for activations in ((None, None), ("softmax", "sigmoid")):
        q = tfc.quantize_aware(two_heads(activations)).calibrate(x)
        raw = activations[0] is None
        q.compile(
            "sgd", {"kind": SPARSE(from_logits=raw), "tags": BINARY(from_logits=raw)},
            jit_compile=False,
        )  # fmt: skip
        evaluated = q.evaluate(x, {"kind": y, "tags": tags}, verbose=0, return_dict=True)
        trained = q.train_on_batch(x, {"kind": y, "tags": tags}, return_dict=True)
        losses.append([evaluated["kind_loss"], evaluated["tags_loss"], trained["loss"]])
    assert losses[0] == losses[1]
    assert min(losses[1]) > 16.2  # more than clipped probabilities could give


def test_probabilities_that_another_layer_reads_stay_rounded_and_keep_their_logits(data):
    x, y = data
    inputs = keras.Input((6,))
    first = kl.Dense(3, activation="softmax", name="first")(inputs)
    model = keras.Model(inputs, [first, kl.Dense(2, name="second")(first)])
    q = tfc.quantize_aware(model).calibrate(x)
    trained = np.asarray(q(x, training=True)[0])
    np.testing.assert_array_equal(trained * 256, np.round(trained * 256))
    model.set_weights([60 * weight for weight in model.get_weights()])
    value, _ = loss_and_gradient(q.calibrate(x), SPARSE(), x, 2 - y, lambda outputs: outputs[0])
    assert value > 20  # probabilities alone give at most 16.1


def test_copied_probabilities_are_not_rounded_in_training(data):
    # Keras finds no logits behind a Reshape; it clips the probabilities at 1e-7.
    x, _ = data
    inputs = keras.Input((6,))
    x3 = kl.Dense(6, activation="sigmoid")(inputs)
    model = keras.Model(inputs, kl.Permute((2, 1))(kl.Reshape((2, 3))(x3)))
    q = tfc.quantize_aware(model).calibrate(x)
    trained = np.asarray(tf.function(q)(x, training=True)) * 256
    assert (trained != np.round(trained)).mean() > 0.9
    predicted = q.predict(x, verbose=0) * 256
    np.testing.assert_array_equal(predicted, np.round(predicted))


@pytest.mark.parametrize("distilled", [False, True])
def test_keras_warns_of_logits_that_are_none(distilled, data):
    x, y = data
    q = model = tfc.quantize_aware(net("Softmax")).calibrate(x)
    if distilled:
        model = tfc.Distiller(q, net("Softmax", 5))
    model.compile("sgd", SPARSE(from_logits=True), jit_compile=False)
    with pytest.warns(UserWarning, match="does not represent logits"):
        model.fit(x, y, epochs=1, verbose=0)


def test_a_distilled_task_loss_is_that_of_the_logits(data):
    x, _ = data
    losses = []
    for head, raw in (("logits", True), ("layer activation", False)):
        model = net(head, certain=60)
        wrong = net("logits", certain=60).predict(x, verbose=0).argmin(-1)
        q = tfc.quantize_aware(model).calibrate(x)
        distiller = tfc.Distiller(q, net(head, certain=60))
        distiller.compile("sgd", SPARSE(from_logits=raw), jit_compile=False)
        evaluated = distiller.evaluate(x, wrong, verbose=0)
        history = distiller.fit(x, wrong, batch_size=96, verbose=0).history
        losses.append([history["task_loss"][0], evaluated])
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-5)
    assert losses[1][0] > 50
