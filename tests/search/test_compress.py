import json
import pathlib
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers as kl
from small_search import QUICK, blobs, make_model, search, trained_model

import tfcompress as tfc
from exporters import export_tflite
from exporters.running.runtime import load
from tfcompress.quantization.float_file import ConversionError
from tfcompress.search.candidates import Candidate
from tfcompress.search.fine_tuning import FineTuning
from tfcompress.search.trial_runner import TrialRunner
from tfcompress.tflite.flatbuffer import read_model

ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def model():
    return trained_model()


@pytest.fixture(scope="module")
def searched(model, tmp_path_factory):
    """The model's weights before a search of two trials, and its result."""
    before = model.get_weights()
    return before, search(model, tmp_path_factory.mktemp("search"), max_trials=2)


@pytest.fixture
def copied(searched, tmp_path, monkeypatch):
    """A directory with what the search has kept; to go on there costs no measurement of time."""
    monkeypatch.setattr(FineTuning, "make", lambda *args: None)
    monkeypatch.setattr(FineTuning, "measure_epoch", lambda *args: 0.01)
    return shutil.copytree(searched[1].directory, tmp_path / "copied")


def test_the_result_is_what_its_files_do(searched, model):
    before, result = searched
    for one, other in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert result.met
    assert result.nearest is result.best
    assert len(result.trials) == 2
    x, y = blobs()
    with load(result.path) as file:
        accuracy = np.mean(file.predict(x)[0].argmax(-1) == y)
    assert result.best.accuracy == pytest.approx(accuracy)
    assert result.path.stat().st_size == result.best.size
    assert result.report["gzip_size"] == result.best.gzip_size
    assert result.report["float_operations"] == []
    assert result.reference.gzip_size / result.best.gzip_size == result.best.compression_ratio


def test_the_model_gives_the_very_file(searched, tmp_path):
    _, result = searched
    exported = export_tflite(result.model, tmp_path / "again.tflite", validation_data=blobs())
    assert exported.path.read_bytes() == result.path.read_bytes()


def test_a_model_of_tf_keras_is_converted(tmp_path):
    tf_keras = pytest.importorskip("tf_keras", reason="needs the extra tfmot")
    layers = [tf_keras.Input((8, 8, 1)), tf_keras.layers.Flatten(), tf_keras.layers.Dense(3)]
    old = tf_keras.Sequential(layers)
    x, y = blobs()
    result = search(old, tmp_path, max_trials=1)
    assert result.reference.accuracy == np.mean(old(x).numpy().argmax(-1) == y)
    assert isinstance(result.model, tfc.quantization.QuantizeAware)


def test_trials_are_what_was_asked_for(searched):
    _, result = searched
    first, second = result.trials
    assert first.candidate == Candidate(trained=False)
    assert (first.epochs, second.epochs) == (0, 1)
    assert second.candidate == Candidate(channels=0.25, sparsity=0.7)
    assert second.zeros == pytest.approx(0.7, abs=0.03)
    assert second.macs < first.macs == result.reference.macs
    model = keras.saving.load_model(result.directory / second.files["weights"], compile=False)
    assert model.model.get_layer("second").filters == 12  # a quarter of 16 less
    history = json.loads((result.directory / second.files["history"]).read_text())
    assert len(history["loss"]) == 1


def test_result_json_holds_everything(searched):
    _, result = searched
    stored = json.loads((result.directory / "result.json").read_text())
    assert stored == json.loads(json.dumps(result.to_json()))
    assert stored["best"] == result.best.number
    assert stored["trials"][0]["on_front"] == (0 in stored["front"])
    assert (result.directory / "best.tflite").read_bytes() == result.path.read_bytes()
    leftovers = [path.name for path in result.directory.rglob(".*") if path.name != ".lock"]
    assert leftovers == []


def test_the_documented_result_json_is_what_is_written(searched):
    text = (ROOT / "docs" / "compress.md").read_text(encoding="utf-8")
    documented = json.loads(text.partition("```json\n")[2].partition("```")[0])
    written = searched[1].to_json()
    assert documented.keys() == written.keys()
    for part in ("budget", "reference", "environment"):
        assert documented[part].keys() == written[part].keys()
    assert documented["trials"][0].keys() == written["trials"][0].keys()
    assert documented["trials"][0]["candidate"].keys() == vars(Candidate()).keys()


