import contextlib
import importlib.util
import pathlib
import re
import signal
import subprocess
import sys

import pytest

import tfcompress
from tfcompress.cli.main import make_parser, run
from tfcompress.interruption import Interruption


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


def test_every_command_prints_json_for_programs():
    commands = make_parser()._subparsers._group_actions[0].choices
    assert len(commands) == 11
    assert [name for name, parser in commands.items() if "--json" not in parser.format_help()] == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "arguments are required: COMMAND"),
        (["quikstart"], "invalid choice: 'quikstart'"),
        (["quickstart"], "arguments are required: --out"),
        (
            ["quickstart", "--out", "x", "--sed", "1"],
            "quickstart: unrecognized arguments: --sed 1 (see tfcompress quickstart --help)",
        ),
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
    assert re.search("--html needs the extra 'report': pip install '(jinja2|matplotlib)", line)
    assert not (tmp_path / "out").exists()


FILES = {
    function.__code__.co_filename
    for function in (run, Interruption.check, contextlib.suppress.__exit__)
}


class SignalAtCall:
    """Sends a signal at a call, where Python looks for one: the first taken from a number on."""

    def __init__(self, number, call):
        self.number, self.call = number, call
        self.calls, self.sent = 0, False

    def __call__(self, frame, event, argument):
        if event == "return" or frame.f_code.co_filename not in FILES:
            return
        self.calls += 1
        taken = signal.getsignal(self.number) is not signal.SIG_DFL
        if self.calls > self.call and taken and not self.sent:
            self.sent = True
            signal.raise_signal(self.number)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_at_any_call_of_the_command(number, capsys):
    kept = signal.signal(signal.SIGINT, signal.SIG_DFL)  # as where the installed command begins
    profiled, codes = sys.getprofile(), []
    try:
        while not codes or codes[-1] == 128 + number:
            sys.setprofile(SignalAtCall(number, len(codes)))
            try:
                run(["completion", "bash"])
            except SystemExit as ended:
                codes.append(ended.code)
            finally:
                sys.setprofile(profiled)
            assert signal.getsignal(signal.SIGINT) is signal.SIG_DFL
            assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    finally:
        signal.signal(signal.SIGINT, kept)
    assert codes[-1] == 0
    assert len(codes) > 30
    assert capsys.readouterr().err == "tfcompress: interrupted\n" * (len(codes) - 1)


@pytest.mark.process
def test_ctrl_c_outside_of_the_work_says_nothing():
    code = (
        "import signal, sys, types\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)  # even in the background\n"
        "main = types.ModuleType('tfcompress.cli.main')\n"
        "main.run = lambda: signal.raise_signal(signal.SIGINT)\n"
        "sys.modules['tfcompress.cli.main'] = main\n"
        "import tfcompress.cli.entry as entry\n"
        "entry.main()"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60
    )
    assert (ended.returncode, ended.stderr) == (-signal.SIGINT, "")


@pytest.mark.process
def test_installed_command():
    command = pathlib.Path(sys.executable).with_name("tfcompress")
    ended = subprocess.run([command, "--version"], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (0, f"tfcompress {tfcompress.__version__}\n")
