"""Answers by hand: counts, what changed, and what each kind of output gets."""

import base64
import io
import re

import numpy as np
import pytest
from PIL import Image
from report_parts import make_findings

from tfcompress.report.answers import ChangedExample, ClassFindings, find_answers
from tfcompress.report.answers_section import answers_section
from tfcompress.report.pictures import draw_examples, inline_image

IMAGES = [np.linspace(0, 255, 5 * 8 * 8 * 3).reshape(5, 8, 8, 3)]
FLOAT = np.eye(3)[[0, 0, 1, 2, 1]]
FILE = np.eye(3)[[0, 1, 0, 2, 2]]
LABELS = np.array([0, 0, 0, 2, 0])


def test_classes_by_hand():
    answers = find_answers(FILE, FLOAT, LABELS, IMAGES, "float.tflite", ["a", "b", "c"])
    assert answers.classes == (
        ClassFindings("a", 4, 2, 2, 2),
        ClassFindings("b", 0, 0, 1, 0),
        ClassFindings("c", 1, 1, 2, 1),
    )
    assert answers.confusions == ((0, 0, 2), (0, 1, 1), (0, 2, 1), (2, 2, 1))
    assert (answers.changed, answers.became_wrong, answers.became_right) == (3, 1, 1)
    assert answers.shown[0] == ChangedExample(1, "a", "b", "label a")
    assert [example.index for example in answers.shown] == [1, 2, 4]


def test_a_class_with_the_same_score_is_the_same_answer():
    tie = np.array([[1.0, 1.0, 0.0]])
    answers = find_answers(tie, np.array([[0.0, 1.0, 0.0]]), np.array([1]), [IMAGES[0][:1]])
    assert answers.changed == 0


def test_without_labels_the_classes_of_the_reference_count_as_right():
    answers = find_answers(FILE, FLOAT, None, IMAGES)
    assert answers.confusions == ((0, 0, 1), (0, 1, 1), (1, 0, 1), (1, 2, 1), (2, 2, 1))
    assert answers.became_wrong is answers.shown[0].label is None
    assert not answers.labeled


def test_without_a_reference_nothing_changed():
    answers = find_answers(FILE, None, LABELS, IMAGES)
    assert answers.changed is None
    assert answers.classes[0] == ClassFindings("0", 4, 2, 2, None)


def test_yes_or_no():
    found, wanted = np.array([[0.6], [0.2], [0.9]]), np.array([[0.4], [0.1], [0.8]])
    answers = find_answers(found, wanted, np.array([0, 0, 1]), [IMAGES[0][:3]])
    assert answers.confusions == ((0, 0, 1), (0, 1, 1), (1, 1, 1))
    assert answers.shown == (ChangedExample(0, "no", "yes", "label no"),)


def test_several_labels_have_no_matrix():
    wanted = np.array([[0.9, 0.8, 0.1], [0.2, 0.3, 0.9]])
    found = np.array([[0.9, 0.4, 0.1], [0.2, 0.3, 0.9]])
    labels = np.array([[1, 1, 0], [0, 1, 1]])
    answers = find_answers(found, wanted, labels, [np.zeros((2, 4))], names=["a", "b", "c"])
    assert answers.confusions == ()
    assert answers.no_matrix == "an example can have several labels at once"
    assert answers.classes[1] == ClassFindings("b", 2, 0, 0, 1)
    assert answers.shown == (ChangedExample(0, "a, b", "a", "label a, b"),)


def test_positions_are_counted_and_marked():
    wanted = np.eye(2)[np.zeros((1, 8, 8), int)]
    found = wanted.copy()
    found[0, 0, :2] = [0, 1]
    answers = find_answers(found, wanted, np.zeros((1, 8, 8), int), [IMAGES[0][:1]])
    assert (answers.count, answers.changed, answers.became_wrong) == (64, 2, 2)
    assert answers.shown[0].after == "96.9 % right"
    picture = answers.shown[0].picture
    assert (picture == (230, 97, 0)).all(-1).sum() == 2


def test_numbers_have_errors():
    wanted, found = np.array([[1.0], [2.0]]), np.array([[1.5], [2.0]])
    answers = find_answers(found, wanted, np.array([1.25, 2.5]), [np.zeros((2, 4))])
    assert (answers.error, answers.reference_error) == (0.375, 0.375)
    assert answers.no_matrix == "the labels are numbers, not classes"
    assert answers.shown == (ChangedExample(0, "1", "1.5", "label 1.25"),)


@pytest.mark.parametrize(
    ("ends", "dtype"), [((0, 1), "float32"), ((-1, 1), "float32"), ((0, 255), "uint8")]
)
def test_pictures_have_the_usual_black_and_white(ends, dtype):
    images = np.zeros((1, 8, 8, 1), dtype) + np.array(ends[0], dtype)
    images[0, 0, 0] = ends[1]
    picture = draw_examples([images], [0])[0]
    assert (picture[0, 0] == 255).all()
    assert picture.sum() == 3 * 255


def test_large_pictures_shrink_and_other_inputs_have_none():
    large = draw_examples([np.ones((1, 400, 200, 3))], [0])[0]
    assert large.shape == (80, 40, 3)
    assert draw_examples([np.ones((1, 20))], [0]) == [None]
    assert draw_examples({"a": np.ones((1, 16, 16))}, [0])[0].shape == (16, 16, 3)


def test_an_image_in_a_page_is_a_png():
    pixels = np.arange(8 * 9 * 3, dtype=np.uint8).reshape(8, 9, 3)
    data = re.search(r"base64,([^\"]*)", inline_image(pixels))[1]
    stored = np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))
    np.testing.assert_array_equal(stored, pixels)


def test_many_classes_are_reduced_to_the_worst():
    labels = np.arange(300)
    found = np.eye(300)[np.where(labels < 4, labels ^ 1, labels)]
    answers = find_answers(found, np.eye(300), labels, [np.zeros((300, 2))])
    section = answers_section(make_findings(answers=answers))
    text, figures, table, *_ = section.blocks
    assert "4 of 300 examples differently" in text.text
    assert "0 taken for 1: 1" in figures.figures[0].alternative
    assert [row[0].text for row in table.rows[:4]] == ["0", "1", "2", "3"]
    assert len(table.rows) == 100
    assert len(figures.figures[0].draw()) < 40_000
