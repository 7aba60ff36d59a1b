"""Signals that end a process end it as Ctrl-C does."""

import os
import signal
import threading

import pytest

from stbench.process import ending_as_interrupted

ENDINGS = [signal.SIGTERM, signal.SIGHUP]


@pytest.mark.parametrize("number", ENDINGS)
def test_a_signal_is_an_interruption_and_what_was_set_comes_back(number):
    before = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt), ending_as_interrupted():
        os.kill(os.getpid(), number)
    assert signal.getsignal(number) == before


def test_two_at_once_do_not_end_the_tidying_up():
    def work():
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        finally:
            os.kill(os.getpid(), signal.SIGTERM)
            tidied.append(True)

    tidied = []
    with pytest.raises(KeyboardInterrupt), ending_as_interrupted():
        work()
    assert tidied == [True]


@pytest.mark.parametrize("number", ENDINGS)
def test_what_is_ignored_stays_so(number):
    before = signal.signal(number, signal.SIG_IGN)
    try:
        with ending_as_interrupted():
            os.kill(os.getpid(), number)
    finally:
        signal.signal(number, before)


def test_another_thread_has_no_signals():
    done = []

    def work():
        with ending_as_interrupted():
            done.append(True)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done == [True]
