import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from tfcompress.quantization.kernels.batches import completed
from tfcompress.quantization.kernels.registry import compute_float, compute_integers
from tfcompress.tflite.model import Tensor


@pytest.fixture
def within(operation):
    """Build an operation that knows the shapes of a file's tensors."""

    def build(name, inputs, outputs, **options):
        tensors = [
            Tensor(place, f"t{place}", shape, "FLOAT32", None, False, 0, False, shape)
            for place, shape in enumerate([*inputs, *outputs])
        ]
        bare = dataclasses.replace(
            operation(name, **options),
            inputs=tuple(range(len(inputs))),
            outputs=tuple(range(len(inputs), len(tensors))),
        )
        return completed(bare, tensors)

    return build


def two_items(shape):
    """Two items of a file's shape, one after the other: 0, 1, ... and 100, 101, ..."""
    count = int(np.prod(shape))
    values = np.stack([np.arange(count), 100 + np.arange(count)])
    return tf.constant(values.reshape(2 * shape[0], *shape[1:]), tf.float32)


def check(operation, shape, function, *others):
    """Compare two items at once with each by itself."""
    value = two_items(shape)
    together = compute_float(operation, [value, *others])
    apart = [function(item) for item in np.split(value.numpy(), 2)]
    for found, expected in zip(together, zip(*apart, strict=True), strict=True):
        assert found.numpy().tolist() == np.concatenate(expected).tolist()


def test_a_reshape_keeps_items_one_after_the_other(within):
    steps_first = within("RESHAPE", [(1, 3, 2), (3,)], [(3, 1, 2)])
    check(steps_first, (1, 3, 2), lambda x: [x.reshape(3, 1, 2)], tf.constant([3, 1, 2]))


def test_entries_along_the_leading_dimension(within):
    unpack = within("UNPACK", [(3, 1, 2)], [(1, 2)] * 3, num=3, axis=0)
    check(unpack, (3, 1, 2), list)


def test_steps_are_packed_along_the_leading_dimension(within):
    pack = within("PACK", [(1, 2), (1, 2)], [(2, 1, 2)], axis=0)
    first = two_items((1, 2))
    found = compute_float(pack, [first, first + 10])[0]
    assert found.numpy().tolist() == [[[0, 1]], [[10, 11]], [[100, 101]], [[110, 111]]]


def test_transposing_the_leading_dimension(within):
    transpose = within("TRANSPOSE", [(2, 1, 3), (3,)], [(3, 2, 1)])
    order = [2, 0, 1]
    check(transpose, (2, 1, 3), lambda x: [x.transpose(order)], tf.constant(order))


def test_slices_of_the_leading_dimension(within):
    ends = [tf.constant(end) for end in ([1, 0], [3, 2], [1, 1])]
    cut = within("STRIDED_SLICE", [(3, 2), (2,), (2,), (2,)], [(2, 2)])
    check(cut, (3, 2), lambda x: [x[1:3]], *ends)
    ends = [tf.constant(end) for end in ([0, 1], [1, 1])]
    cut = within("SLICE", [(1, 2), (2,), (2,)], [(1, 1)])
    check(cut, (1, 2), lambda x: [x[:, 1:]], *ends)


def test_sums_over_the_leading_dimension(within):
    total = within("SUM", [(3, 2), (1,)], [(1, 2)], keep_dims=True)
    check(total, (3, 2), lambda x: [x.sum(0, keepdims=True)], tf.constant([0]))


def test_joining_with_a_constant(within):
    join = within("CONCATENATION", [(1, 2), (1, 1)], [(1, 3)], axis=1)
    check(join, (1, 2), lambda x: [np.append(x, [[7.0]], 1)], tf.constant([[7.0]]))


def test_ranks_that_differ(within):
    value = np.arange(4.0, dtype="f4").reshape(1, 2, 1, 2)
    both = within("ADD", [(1, 2), (1, 2, 1, 2)], [(1, 2, 1, 2)])
    check(both, (1, 2), lambda x: [x + value], tf.constant(value))


def test_broadcasting_the_leading_dimension(within):
    wide = within("BROADCAST_TO", [(1, 2), (2,)], [(3, 2)])
    check(wide, (1, 2), lambda x: [np.broadcast_to(x, (3, 2))], tf.constant([3, 2]))


def test_integers_go_the_same_way(within, integers, grid):
    unpack = within("UNPACK", [(2, 1)], [(1,), (1,)], num=2, axis=0)
    taken = integers([[1], [2], [3], [4]], 0.5)
    found = compute_integers(unpack, [taken], [grid(0.5), grid(0.5)], "xnnpack")
    assert [values.numpy().tolist() for values in found] == [[1, 3], [2, 4]]


def test_padding_is_the_zero_point(within, integers, grid):
    pad = within("PAD", [(1, 1), (2, 2)], [(1, 3)])
    taken = integers([[1], [2]], 0.5, -9)
    found = compute_integers(
        pad, [taken, tf.constant([[0, 0], [1, 1]])], [grid(0.5, -9)], "xnnpack"
    )
    assert found[0].numpy().tolist() == [[-9, 1, -9], [-9, 2, -9]]


def test_what_must_be_constant(within):
    total = within("SUM", [(1, 2), (1,)], [(1,)])
    run = tf.function(
        lambda value, axes: compute_float(total, [value, axes]),
        input_signature=[tf.TensorSpec((None, 2)), tf.TensorSpec((1,), tf.int32)],
    )
    with pytest.raises(ValueError, match="its axes must be a constant"):
        run.get_concrete_function()