def test_goes_on_under_an_impossible_budget_and_says_so(copied, searched, model, monkeypatch):
    monkeypatch.setattr(TrialRunner, "run", lambda *args: pytest.fail("nothing is to be trained"))
    _, before = searched
    # Only losses of accuracy weigh more than bytes; with a wide budget the smallest is nearest.
    least = min(trial.gzip_size for trial in before.trials)
    wanted = before.reference.bare_size + 1
    result = search(model, copied, max_trials=2, max_size=wanted, max_accuracy_drop=0.9)
    assert not result.met
    assert result.best is None
    assert result.trials == before.trials
    assert result.nearest.gzip_size == least
    assert result.shortfalls["size"] == least - wanted
    assert f"is {least - wanted:,} bytes too large" in result.to_text()
    assert "not met" in result.verdict()


def test_ctrl_c_keeps_the_best_and_the_next_call_takes_the_trial_up(
    copied, model, monkeypatch, capsys
):
    asked = []

    def interrupted(self, number, candidate, *rest):
        asked.append(candidate)
        raise KeyboardInterrupt

    monkeypatch.setattr(TrialRunner, "run", interrupted)
    with pytest.raises(KeyboardInterrupt):
        search(model, copied, max_trials=3, progress=True)
    assert "interrupted. The budget is met by trial" in capsys.readouterr().out
    assert len(json.loads((copied / "result.json").read_text())["trials"]) == 2
    monkeypatch.setattr(TrialRunner, "run", refused)
    result = search(model, copied, max_trials=3)
    assert [trial.candidate for trial in result.trials[2:]] == asked


def refused(self, number, candidate, *rest):
    raise ConversionError("no kernel\nfor this")


def test_a_candidate_that_fails_is_kept_as_such(copied, model, monkeypatch):
    monkeypatch.setattr(TrialRunner, "run", refused)
    result = search(model, copied, max_trials=3)
    assert result.trials[2].error == "no kernel for this"
    assert result.met
    stored = json.loads((copied / "result.json").read_text())["trials"][2]
    assert (stored["state"], stored["gzip_size"]) == ("failed", None)
    assert "failed: " in result.to_text()


def test_a_directory_belongs_to_one_model_its_data_and_its_target(copied, model):
    other = make_model()
    with pytest.raises(ValueError, match="another model"):
        search(other, copied)
    with pytest.raises(ValueError, match="other validation data"):
        tfc.compress(model, blobs(), blobs(seed=1), directory=copied, **QUICK)
    with pytest.raises(ValueError, match="another target, 'raspberry-pi-4'"):
        search(model, copied, target="generic-cpu")


def test_the_files_of_all_trials_are_needed(copied, model):
    shutil.rmtree(copied / "trials" / "1")
    with pytest.raises(ValueError, match=r"lacks trials/1/model\.tflite"):
        search(model, copied)


def test_a_dataset_every_technique_and_training_that_adds_up(model, tmp_path, monkeypatch):
    candidate = Candidate(channels=0.5, sparsity=0.5, precision=0.8, clusters=16)
    line = (Candidate(trained=False), Candidate(channels=0.25, sparsity=0.3), candidate)
    monkeypatch.setattr("tfcompress.search.strategy._SCHEDULE", line)
    monkeypatch.setattr("tfcompress.search.strategy.next_scheduled", in_order)
    batches = tf.data.Dataset.from_tensor_slices(blobs()).batch(64)
    result = tfc.compress(
        model,
        batches,
        batches,
        directory=tmp_path,
        techniques=("channels", "sparsity", "precision", "clusters"),
        max_trials=3,
        **{**QUICK, "max_accuracy_drop": 0.9},
    )
    _, parent, child = result.trials
    assert [trial.parent for trial in result.trials] == [None, None, parent.number]
    assert child.candidate == candidate
    before, after = (
        keras.saving.load_model(tmp_path / trial.files["weights"], compile=False).model
        for trial in (parent, child)
    )
    kernels = [net.get_layer("second").kernel.shape for net in (before, after)]
    assert kernels == [(3, 3, 8, 12), (3, 3, 8, 8)]  # of 8 and 16, in fours
    assert child.zeros > parent.zeros > 0.25
    assert tfc.unique_weights(after)["second/kernel"] <= 16
    tensors = read_model(tmp_path / child.files["file"]).subgraphs[0].tensors
    assert "INT4" in {tensor.dtype for tensor in tensors if tensor.constant}


