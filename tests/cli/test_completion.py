import json
import pathlib
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


@pytest.fixture(scope="module")
def tfcompress(tmp_path_factory):
    """A folder with the command as it is installed."""
    folder = tmp_path_factory.mktemp("bin")
    command = folder / "tfcompress"
    command.write_text(f"#!{sys.executable}\nfrom tfcompress.cli.entry import main\n\nmain()\n")
    command.chmod(0o755)
    return folder


def ask(shell, program, folder):
    return subprocess.run(
        [shell, "-c", program],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={
            "HOME": str(folder),
            "PATH": f"{folder}:/usr/bin:/bin",
            "PYTHONPATH": str(pathlib.Path(__file__).parents[2]),
        },
    )


@pytest.mark.process
@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("tfcompress ", COMMANDS),
        ("tfcompress check --t", {"--target"}),
        (
            "tfcompress check a.tflite --target rasp",
            {"raspberry-pi-4", "raspberry-pi-5", "raspberry-pi-zero"},
        ),
        ("tfcompress benchmark --kernels ", {"xnnpack", "builtin", "reference"}),
        ("tfcompress inspect tfc", {"tfcompress"}),
    ],
)
def test_bash_completes_commands_options_values_and_files(line, offered, capsys, tfcompress):
    program = (
        f"cd {tfcompress}\n{script('bash', capsys)}\nCOMP_LINE='{line}'; COMP_POINT={len(line)}\n"
        '_python_argcomplete tfcompress; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    assert set(ask("bash", program, tfcompress).stdout.split()) == offered


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_read_their_script(shell, capsys, tmp_path):
    (tmp_path / "script").write_text(script(shell, capsys))
    if shutil.which(shell) is None:
        pytest.skip(f"needs {shell} to read its script")
    done = ask(shell, f"{shell} -n {tmp_path / 'script'}", tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.process
def test_fish_completes_targets(capsys, tfcompress):
    if shutil.which("fish") is None:
        pytest.skip("needs fish")
    (tfcompress / "script").write_text(script("fish", capsys))
    line = 'complete -C "tfcompress check a.tflite --target rasp"'
    done = ask("fish", f"source {tfcompress}/script; {line}", tfcompress)
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
        "import sys, types, tfcompress.cli.main as m\n"
        "for arguments in (['completion', 'bash'], ['report', '--help'], ['--help']):\n"
        "  try: m.run(arguments)\n"
        "  except SystemExit: pass\n"
        "m.completion._values_or_files('', types.SimpleNamespace(dest='target'))\n"
        "m.completion._values_or_files('', types.SimpleNamespace(dest='kernels'))\n"
        "sys.exit(any(name in sys.modules for name in ('tensorflow', 'keras', 'matplotlib')))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
