"""Signals that become a flag."""

import os
import signal
import subprocess
import sys
import threading

import pytest

from hyperexec_env.training.interruption import Interrupted, Signals, exit_code

CAUGHT = (signal.SIGINT, signal.SIGTERM)


@pytest.fixture(autouse=True)
def ordinary_handlers():
    """The handlers of an ordinary process, also where the tests run in the background."""
    ordinary = (signal.default_int_handler, signal.SIG_DFL)
    before = [signal.signal(number, handler) for number, handler in zip(CAUGHT, ordinary, strict=True)]
    yield
    for number, handler in zip(CAUGHT, before, strict=True):
        signal.signal(number, handler)


@pytest.mark.parametrize("number", CAUGHT)
def test_a_signal_sets_the_flag_and_the_block_goes_on(number):
    with Signals() as signals:
        assert signals.received == 0
        os.kill(os.getpid(), number)
        assert signals.received == number
        went_on = True
    assert went_on


def test_the_old_handlers_come_back_also_after_an_error():
    def fail():
        with Signals():
            during.extend(map(signal.getsignal, CAUGHT))
            raise RuntimeError

    before, during = list(map(signal.getsignal, CAUGHT)), []
    with pytest.raises(RuntimeError):
        fail()
    assert not set(during) & set(before)
    assert list(map(signal.getsignal, CAUGHT)) == before


@pytest.mark.parametrize("first", CAUGHT)
def test_an_interruption_after_a_signal_stops_at_once(first):
    with Signals() as signals:
        os.kill(os.getpid(), first)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
        assert signals.received == first


def test_a_second_termination_changes_nothing():
    with Signals() as signals:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)
        assert signals.received == signal.SIGINT


def test_outside_the_main_thread_nothing_is_caught():
    seen = []

    def work():
        with Signals() as signals:
            seen.extend([signals.received, *map(signal.getsignal, CAUGHT)])

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [0, signal.default_int_handler, signal.SIG_DFL]


def test_a_signal_that_is_ignored_stays_ignored():
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with Signals() as signals:
        os.kill(os.getpid(), signal.SIGINT)
        assert signals.received == 0


@pytest.mark.parametrize("number", CAUGHT)
def test_the_exit_code_is_that_of_a_shell(number):
    assert exit_code(number) == {signal.SIGINT: 130, signal.SIGTERM: 143}[number]
    script = f"from hyperexec_env.training.interruption import Interrupted; raise Interrupted({int(number)})"
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (ended.returncode, ended.stderr) == (exit_code(number), "")
    assert Interrupted(number).code == exit_code(number)
