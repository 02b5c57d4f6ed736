import importlib.util
import pathlib
import subprocess
import sys

import pytest

import tfcompress
from tfcompress.cli.main import run


def fails(arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        run(arguments)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    return ended.value.code, captured.err


def test_version(capsys):
    with pytest.raises(SystemExit) as ended:
        run(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"tfcompress {tfcompress.__version__}\n"


def test_help_shows_an_example(capsys):
    with pytest.raises(SystemExit) as ended:
        run(["quickstart", "--help"])
    assert ended.value.code == 0
    assert "tfcompress quickstart --out results" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "arguments are required: COMMAND"),
        (["quikstart"], "invalid choice: 'quikstart'"),
        (["quickstart"], "arguments are required: --out"),
        (["quickstart", "--out", "x", "--sed", "1"], "unrecognized arguments: --sed 1"),
        (["quickstart", "--out", "x", "--seed", "one"], "invalid int value: 'one'"),
    ],
)
def test_bad_usage_is_one_line(arguments, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, line = fails(arguments, capsys)
    assert code == 2
    assert message in line
    assert "--help" in line
    assert list(tmp_path.iterdir()) == []


def test_negative_seed(capsys, tmp_path):
    code, line = fails(["quickstart", "--out", str(tmp_path), "--seed", "-1"], capsys)
    assert code == 2
    assert "Received: -1" in line


def test_folder_that_cannot_be_written_to(capsys, tmp_path):
    file = tmp_path / "file"
    file.write_text("in the way")
    code, line = fails(["quickstart", "--out", str(file / "results")], capsys)
    assert code == 2
    assert "choose another folder" in line
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_missing_extra(capsys, tmp_path, monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "jinja2" else found(name)
    )
    code, line = fails(["quickstart", "--out", str(tmp_path / "out"), "--html"], capsys)
    assert code == 2
    assert "pip install 'tfcompress[report]'" in line
    assert not (tmp_path / "out").exists()


@pytest.mark.process
def test_installed_command():
    command = pathlib.Path(sys.executable).with_name("tfcompress")
    ended = subprocess.run([command, "--version"], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (0, f"tfcompress {tfcompress.__version__}\n")
