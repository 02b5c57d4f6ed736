"""The teacher cache: what it stores, what it refuses, and what training with it costs."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import tfcompress as tfc
from tfcompress.distillation import (
    Features,
    SoftLabels,
    StaleCacheError,
    TeacherCache,
    cache_teacher,
    seeded_views,
)

CROSSENTROPY = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def net(width, name="teacher"):
    return keras.Sequential(
        [
            keras.Input((4,)),
            layers.Dense(width, activation="relu", name="hidden"),
            layers.Dense(3, name="head"),
        ],
        name=name,
    )


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    return rng.normal(size=(50, 4)).astype("float32"), rng.integers(0, 3, 50)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "cache"


def cached(teacher, x, folder, **options):
    return cache_teacher(teacher, x, folder, progress=False, **options)


class CountingTeacher:
    """A callable teacher that counts the examples it sees."""

    def __init__(self, model):
        self.model = model
        self.seen = []

    def __call__(self, x):
        def run(batch):
            self.seen.append(len(batch))
            return self.model(batch, training=False).numpy()

        outputs = tf.numpy_function(run, [x], tf.float32)
        outputs.set_shape([None, 3])
        return outputs


@pytest.mark.parametrize(("dtype", "size"), [("float32", 4), ("float16", 2)])
def test_the_rows_are_the_teachers_outputs(data, folder, dtype, size):
    teacher = net(8)
    cached(teacher, data[0], folder, layers=["hidden"], dtype=dtype)
    rows, features = np.load(folder / "output_0.npy"), np.load(folder / "layer_0.npy")
    assert rows.dtype == features.dtype == dtype
    assert rows.nbytes == 50 * 3 * size
    expected = teacher.predict(data[0], verbose=0)
    np.testing.assert_allclose(rows, expected, rtol=1e-5 if size == 4 else 2e-3, atol=1e-3)
    hidden = teacher.get_layer("hidden")(data[0])
    np.testing.assert_allclose(features, hidden, rtol=1e-5 if size == 4 else 2e-3, atol=1e-3)


def test_training_from_the_cache_equals_training_with_the_teacher(data, folder):
    x, y = data
    teacher = net(8)
    cache = cached(teacher, x, folder, layers=["hidden"])
    results = []
    for source in (teacher, cache):
        keras.utils.set_random_seed(1)
        losses = [SoftLabels(), Features("hidden", "hidden")]
        distiller = tfc.Distiller(net(5, "student"), source, losses)
        distiller.compile("sgd", CROSSENTROPY)
        if source is cache:
            fit_data = (cache.attach(x, y, batch_size=10, shuffle=False),)
        else:
            fit_data = (x, y)
        history = distiller.fit(*fit_data, batch_size=None if source is cache else 10, epochs=3,
                                shuffle=False, verbose=0).history  # fmt: skip
        results.append(history)
    assert results[0] == {key: pytest.approx(value, rel=1e-4) for key, value in results[1].items()}


def test_each_example_keeps_its_own_row_when_shuffled(data, folder):
    x, y = data
    teacher = net(8)
    cache = cached(teacher, x, folder)
    for attached in (
        cache.attach(x, y, batch_size=7, seed=3),
        cache.attach(tf.data.Dataset.from_tensor_slices((x, y)).batch(10), batch_size=7, seed=3),
    ):
        epochs = []
        for _ in range(2):
            batches = list(attached)
            epochs.append(np.concatenate([taught.inputs for taught, _ in batches]))
            rows = np.concatenate([taught.outputs[0] for taught, _ in batches])
            labels = np.concatenate([label for _, label in batches])
            np.testing.assert_allclose(rows, teacher(epochs[-1]), rtol=1e-4, atol=1e-6)
            order = [int(np.flatnonzero((x == row).all(-1))[0]) for row in epochs[-1]]
            assert sorted(order) == list(range(50))
            np.testing.assert_array_equal(labels, y[order])
        assert np.any(epochs[0] != epochs[1])


def test_training_costs_no_teacher_forward_pass(data, folder):
    x, y = data
    teacher = CountingTeacher(net(8))
    cache = cached(teacher, x, folder, teacher_version="1")
    assert sum(teacher.seen) == 50
    distiller = tfc.Distiller(net(5, "student"), cache)
    distiller.compile("sgd", CROSSENTROPY)
    distiller.fit(cache.attach(x, y), epochs=2, verbose=0)
    assert sum(teacher.seen) == 50


def test_a_complete_cache_is_used_again(data, folder):
    teacher = CountingTeacher(net(8))
    for _ in range(2):
        cached(teacher, data[0], folder, teacher_version="1")
    assert sum(teacher.seen) == 50


def test_sample_weights_and_validation_data_pass_through(data, folder):
    x, y = data
    cache = cached(net(8), x, folder)
    distiller = tfc.Distiller(net(5, "student"), cache)
    distiller.compile("sgd", CROSSENTROPY, weighted_metrics=["accuracy"])
    attached = cache.attach(x, y, np.linspace(0, 1, 50))
    history = distiller.fit(attached, validation_data=(x, y), verbose=0).history
    assert "val_loss" in history
    assert distiller.evaluate(attached, verbose=0)[0] > 0
    assert distiller.predict(attached, verbose=0).shape == (50, 3)


def test_unlabelled_data_can_be_attached(data, folder):
    cache = cached(net(8), data[0], folder)
    distiller = tfc.Distiller(net(5, "student"), cache)
    distiller.compile("sgd")
    assert distiller.fit(cache.attach(data[0]), verbose=0).history["soft_labels_loss"][0] > 0


def test_several_inputs_are_cached(data, folder):
    x, y = data
    left, right = keras.Input((4,)), keras.Input((4,))
    teacher = keras.Model([left, right], layers.Dense(3)(layers.Concatenate()([left, right])))
    cache = cached(teacher, [x, 2 * x], folder)
    expected = teacher.predict([x, 2 * x], verbose=0)
    np.testing.assert_allclose(np.load(folder / "output_0.npy"), expected, rtol=1e-4, atol=1e-6)
    distiller = tfc.Distiller(keras.models.clone_model(teacher), cache)
    distiller.compile("sgd", CROSSENTROPY)
    distiller.fit(cache.attach([x, 2 * x], y), verbose=0)


def test_a_py_dataset_is_cached(data, folder):
    class Batches(keras.utils.PyDataset):
        def __len__(self):
            return 5

        def __getitem__(self, index):
            return data[0][10 * index : 10 * index + 10], data[1][10 * index : 10 * index + 10]

    teacher = net(8)
    cache = cached(teacher, Batches(), folder)
    for taught, _ in cache.attach(Batches()):
        np.testing.assert_allclose(taught.outputs[0], teacher(taught.inputs), rtol=1e-4, atol=1e-6)


def test_a_changed_teacher_makes_the_cache_stale(data, folder):
    teacher = net(8)
    cached(teacher, data[0], folder)
    kernel = teacher.get_layer("head").kernel
    kernel.assign(kernel + 1e-3)
    with pytest.raises(StaleCacheError, match="a cache of another teacher"):
        cached(teacher, data[0], folder)
    cached(teacher, data[0], folder, overwrite=True)
    expected = teacher.predict(data[0], verbose=0)
    np.testing.assert_allclose(np.load(folder / "output_0.npy"), expected, rtol=1e-4, atol=1e-6)


def test_another_activation_makes_the_cache_stale(data, folder):
    teacher = net(8)
    cached(teacher, data[0], folder)
    teacher.get_layer("hidden").activation = keras.activations.tanh
    with pytest.raises(StaleCacheError, match="a cache of another teacher"):
        cached(teacher, data[0], folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: x[:40], "it holds 50 examples, the dataset has 40"),
        (lambda x: x[::-1], "in another order"),
        (lambda x: np.where(np.arange(50)[:, None] == 7, 0, x), "1 examples differ, the first at"),
        (lambda x: x.astype("float64"), "50 examples differ"),
    ],
)
def test_changed_data_make_the_cache_stale(data, folder, change, message):
    cache = cached(net(8), data[0], folder)
    for use in (cache.attach, lambda x: cached(net(8), x, folder)):
        with pytest.raises(StaleCacheError, match=message):
            use(change(data[0]))


@pytest.mark.parametrize(("option", "value"), [("dtype", "float16"), ("layers", ["hidden"])])
def test_other_settings_make_the_cache_stale(data, folder, option, value):
    teacher = net(8)
    cached(teacher, data[0], folder)
    with pytest.raises(StaleCacheError, match="a cache of another"):
        cached(teacher, data[0], folder, **{option: value})


@pytest.mark.parametrize("randomness", ["augmentation", "shuffle"])
def test_random_data_are_refused(data, folder, randomness):
    dataset = tf.data.Dataset.from_tensor_slices(data)
    if randomness == "shuffle":
        dataset = dataset.shuffle(50)
    else:
        generator = tf.random.Generator.from_seed(1)
        dataset = dataset.map(lambda x, y: (x + generator.normal((4,)), y))
    with pytest.raises(ValueError, match="shuffled or augmented at random"):
        cached(net(8), dataset.batch(10), folder)


def test_seeded_views_can_be_cached(data, folder):
    def augment(x, seed):
        return x + tf.random.stateless_normal((4,), seed)

    dataset = tf.data.Dataset.from_tensor_slices(data).batch(10)
    views = seeded_views(dataset, augment, views=3, seed=5)
    first, second = (np.concatenate([x for x, _ in views]) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert len(np.unique(np.round(first, 5), axis=0)) == 150
    teacher = net(8)
    cache = cached(teacher, views, folder)
    for taught, _ in cache.attach(views):
        np.testing.assert_allclose(taught.outputs[0], teacher(taught.inputs), rtol=1e-4, atol=1e-5)


def test_inputs_may_be_augmented_after_the_teacher_has_seen_them(data, folder):
    x, y = data
    teacher = net(8)
    attached = cached(teacher, x, folder).attach(x, y, shuffle=False)
    augmented = attached.map(lambda taught, y: (taught._replace(inputs=-taught.inputs), y))
    for (plain, _), (other, _) in zip(attached, augmented, strict=True):
        np.testing.assert_array_equal(other.inputs, -plain.inputs)
        np.testing.assert_allclose(other.outputs[0], teacher(plain.inputs), rtol=1e-4, atol=1e-6)
    distiller = tfc.Distiller(net(5, "student"), TeacherCache(folder))
    distiller.compile("sgd", CROSSENTROPY)
    distiller.fit(augmented, verbose=0)


def test_a_teacher_that_returns_nan_is_refused_with_the_example(data, folder):
    def teacher(x):
        return tf.where(x[:, :3] == data[0][23, :3], np.nan, x[:, :3])

    with pytest.raises(ValueError, match=r"returned NaN or infinite values, first .* index 23"):
        cached(teacher, data[0], folder, teacher_version="1")


def test_values_beyond_float16_are_refused(data, folder):
    with pytest.raises(ValueError, match="values beyond float16"):
        cached(lambda x: x[:, :3] * 1e6, data[0], folder, teacher_version="1", dtype="float16")


def test_a_callable_needs_a_version(data, folder):
    with pytest.raises(ValueError, match="teacher_version"):
        cached(lambda x: x[:, :3], data[0], folder)


def test_an_interrupted_cache_is_completed(data, folder, monkeypatch):
    monkeypatch.setattr("tfcompress.distillation.cache._SECONDS_BETWEEN_SAVES", 0.0)
    teacher = CountingTeacher(net(8))
    model, calls = teacher.model, []

    def failing(batch, training):
        calls.append(batch)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return model(batch, training=training)

    teacher.model = failing
    with pytest.raises((KeyboardInterrupt, tf.errors.OpError)):
        cached(teacher, data[0], folder, teacher_version="1", batch_size=10)
    assert json.loads((folder / "manifest.json").read_text())["done"] == 30
    with pytest.raises(ValueError, match="30 of 50 examples"):
        TeacherCache(folder)
    teacher.model, teacher.seen = model, []
    cached(teacher, data[0], folder, teacher_version="1", batch_size=10)
    assert sum(teacher.seen) == 20
    expected = model.predict(data[0], verbose=0)
    np.testing.assert_allclose(np.load(folder / "output_0.npy"), expected, rtol=1e-4, atol=1e-6)


def test_the_progress_bar_can_be_shown(data, folder, capsys):
    cache_teacher(net(8), data[0], folder)
    assert TeacherCache(folder).manifest.complete


def test_a_folder_with_other_files_is_left_alone(data, folder):
    folder.mkdir()
    (folder / "thesis.txt").write_text("mine")
    for overwrite in (False, True):
        with pytest.raises(ValueError, match="holds other files"):
            cached(net(8), data[0], folder, overwrite=overwrite)
    assert (folder / "thesis.txt").read_text() == "mine"


def test_what_a_call_left_that_was_ended_before_its_manifest_is_begun_anew(data, folder):
    model = net(8)
    folder.mkdir()
    (folder / "examples.npy").write_bytes(b"half of it")
    (folder / "output_0.npy").write_bytes(b"")
    (folder / ".0123456789abcdef-manifest.json").write_text("{")
    cached(model, data[0], folder)
    expected = model.predict(data[0], verbose=0)
    np.testing.assert_allclose(np.load(folder / "output_0.npy"), expected, rtol=1e-4, atol=1e-6)


def test_damage_is_noticed(data, folder):
    cached(net(8), data[0], folder)
    (folder / "output_0.npy").unlink()
    with pytest.raises(ValueError, match=r"damaged: output_0.npy .* no file"):
        TeacherCache(folder)
    (folder / "manifest.json").write_text("{")
    with pytest.raises(ValueError, match="not a manifest"):
        TeacherCache(folder)


def test_plain_data_cannot_be_taught_by_a_cache(data, folder):
    cache = cached(net(8), data[0], folder)
    distiller = tfc.Distiller(net(5, "student"), cache)
    distiller.compile("sgd", CROSSENTROPY)
    with pytest.raises(ValueError, match=r"cache\.attach"):
        distiller.fit(*data, verbose=0)


def test_cached_data_need_the_cache_as_the_teacher(data, folder):
    cache = cached(net(8), data[0], folder)
    distiller = tfc.Distiller(net(5, "student"), net(8))
    distiller.compile("sgd", CROSSENTROPY)
    with pytest.raises(ValueError, match="Make the cache its teacher"):
        distiller.fit(cache.attach(*data), verbose=0)


def test_a_layer_that_was_not_cached_is_named(data, folder):
    cache = cached(net(8), data[0], folder)
    with pytest.raises(ValueError, match="does not hold the teacher's layer 'hidden'"):
        tfc.Distiller(net(5, "student"), cache, Features("hidden", "hidden"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dtype": "int8"}, "`dtype` must be"),
        ({"layers": ["hiden"]}, "Did you mean: hidden"),
    ],
)
def test_bad_arguments_are_named(data, folder, options, message):
    with pytest.raises(ValueError, match=message):
        cached(net(8), data[0], folder, **options)


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        (lambda x: tf.data.Dataset.from_tensor_slices(x).batch(5).repeat(), "never ends"),
        (lambda x: x[:0], "no examples"),
    ],
)
def test_endless_and_empty_data_are_refused(data, folder, dataset, message):
    with pytest.raises(ValueError, match=message):
        cached(net(8), dataset(data[0]), folder)


def test_attach_refuses_labels_beside_a_dataset(data, folder):
    x, y = data
    cache = cached(net(8), x, folder)
    with pytest.raises(ValueError, match="a dataset brings its own"):
        cache.attach(tf.data.Dataset.from_tensor_slices(x).batch(5), y)
    with pytest.raises(ValueError, match="needs labels"):
        cache.attach(x, sample_weight=np.ones(50))
