import json
import types

import pytest

from tfcompress.report.histories import Training, read_trainings

HISTORY = {"loss": [1.0, 0.5], "val_loss": [1.1, 0.7]}


def test_what_fit_returns_and_its_history_are_one_training():
    expected = (Training("training", HISTORY),)
    assert read_trainings(HISTORY) == expected
    assert read_trainings(types.SimpleNamespace(history=HISTORY)) == expected
    assert expected[0].epochs == 2


def test_several_trainings_come_by_title_or_in_order(tmp_path):
    (tmp_path / "float.json").write_text(json.dumps(HISTORY))
    named = read_trainings({"teacher": HISTORY, "student": tmp_path / "float.json"})
    assert [training.title for training in named] == ["teacher", "student"]
    ready = Training("ready", HISTORY, parameters=10)
    listed = read_trainings([HISTORY, str(tmp_path / "float.json"), ready])
    assert [training.title for training in listed] == ["training 1", "float", "ready"]
    assert all(training.history == HISTORY for training in (*named, *listed))


def test_a_file_of_csv_logger_has_no_metric_named_epoch(tmp_path):
    (tmp_path / "log.csv").write_text("epoch,loss,val_loss\n0,1.0,1.1\n1,0.5,0.7\n")
    assert read_trainings(tmp_path / "log.csv") == (Training("log", HISTORY),)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.json", "{", "not a JSON file"),
        ("a.json", '{"loss": 3}', "Received: .*a.json"),
        ("a.json", "[]", "Received: .*a.json"),
        ("a.csv", "loss\nhigh\n", "not written by `CSVLogger`"),
        ("a.csv", "", "Received: .*a.csv"),
    ],
)
def test_files_that_hold_no_history_are_refused(name, content, message, tmp_path):
    (tmp_path / name).write_text(content)
    with pytest.raises(ValueError, match=message):
        read_trainings(tmp_path / name)


def test_what_is_no_history_is_refused():
    with pytest.raises(ValueError, match="Received: 3"):
        read_trainings(3)
    with pytest.raises(FileNotFoundError):
        read_trainings("missing.json")
