import json
import shutil
import subprocess
import sys

import pytest
from calling import call

from tfcompress.cli.main import make_parser, run

COMMANDS = set(make_parser()._subparsers._group_actions[0].choices)


def script(shell, capsys):
    with pytest.raises(SystemExit) as ended:
        run(["completion", shell])
    assert ended.value.code == 0
    return capsys.readouterr().out


def completed(text, line):
    """What bash offers at the end of a line."""
    words = line.split(" ")
    quoted = " ".join(f"'{word}'" for word in words)
    program = (
        f"{text}\nCOMP_WORDS=({quoted}); COMP_CWORD={len(words) - 1}; _tfcompress\n"
        'printf "%s\\n" "${COMPREPLY[@]}"'
    )
    done = subprocess.run(
        ["bash", "-euc", program], capture_output=True, text=True, check=False, timeout=20
    )
    return set(done.stdout.split())


def test_bash_completes_commands_options_and_values(capsys):
    text = script("bash", capsys)
    assert completed(text, "tfcompress ") == COMMANDS
    assert completed(text, "tfcompress rep") == {"report"}
    assert completed(text, "tfcompress check --t") == {"--target"}
    assert {"--out", "--json"} <= completed(text, "tfcompress report file.tflite --")
    pis = {"raspberry-pi-4", "raspberry-pi-5", "raspberry-pi-zero"}
    assert completed(text, "tfcompress check a.tflite --target rasp") == pis
    assert completed(text, "tfcompress report --target android rasp") == pis
    assert completed(text, "tfcompress completion ") == {"bash", "fish", "zsh"}


def test_bash_leaves_files_to_itself(capsys):
    text = script("bash", capsys)
    assert completed(text, "tfcompress inspect mod") == set()
    assert completed(text, "tfcompress check --target android mod") == set()
    assert "complete -o default -F _tfcompress tfcompress" in text


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_read_their_script(shell, capsys, tmp_path):
    text = script(shell, capsys)
    assert all(command in text for command in COMMANDS)
    if shutil.which(shell) is None:
        pytest.skip(f"needs {shell} to read its script")
    (tmp_path / "script").write_text(text)
    done = subprocess.run(
        [shell, "-n", tmp_path / "script"], capture_output=True, text=True, check=False, timeout=20
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_fish_completes_targets(capsys, tmp_path):
    if shutil.which("fish") is None:
        pytest.skip("needs fish")
    (tmp_path / "script").write_text(script("fish", capsys))
    line = 'complete -C "tfcompress check a.tflite --target rasp"'
    done = subprocess.run(
        ["fish", "-c", f"source {tmp_path}/script; {line}"],
        capture_output=True,
        text=True,
        check=False,
        timeout=20,
        env={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"},
    )
    offered = [entry.split("\t")[0] for entry in done.stdout.splitlines()]
    assert offered == ["raspberry-pi-4", "raspberry-pi-5", "raspberry-pi-zero"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_json_holds_the_script(shell, capsys):
    text = script(shell, capsys)
    assert call(f"completion {shell} --json") == 0
    assert json.loads(capsys.readouterr().out) == {"shell": shell, "script": text}


def test_an_unknown_shell_lists_the_known(capsys):
    with pytest.raises(SystemExit) as ended:
        run(["completion", "csh"])
    assert ended.value.code == 2
    assert "'bash', 'fish', 'zsh'" in capsys.readouterr().err


@pytest.mark.process
def test_completion_and_help_load_no_tensorflow():
    code = (
        "import sys, tfcompress.cli.main as m\n"
        "for arguments in (['completion', 'bash'], ['report', '--help'], ['--help']):\n"
        "  try: m.run(arguments)\n"
        "  except SystemExit: pass\n"
        "sys.exit(any(name in sys.modules for name in ('tensorflow', 'keras', 'matplotlib')))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
