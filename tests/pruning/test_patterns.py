import inspect
import pathlib
import re

import keras
import numpy as np
import pytest

from tfcompress.pruning import patterns
from tfcompress.pruning.masks import count_masked, smallest
from tfcompress.pruning.patterns import Block, Channel, Element, NofM, as_pattern

KERNEL = np.array([[9, 2, 7, 1], [4, 8, 3, 6], [5, 1, 8, 2], [6, 7, 2, 3]], dtype="float32")


def prune(pattern, kernel, sparsity, output_axes=(1,)):
    scores = pattern.pool(np.abs(kernel), output_axes)
    masked = smallest(scores, count_masked(scores.size, sparsity))
    return np.where(pattern.spread(~masked, kernel.shape), kernel, 0)


def pictures(pattern):
    """Read the 4x4 results that a pattern's docstring shows, in order."""
    text = inspect.getdoc(type(pattern))  # Python 3.13 strips the indentation, others do not
    lines = re.findall(r"^ {4}[\d ]{7} [-> ]{5} ?([\d. ]{7})$", text, re.MULTILINE)
    rows = [[int(cell) if cell != "." else 0 for cell in line.split()] for line in lines]
    return [np.array(rows[i : i + 4]) for i in range(0, len(rows), 4)]


@pytest.mark.parametrize(
    ("pattern", "picture", "sparsity"),
    [
        (Element(), 0, 0.5),
        (Block((1, 2)), 0, 0.5),
        (Block((1, 2), "max"), 1, 0.5),
        (NofM(2, 4), 0, 0.5),
        (NofM(2, 4), 1, 0.25),
        (Channel(), 0, 0.5),
    ],
)
def test_docstrings_show_what_happens(pattern, picture, sparsity):
    np.testing.assert_array_equal(prune(pattern, KERNEL, sparsity), pictures(pattern)[picture])


def test_docstring_of_the_module_shows_the_kernel():
    rows = re.findall(r"^ {4}([\d ]{7})$", patterns.__doc__, re.MULTILINE)
    np.testing.assert_array_equal([[int(cell) for cell in row.split()] for row in rows], KERNEL)


@pytest.mark.parametrize("shape", [(1, 4), (16, 1), (2, 3), (3, 3, 1, 1), (1,)])
def test_blocks_are_zero_as_a_whole(shape):
    kernel = np.random.default_rng(0).normal(size=(3, 3, 16, 10)).astype("float32")
    pattern = Block(shape)
    pruned = prune(pattern, kernel, 0.5, output_axes=(3,))
    groups = pattern.pool(np.abs(pruned), (3,))
    assert np.count_nonzero(groups == 0) == round(groups.size * 0.5)
    # What is left of a block is as it was.
    kept = pattern.spread(groups > 0, kernel.shape)
    np.testing.assert_array_equal(pruned, np.where(kept, kernel, 0))


def test_blocks_at_the_edge_are_smaller_and_average_what_they_have():
    kernel = np.array([[1.0, 3.0, 5.0]])
    pattern = Block((1, 2))
    np.testing.assert_array_equal(pattern.pool(kernel, (1,)), [[2.0, 5.0]])
    np.testing.assert_array_equal(pattern.sizes((1, 3), (1,)), [[2, 1]])
    np.testing.assert_array_equal(pattern.spread(np.array([[7, 8]]), (1, 3)), [[7, 7, 8]])


@pytest.mark.parametrize(("n", "m"), [(2, 4), (1, 4), (4, 8), (1, 2), (2, 3)])
@pytest.mark.parametrize("axis", [None, 0, 3, -1])
def test_n_of_m_holds_in_every_group(n, m, axis):
    kernel = np.random.default_rng(0).normal(size=(24, 1, 24, 24))
    pruned = prune(NofM(n, m, axis), kernel, 1 - n / m, output_axes=(3,))
    along = np.moveaxis(pruned, 2 if axis is None else axis, -1).reshape(-1, m)
    np.testing.assert_array_equal(np.count_nonzero(along, axis=1), n)
    largest = np.sort(np.abs(np.moveaxis(kernel, 2 if axis is None else axis, -1)).reshape(-1, m))
    np.testing.assert_array_equal(np.sort(np.abs(along))[:, -n:], largest[:, -n:])


