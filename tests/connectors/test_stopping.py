"""Signals end a run as the end of its input does."""

import os
import signal
from threading import Event

import pytest

from connectors.sources.stopping import install_stop_signals


@pytest.fixture
def handlers():
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.usefixtures("handlers")
def test_signal_sets_the_event_and_the_second_acts_as_before(number):
    seen = []
    signal.signal(number, lambda *_: seen.append("before"))
    stop = Event()
    install_stop_signals(stop)

    os.kill(os.getpid(), number)
    assert stop.is_set()
    assert seen == []

    os.kill(os.getpid(), number)
    assert seen == ["before"]
