import math

import pytest

from tfcompress.report import formats


@pytest.mark.parametrize(
    ("written", "text"),
    [
        (formats.count(155488), "155,488"),
        (formats.count(None), formats.UNKNOWN),
        (formats.percent(0.9272, 2), "92.72 %"),
        (formats.milliseconds(0.0001234), "0.123 ms"),
        (formats.decibels(28.51), "28.5 dB"),
        (formats.decibels(math.inf), "exact"),
        (formats.factor(6.97), "7.0x"),
        (formats.factor(0.5), "0.50x"),
        (formats.short(405214), "405.2 k"),
        (formats.metric(0.9, "accuracy"), "90.00 %"),
        (formats.metric(0.90012, "error"), "0.9001"),
        (formats.metric_change(0.0024, "accuracy"), f"{formats.MINUS}0.24 points"),
        (formats.metric_change(-0.5, "error"), "+0.5"),
        (formats.metric_change(0.0, "accuracy"), "same"),
        (formats.times(2.0, "faster", "slower"), "2.0x faster"),
        (formats.times(0.5, "faster", "slower"), "2.0x slower"),
    ],
)
def test_numbers(written, text):
    assert written == text


def test_gains_say_what_is_known():
    assert formats.gains(7.0, 1.7, -0.0049, "accuracy") == (
        "7.0x smaller (gzip), 1.7x faster, 0.49 points of accuracy gained"
    )
    assert formats.gains(None, 0.5, 0.0, "accuracy") == "2.0x slower, no accuracy lost"
    assert formats.gains(2.0, None, 0.1, "error") == "2.0x smaller (gzip), 0.1 of error lost"