@pytest.mark.parametrize("sparsity", [0.1, 0.25, 0.4, 0.5])
def test_n_of_m_on_the_way_is_exact_and_never_beyond_the_pattern(sparsity):
    kernel = np.random.default_rng(0).normal(size=(16, 10))
    pruned = prune(NofM(2, 4), kernel, sparsity)
    assert np.count_nonzero(pruned == 0) == round(160 * sparsity)
    assert (np.count_nonzero(pruned.T.reshape(-1, 4), axis=1) >= 2).all()


def test_channels_of_transposed_and_depthwise_kernels():
    transposed = np.ones((2, 2, 3, 4)) * np.array([3.0, 1.0, 2.0])[:, None]
    pruned = prune(Channel(), transposed, 1 / 3, output_axes=(2,))
    np.testing.assert_array_equal(pruned.any(axis=(0, 1, 3)), [True, False, True])
    depthwise = np.ones((3, 3, 2, 2)) * np.array([[4.0, 3.0], [1.0, 2.0]])
    pruned = prune(Channel(), depthwise, 0.5, output_axes=(2, 3))
    np.testing.assert_array_equal(pruned.any(axis=(0, 1)), [[True, True], [False, False]])
    np.testing.assert_array_equal(Channel().sizes((3, 3, 2, 2), (2, 3)), np.full((1, 1, 2, 2), 9))


@pytest.mark.parametrize("pattern", [Element(), Block((1, 4), "max"), NofM(1, 4, 0), Channel()])
def test_survives_serialisation(pattern):
    config = keras.saving.serialize_keras_object(pattern)
    assert keras.saving.deserialize_keras_object(config) == pattern


def test_names_stand_for_patterns():
    assert as_pattern("element") == Element()
    assert as_pattern("channel") == Channel()
    assert as_pattern("4:8") == NofM(4, 8)
    assert as_pattern(Block((2, 2))) == Block((2, 2))
    with pytest.raises(ValueError, match="pattern='rows'"):
        as_pattern("rows")
    with pytest.raises(TypeError, match="pattern=4 of type int"):
        as_pattern(4)


def test_refuses_what_cannot_be():
    with pytest.raises(ValueError, match="n=4, m=4"):
        NofM(4, 4)
    with pytest.raises(ValueError, match=r"n=2\.0"):
        NofM(2.0, 4)
    with pytest.raises(ValueError, match=r"shape=\(0, 4\)"):
        Block((0, 4))
    with pytest.raises(ValueError, match="pooling='sum'"):
        Block((1, 4), "sum")
    with pytest.raises(ValueError, match=r"4 divides, but axis 0 of kernel 'stem/kernel' has 6"):
        NofM(2, 4).check("stem/kernel", (6, 4), (1,))
    with pytest.raises(ValueError, match=r"'stem/kernel' has no axis 2.*shape \(6, 4\)"):
        NofM(2, 4, axis=2).check("stem/kernel", (6, 4), (1,))
    with pytest.raises(ValueError, match=r"'head/kernel' has 2 axes.*shape=\(3, 3, 1, 1\)"):
        Block((3, 3, 1, 1)).check("head/kernel", (6, 4), (1,))
    with pytest.raises(ValueError, match=r"sparsity of 0\.5.*final sparsity of 0\.75"):
        NofM(2, 4).check_sparsity(0.75, 0.75)
    NofM(1, 3).check_sparsity(2 / 3, 2 / 3)


def test_documentation_shows_what_happens():
    text = (pathlib.Path(__file__).parents[2] / "docs" / "pruning.md").read_text(encoding="utf-8")
    head = "    kernel      element     2:4         Block((1, 2))   channel\n"
    lines = text[text.index(head) + len(head) :].splitlines()[:4]
    columns = zip(*(re.split(r"\s{2,}", line.strip()) for line in lines), strict=True)
    kernel, element, two_of_four, block, channel = (
        np.array([[int(c) if c != "." else 0 for c in row.split()] for row in column])
        for column in columns
    )
    np.testing.assert_array_equal(kernel, KERNEL)
    np.testing.assert_array_equal(element, prune(Element(), KERNEL, 0.5))
    np.testing.assert_array_equal(two_of_four, prune(NofM(2, 4), KERNEL, 0.5))
    np.testing.assert_array_equal(block, prune(Block((1, 2)), KERNEL, 0.5))
    np.testing.assert_array_equal(channel, prune(Channel(), KERNEL, 0.5))
