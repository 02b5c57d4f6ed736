"""Rows of finished work, and pieces of work in processes with limits."""

import json
import pathlib
import sys

import pytest

# A piece is what its name says.
SCRIPT = """
import json, os, sys, time
sys.path.insert(0, {benchmarks!r})
from limited_work import LeftOutError, do_pieces

def work(model, cell):
    if cell == "refused":
        raise ValueError("no such\\n   layer")
    if cell == "unknown":
        raise LeftOutError("not there")
    if cell == "endless":
        time.sleep(60)
    if cell == "crash":
        os.abort()
    if cell == "greedy":
        bytearray(1 << 34)
    return {{"process": os.getpid()}}

do_pieces(json.loads(sys.argv[2]), work, sys.argv[1], 1, 1)
"""


@pytest.fixture
def finished(tmp_path):
    """A function of names of pieces that returns their rows."""
    import limited_work

    script = tmp_path / "script.py"
    folder = str(pathlib.Path(limited_work.__file__).parent)
    script.write_text(SCRIPT.format(benchmarks=folder))
    path = tmp_path / "rows.jsonl"

    def run(*cells):
        pieces = [{"model": "some", "cell": cell} for cell in cells]
        return limited_work.finish(pieces, [str(script), str(path)], path, 1)

    run.path = path
    return run


def test_what_fails_says_why_and_the_rest_is_done(finished):
    rows = finished("first", "refused", "unknown", "endless", "crash", "greedy", "last")
    told = {row["cell"]: row.get("error") for row in rows}
    assert told.pop("greedy").startswith("MemoryError")
    assert told == {
        "first": None,
        "refused": "ValueError: no such layer",
        "unknown": None,
        "endless": "not done in 1 s",
        "crash": "ended its process by SIGABRT",
        "last": None,
    }
    assert rows[2]["left_out"] == "not there"
    assert rows[0]["figures"]["process"] != rows[-1]["figures"]["process"]


def test_an_error_is_told_without_folders_and_addresses_of_this_machine():
    from limited_work import described

    error = TypeError(
        'in user code:\n File "/home/me/lib/tfmot/quantize.py", line 79, f at 0x7f7e1e'
    )
    assert described(error) == 'TypeError: in user code: File "quantize.py", line 79, f'
    assert described(ValueError("layer a/b/c of <x>/y")) == "ValueError: layer a/b/c of <x>/y"


def test_what_has_a_row_is_not_done_again(finished):
    (first,) = finished("first")
    again, _ = finished("first", "second")
    assert again == first
    assert len(finished.path.read_text().splitlines()) == 2


def test_a_script_that_cannot_start_is_no_endless_loop(finished):
    from limited_work import finish

    command = ["-c", "raise SystemExit('no such option')"]
    (row,) = finish([{"model": "some", "cell": "one"}], command, finished.path, 1)
    assert row["error"] == "no such option"


def test_a_row_that_was_cut_short_is_done_again(tmp_path):
    from finished_rows import FinishedRows

    path = tmp_path / "rows.jsonl"
    FinishedRows(path, ("seed",)).add(seed=0, accuracy=0.5)
    with path.open("a") as file:
        file.write('{"seed": 1, "accu')
    rows = FinishedRows(path, ("seed",))
    assert rows.find(seed=1) is None
    rows.add(seed=1, accuracy=0.75)
    assert [json.loads(line)["accuracy"] for line in path.read_text().splitlines()] == [0.5, 0.75]


def test_dropped_rows_are_gone_from_the_file(tmp_path):
    from finished_rows import FinishedRows

    path = tmp_path / "rows.jsonl"
    rows = FinishedRows(path, ("seed",))
    for seed in range(3):
        rows.add(seed=seed)
    rows.drop(lambda row: row["seed"] == 1)
    assert [row["seed"] for row in FinishedRows(path, ("seed",)).rows] == [0, 2]


def test_a_missing_peer_is_left_out_with_its_reason(monkeypatch, capsys):
    import peers

    monkeypatch.setitem(peers.PEERS, "TFMOT", ("no_such_quantizer",))
    methods, left_out = peers.those_present(["QAT", "pruned"], {"pruned": "TFMOT"})
    assert methods == ["QAT"]
    assert left_out == {"pruned": "not installed: no_such_quantizer"}
    assert capsys.readouterr().out == "pruned is left out: not installed: no_such_quantizer\n"


def test_benchmarks_of_peers_start_without_them(monkeypatch):
    import builtins

    load = builtins.__import__

    def without(name, *arguments, **keywords):
        if name.partition(".")[0] in ("tensorflow_model_optimization", "tf_keras"):
            raise ImportError(name)
        return load(name, *arguments, **keywords)

    monkeypatch.setattr(builtins, "__import__", without)
    for name in ("quantization_fidelity", "quantization_accuracy", "pruning_accuracy"):
        sys.modules.pop(name, None)
        __import__(name)