def in_order(schedule, holds, running):
    return next((level for level in schedule if level not in holds), None)


def test_the_last_trial_is_cut_to_the_time(copied, model, monkeypatch):
    epochs = []

    def seen(self, number, candidate, count, *rest):
        epochs.append(count)
        raise ConversionError("enough")

    monkeypatch.setattr(TrialRunner, "run", seen)
    monkeypatch.setattr("tfcompress.search.time_budget.Plan.seconds_of_epoch", lambda *args: 4.0)
    monkeypatch.setattr(
        "tfcompress.search.time_budget.Plan.seconds_beside_training", lambda *args: 1.0
    )
    search(model, copied, time_budget=60, epochs=20, max_trials=3)
    assert 7 <= epochs[0] <= 14  # of 20: a minute less what came before


def test_time_for_nothing(copied, model):
    with pytest.raises(ValueError, match=r"s are needed at least\. Received: time_budget=0\.01"):
        search(model, copied, time_budget=0.01, max_accuracy_drop=0.0, max_latency=1e-9)


X, Y = blobs(32)
SEVERAL = np.where(np.arange(32)[:, None] % 4 == 0, [1, 1, 0], np.eye(3)[Y])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"target": "toaster"}, "raspberry-pi-4"),
        ({"max_accuracy_drop": -0.1}, "max_accuracy_drop=-0.1"),
        ({"max_size": 10}, "without any weights, take"),
        ({"time_budget": 0}, "time_budget=0"),
        ({"epochs": 0}, "epochs=0"),
        ({"techniques": ("pruning",)}, "'channels', 'sparsity'"),
        ({"train_data": X}, "`train_data` needs labels"),
        ({"validation_data": X}, "`validation_data` needs labels"),
        ({"train_data": (X, Y + 1)}, "labels from 1 to 3"),
        ({"validation_data": (X, Y - 1)}, "labels from -1 to 1"),
        ({"validation_data": (X, np.eye(4)[Y])}, "one-hot labels of 4 classes"),
        ({"train_data": (X, Y + 0.5)}, "class numbers or one-hot rows"),
        ({"train_data": (X, {"head": Y})}, "`train_data` must have one array of labels"),
        ({"train_data": (X, Y[:20])}, "`train_data` with 32 examples and 20 labels"),
        ({"validation_data": (X, Y[:20])}, "`validation_data` with 32 examples and 20 labels"),
        ({"train_data": (X, Y, np.ones(9))}, "32 examples and 9 sample weights"),
        ({"train_data": (X, SEVERAL)}, "several yes-or-no labels.*8 of 32 rows"),
        ({"validation_data": (X, SEVERAL)}, "several yes-or-no labels.*8 of 32 rows"),
        ({"storage": "sqlite:////nowhere/at/all.db"}, "storage="),
    ],
)
def test_bad_input_is_found_before_any_training(changes, message, model, tmp_path, monkeypatch):
    monkeypatch.setattr(TrialRunner, "run", lambda *args: pytest.fail("nothing is to be trained"))
    given = {"model": model, "train_data": (X, Y), "validation_data": (X, Y), **QUICK, **changes}
    with pytest.raises(ValueError, match=message):
        tfc.compress(directory=tmp_path, **given)


def test_an_iterator_is_used_up(model, tmp_path):
    with pytest.raises(TypeError, match="read again in every trial"):
        tfc.compress(model, iter([(X, Y)]), (X, Y), directory=tmp_path, **QUICK)


def test_models_that_are_no_plain_classifiers(model, tmp_path):
    with pytest.raises(ValueError, match=r"pass its `\.model`"):
        search(tfc.quantize_aware(model), tmp_path)
    with pytest.raises(ValueError, match="not built"):
        search(keras.Sequential([kl.Dense(3)]), tmp_path)
    inputs = keras.Input((4,))
    with pytest.raises(ValueError, match="one output of shape"):
        search(keras.Model(inputs, [kl.Dense(3)(inputs), kl.Dense(3)(inputs)]), tmp_path)


def test_endless_data(model, tmp_path):
    endless = tf.data.Dataset.from_tensor_slices((X, Y)).batch(8).repeat()
    with pytest.raises(ValueError, match="take\\(number_of_batches\\)"):
        tfc.compress(model, endless, (X, Y), directory=tmp_path, **QUICK)
