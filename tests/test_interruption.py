import os
import signal
import sys
import threading

import pytest

from tfcompress.interruption import (
    deferred_interruption,
    raise_pending_interruption,
    reliable_interruption,
)


@pytest.fixture(autouse=True)
def python_takes_the_signal():
    """A process that a shell started in the background ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


class Finalized:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGINT)


def interrupted_in_a_finalizer():
    del [Finalized()][0]


def interrupted_into(error, number=signal.SIGINT):
    """Be interrupted as native code is, which answers with an error of its own."""
    try:
        os.kill(os.getpid(), number)
    except KeyboardInterrupt:
        raise error from None


def run_certainly(*works, signals=()):
    with reliable_interruption(*signals) as interruption:
        for work in works:
            work()
    return interruption


def interrupt(number=signal.SIGINT):
    os.kill(os.getpid(), number)


def test_found_again_where_a_finalizer_lost_it():
    reached = []
    with pytest.raises(KeyboardInterrupt):
        run_certainly(
            interrupted_in_a_finalizer,
            lambda: reached.append("after the finalizer"),
            raise_pending_interruption,
            lambda: reached.append("after asking"),
        )
    assert reached == ["after the finalizer"]


def test_found_at_the_end_at_the_latest():
    with pytest.raises(KeyboardInterrupt):
        run_certainly(interrupted_in_a_finalizer)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_what_became_another_error(number):
    seen = []

    def work():
        seen.append(signal.getsignal(number))
        interrupted_into(SystemError("returned a result with an exception set"), number)

    with pytest.raises(KeyboardInterrupt):
        run_certainly(work, signals=[signal.SIGTERM])
    assert seen[0].signal == number


def test_nothing_is_printed_where_python_drops_it(monkeypatch):
    reported = []
    monkeypatch.setattr(sys, "unraisablehook", reported.append)

    class Failing:
        def __del__(self):
            raise OSError("own")

    def failing():
        del [Failing()][0]

    with pytest.raises(KeyboardInterrupt):
        run_certainly(failing, interrupted_in_a_finalizer)
    assert [str(one.exc_value) for one in reported] == ["own"]
    assert sys.unraisablehook == reported.append


def test_a_block_is_not_left_halfway():
    reached = []

    def work():
        with deferred_interruption(), deferred_interruption():
            interrupt()
            reached.append("in the block")
        reached.append("after it")

    with pytest.raises(KeyboardInterrupt):
        run_certainly(work)
    assert reached == ["in the block"]


def test_the_second_signal_is_not_deferred():
    reached = []

    def work():
        with deferred_interruption():
            interrupt()
            reached.append("once")
            interrupt()
            reached.append("twice")

    with pytest.raises(KeyboardInterrupt):
        run_certainly(work)
    assert reached == ["once"]


def test_an_error_in_a_block_that_was_interrupted():
    def work():
        with deferred_interruption():
            interrupt()
            raise ValueError("own")

    with pytest.raises(KeyboardInterrupt):
        run_certainly(work)


def test_a_block_elsewhere_is_like_any_other():
    reached = []

    def work():
        with deferred_interruption():
            interrupt()
            reached.append("in the block")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert reached == []


def test_an_inner_one_converts_errors_too():
    ended = []

    def inner():
        try:
            run_certainly(lambda: interrupted_into(RuntimeError()))
        except KeyboardInterrupt:
            ended.append("inner")

    with pytest.raises(KeyboardInterrupt):
        run_certainly(inner)
    assert ended == ["inner"]


def test_handlers_are_put_back_and_other_errors_pass():
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    during = []

    def work():
        during.extend([signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)])
        raise ValueError("own")

    with pytest.raises(ValueError, match="own"):
        run_certainly(work, signals=[signal.SIGTERM])
    assert during[0] is during[1]
    assert during[0] is not before[0]
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


@pytest.mark.parametrize("handler", [signal.SIG_IGN, lambda number, frame: None])
def test_what_the_program_decides_stays(handler):
    before = signal.signal(signal.SIGINT, handler)
    try:
        with reliable_interruption():
            os.kill(os.getpid(), signal.SIGINT)
            raise_pending_interruption()
            assert signal.getsignal(signal.SIGINT) is handler
    finally:
        signal.signal(signal.SIGINT, before)


def test_found_again_where_the_shell_has_it_ignore_the_other_signal():
    class Terminated:
        def __del__(self):
            os.kill(os.getpid(), signal.SIGTERM)

    reached = []

    def work():
        del [Terminated()][0]
        reached.append("after the finalizer")
        with reliable_interruption():
            raise_pending_interruption()

    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with pytest.raises(KeyboardInterrupt):
            run_certainly(work, lambda: reached.append("after"), signals=[signal.SIGTERM])
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
    assert reached == ["after the finalizer"]


def test_threads_leave_signals_alone():
    seen = []

    def work():
        with reliable_interruption():
            seen.append(signal.getsignal(signal.SIGINT))

    before = signal.getsignal(signal.SIGINT)
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [before]
