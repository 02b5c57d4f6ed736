"""Recognising a file's tensors among a model's, on hand-made arrays."""

import numpy as np

from tfcompress.keras_graph.hooks import HookPoint
from tfcompress.quantization.recognition import Candidate, Candidates, unmasked
from tfcompress.tflite.model import Operation
from tfcompress.tflite.operations import COPIES, support

A, B, C = map(HookPoint, "abc")
ADD = Operation(0, "ADD", 1, (0, 1), (2,), {"fused_activation_function": "NONE"})
ADD_RELU = Operation(0, "ADD", 1, (0, 1), (2,), {"fused_activation_function": "RELU"})
VALUES = np.float32([1.0, -2.0, 3.0])


def candidate(point, values, kind="AddV2"):
    values = np.float32(values)
    return Candidate(point, f"{point.path}:0", kind, values, (values.min(), values.max()))


def among(*candidates):
    return Candidates(candidates, lambda in_file: candidates)


def test_a_tensor_is_known_by_its_values_and_not_by_its_shape():
    found = among(candidate(A, [1.0, -2.0, 2.9]), candidate(B, VALUES))
    assert found.recognise(VALUES.reshape(1, 3), ADD) == B


def test_the_order_of_float_operations_makes_no_difference():
    found = among(candidate(A, VALUES * np.float32(1 + 1e-6)))
    assert found.recognise(VALUES, ADD) == A
    assert among(candidate(A, VALUES * 1.1)).recognise(VALUES, ADD) is None


def test_equal_tensors_are_taken_in_the_order_of_the_model():
    found = among(candidate(A, VALUES), candidate(B, VALUES))
    assert [found.recognise(VALUES, ADD) for _ in range(3)] == [A, B, A]


def test_of_equal_tensors_the_name_decides():
    found = among(candidate(A, VALUES), candidate(B, VALUES), candidate(C, VALUES))
    assert found.recognise(VALUES, ADD, "b;a;weight") == B


def test_what_is_all_rounding_is_known_beside_what_was_read():
    found = among(candidate(A, VALUES), candidate(B, VALUES * 1e-8))
    assert found.recognise(VALUES * -1e-8, ADD) is None
    assert found.recognise(VALUES * -1e-8, ADD, "", read=1.0) == B


def test_a_fused_rectifier_is_the_last_to_touch_a_tensor():
    found = among(candidate(A, [1.0, 2.0]), candidate(B, [1.0, 2.0], "Relu"))
    assert found.recognise(np.float32([1.0, 2.0]), ADD_RELU) == B


def test_what_is_lost_is_looked_for_among_what_the_file_leads_to():
    lost = np.float32([5.0, 5.5, 6.0])  # the model has 7.0 there, from values that drifted
    seen = []

    def again(in_file):
        seen.append(in_file)
        return [candidate(A, VALUES), candidate(C, lost)]

    found = Candidates([candidate(A, VALUES), candidate(C, [7.0, 7.5, 8.0])], again)
    assert found.recognise(VALUES, ADD) == A
    assert found.recognise(lost, ADD) == C
    np.testing.assert_array_equal(seen[0]["a:0"], VALUES)


def test_what_the_converter_moved_across_a_transposition():
    values = np.arange(6.0).reshape(2, 3)
    found = among(candidate(A, values + 1e-2), candidate(B, values))
    assert found.recognise(np.float32(values.T), ADD) == B
    assert found.recognise(np.float32(values.T), ADD) is None  # there was one


def test_masks_do_not_make_tensors_alike():
    other, masked = (np.float32([[x, -1e9], [2.0, -np.inf]]) for x in (1.5, 1.0))
    candidates = [candidate(A, unmasked(other)), candidate(B, unmasked(masked))]
    assert among(*candidates).recognise(masked, ADD) == B


def test_nothing_is_recognised_without_a_value():
    assert among(candidate(A, VALUES)).recognise(None, ADD) is None


def test_what_copies_is_an_operation():
    assert {"RESHAPE", "UNPACK"} < COPIES
    assert [name for name in COPIES if support(name) is None] == []
