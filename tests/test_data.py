import keras
import numpy as np
import pytest
import tensorflow as tf

from tfcompress.data import gather, iterate_inputs

X, Y = np.arange(10, dtype="float32").reshape(5, 2), np.arange(5)


class Batches(keras.utils.PyDataset):
    @property
    def num_batches(self):
        return 2

    def __getitem__(self, index):
        return X[3 * index : 3 * index + 3], Y[3 * index : 3 * index + 3]


WITH_LABELS = {
    "arrays": lambda: (X, Y),
    "dataset": lambda: tf.data.Dataset.from_tensor_slices((X, Y)).batch(3),
    "py dataset": Batches,
    "batches": lambda: [(X[:3], Y[:3]), (X[3:], Y[3:])],
}
WITHOUT_LABELS = {
    "array": lambda: X,
    "tensor": lambda: tf.constant(X),
    "dataset": lambda: tf.data.Dataset.from_tensor_slices(X).batch(3),
    "tuple of inputs": lambda: (X,),
}


@pytest.mark.parametrize("kind", WITH_LABELS)
def test_gather_inputs_and_labels(kind):
    (inputs,), labels = gather(WITH_LABELS[kind]())
    assert inputs.tolist() == X.tolist()
    assert labels.tolist() == Y.tolist()


@pytest.mark.parametrize("kind", WITHOUT_LABELS)
def test_gather_inputs_alone(kind):
    (inputs,), labels = gather(WITHOUT_LABELS[kind]())
    assert inputs.tolist() == X.tolist()
    assert labels is None


@pytest.mark.parametrize("data", [*WITH_LABELS.values(), *WITHOUT_LABELS.values()])
def test_iterate_leaves_labels_out(data):
    batches = [np.asarray(batch) for batch in iterate_inputs(data(), batch_size=3)]
    assert [len(batch) for batch in batches] == [3, 2]
    assert np.concatenate(batches).tolist() == X.tolist()


def test_iterate_keeps_the_structure_of_several_inputs():
    as_list = next(iterate_inputs([X, X + 1], batch_size=2))
    assert [part.tolist() for part in as_list] == [X[:2].tolist(), (X[:2] + 1).tolist()]
    as_dict = next(iterate_inputs({"a": X, "b": X + 1}, batch_size=2))
    assert {name: part.tolist() for name, part in as_dict.items()} == {
        "a": X[:2].tolist(),
        "b": (X[:2] + 1).tolist(),
    }


@pytest.mark.parametrize("data", ["path", 3, None])
def test_what_is_no_data(data):
    with pytest.raises(TypeError, match="Received: "):
        gather(data)
    with pytest.raises(TypeError, match="Received: "):
        next(iterate_inputs(data))


def test_no_examples():
    with pytest.raises(ValueError, match="At least one example"):
        gather(X[:0])


NESTED = {"z": X, "a": {"y": [X + 1], "b": X + 2}}


def test_nested_inputs_become_a_list_in_the_order_of_keras():
    inputs, labels = gather((NESTED, Y))
    assert [array.tolist() for array in inputs] == [
        array.tolist() for array in keras.tree.flatten(NESTED)
    ]
    assert labels.tolist() == Y.tolist()
    first = next(iterate_inputs(NESTED, batch_size=2))
    assert first["a"]["y"][0].tolist() == (X[:2] + 1).tolist()
    assert list(first) == ["z", "a"]


def test_a_list_of_lists_is_one_of_batches():
    batches = list(iterate_inputs([[X[:2], X[:2]], [X[2:], X[2:]]]))
    assert [len(first) for first, _ in batches] == [2, 3]
    inputs, _ = gather([[X[:2], X[:2] + 1], [X[2:], X[2:] + 1]])
    assert [array.tolist() for array in inputs] == [X.tolist(), (X + 1).tolist()]


class Endless(Batches):
    num_batches = None


ENDLESS = {
    "repeated": lambda: tf.data.Dataset.from_tensor_slices((X, Y)).batch(3).repeat(),
    "mapped after it": lambda: tf.data.Dataset.from_tensors((X, Y)).repeat().map(lambda x, y: x),
    "py dataset": Endless,
}


@pytest.mark.parametrize("kind", ENDLESS)
def test_endless_data_is_refused_where_all_of_it_would_be_read(kind):
    with pytest.raises(ValueError, match=r"never ends.*`dataset\.take\(100\)`"):
        gather(ENDLESS[kind]())
    with pytest.raises(ValueError, match="never ends"):
        next(iterate_inputs(ENDLESS[kind]()))


def test_a_part_of_endless_data_is_data():
    (inputs,), labels = gather(ENDLESS["repeated"](), max_examples=7)
    assert inputs.tolist() == np.concatenate([X, X])[:7].tolist()
    assert labels.tolist() == [0, 1, 2, 3, 4, 0, 1]
    (inputs,), _ = gather(ENDLESS["repeated"]().take(3))
    assert len(inputs) == 8
    batches = list(iterate_inputs(tf.data.Dataset.from_tensors(X).repeat(2)))
    assert [len(batch) for batch in batches] == [5, 5]


def test_a_py_dataset_without_an_end_yields_a_part():
    (inputs,), _ = gather(Endless(), max_examples=4)
    assert inputs.tolist() == X[:4].tolist()


PAIRS = {
    "arrays": lambda: ((X, X + 1), Y),
    "dataset": lambda: tf.data.Dataset.from_tensor_slices(((X, X + 1), Y)).batch(3),
    "batches": lambda: [((X[:3], X[:3] + 1), Y[:3]), ((X[3:], X[3:] + 1), Y[3:])],
}


@pytest.mark.parametrize("kind", PAIRS)
def test_inputs_come_as_a_tuple(kind):
    inputs, labels = gather(PAIRS[kind]())
    assert [part.tolist() for part in inputs] == [X.tolist(), (X + 1).tolist()]
    assert labels.tolist() == Y.tolist()
    batches = list(iterate_inputs(PAIRS[kind](), batch_size=3))
    assert [[len(part) for part in batch] for batch in batches] == [[3, 3], [2, 2]]


LABELS = {"list": [Y, X], "tuple": (Y, X), "dict": {"b": Y, "a": X}}


@pytest.mark.parametrize("kind", LABELS)
@pytest.mark.parametrize("batched", [False, True])
def test_labels_of_several_outputs_keep_their_structure(kind, batched):
    data = (X, LABELS[kind])
    if batched:  # datasets take lists for arrays
        labels = tuple(LABELS[kind]) if kind == "list" else LABELS[kind]
        data = tf.data.Dataset.from_tensor_slices((X, labels)).batch(2)
    _, found = gather(data)
    _, two = gather(data, max_examples=2)
    wanted = LABELS[kind] if kind == "dict" else list(LABELS[kind])
    keras.tree.map_structure(np.testing.assert_array_equal, found, wanted)
    keras.tree.map_structure(lambda a, b: np.testing.assert_array_equal(a, b[:2]), two, wanted)


def test_a_list_of_numbers_is_one_array_of_labels():
    assert gather((X, [0, 1, 2, 3, 4]))[1].tolist() == Y.tolist()
    assert gather((X, list(Y)))[1].tolist() == Y.tolist()


def test_examples_that_are_not_batched():
    dataset = tf.data.Dataset.from_tensor_slices((X, Y))
    with pytest.raises(
        ValueError, match=r"batch\(32\).*Received: arrays of shapes \[\(2,\), \(\)\]"
    ):
        gather(dataset)
