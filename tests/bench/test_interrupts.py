"""Signals: an end at once, or after what is in hand; handlers are as before afterwards."""

from __future__ import annotations

import signal
import threading

import pytest

from energy_plugin_bench import interrupts
from energy_plugin_bench.interrupts import StoppedError, ending, held

BOTH = pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])


@BOTH
def test_a_signal_ends_at_once_and_no_handler_for_faults_catches_it(number):
    before = signal.getsignal(number)
    with pytest.raises(StoppedError) as stopped, ending():
        try:
            signal.raise_signal(number)
        except Exception:  # noqa: BLE001 - what decoders of images are guarded with
            pytest.fail("taken for a fault")
    assert stopped.value.number == number
    assert signal.getsignal(number) is before


@BOTH
def test_a_held_signal_is_a_wish_and_one_much_later_ends_at_once(number, monkeypatch):
    told = []
    with held(lambda: told.append(1)) as wish:
        signal.raise_signal(number)
        signal.raise_signal(signal.SIGTERM)  # torchrun passes on what the terminal sent
        assert (wish.number, told) == (number, [1])
        monkeypatch.setattr(interrupts, "TOGETHER", -1.0)
        with pytest.raises(StoppedError):
            signal.raise_signal(number)


def test_a_signal_that_was_ignored_stays_so():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with ending(), held(lambda: pytest.fail("told")):
            signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)


def test_other_threads_go_without():
    done = []

    def work():
        with ending(), held(lambda: None) as wish:
            done.append(wish.number)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done == [0]
