import io
import time

from rich.console import Console

from exporters import stages


def shown(seconds, monkeypatch, **settings):
    monkeypatch.setattr(stages, "_DELAY", 0.2)
    console = Console(file=io.StringIO(), width=60, **settings)
    with stages.shown_stages(True, console) as tell:
        tell("converting the model")
        time.sleep(seconds)
        tell("comparing")
    return console.file.getvalue()


def test_a_terminal_shows_what_takes_long(monkeypatch):
    assert "converting the model" in shown(0.6, monkeypatch, force_terminal=True)


def test_nothing_is_shown_of_what_is_quick_or_in_a_pipe(monkeypatch):
    assert shown(0.0, monkeypatch, force_terminal=True).strip() == ""
    assert shown(0.6, monkeypatch, force_terminal=False) == ""


def test_nothing_is_shown_unless_asked():
    console = Console(file=io.StringIO(), force_terminal=True)
    with stages.shown_stages(False, console) as tell:
        tell("converting the model")
    assert console.file.getvalue() == ""
