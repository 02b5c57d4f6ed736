import json

import pytest

from tfcompress.report.search_result import read_search_result

TRIAL = {
    "number": 5,
    "state": "finished",
    "error": None,
    "candidate": {"channels": 0.25, "sparsity": 0.5},
    "epochs": 30,
    "seconds": 81.2,
    "accuracy": 0.925,
    "gzip_size": 35000,
    "compression_ratio": 10.6,
    "speed_up": 2.6,
    "on_front": True,
}
RESULT = {
    "format": 1,
    "target": "raspberry-pi-4",
    "budget": {"max_accuracy_drop": 0.01, "max_size": None},
    "met": True,
    "nearest": 5,
    "shortfalls": {},
    "reference": {"accuracy": 0.92, "gzip_size": 371000},
    "trials": [TRIAL],
}


def test_a_search_is_read_from_its_file_or_its_folder(tmp_path):
    (tmp_path / "result.json").write_text(json.dumps(RESULT))
    search = read_search_result(tmp_path)
    assert read_search_result(tmp_path / "result.json") == search
    assert (search.met, search.nearest, search.reference_gzip_size) == (True, 5, 371000)
    assert search.trials[0].candidate == {"channels": 0.25, "sparsity": 0.5}
    assert search.trials[0].compression_ratio == 10.6


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "no result of a search"),
        ("[]", "no result of a search"),
        (json.dumps({**RESULT, "format": 2}), "reads format 1. Received: 2"),
        (json.dumps({**RESULT, "trials": [{"number": 1}]}), "it has no 'candidate'"),
    ],
)
def test_other_files_are_refused(content, message, tmp_path):
    (tmp_path / "result.json").write_text(content)
    with pytest.raises(ValueError, match=message):
        read_search_result(tmp_path)
