"""When a portfolio stops waiting for a shard, with a clock of the test's own and a real broker."""

from threading import Event

import pytest

from connectors.kafka.admin import ensure_topics
from connectors.kafka.barriers import BarrierLog, BarrierSource, BarrierWatch
from connectors.kafka.past import read_past
from connectors.kafka.topics import BARRIERS
from connectors.kafka.wire import decode
from operators.messages import Barrier
from tests.servers.kafka import broker


class Hands:
    """A clock that the test turns."""

    def __init__(self):
        self.at = 0.0

    def __call__(self):
        return self.at


@pytest.fixture
def hands():
    return Hands()


def watch(hands, *, shards=(0, 1, 2), **fields):
    made = BarrierWatch(shards, 1.0, clock=hands, **fields)
    assert made.due() is None  # it is asked all the time, and from the start
    return made


def test_a_close_that_every_shard_reaches_needs_none(hands):
    made = watch(hands)
    for shard in (0, 1, 2):
        made.reached(shard, 10)
    hands.at = 5.0
    assert made.due() is None
    assert made.complete(10)


def test_the_oldest_close_comes_first_with_those_that_were_there(hands):
    made = watch(hands)
    made.reached(0, 10)
    made.reached(1, 10)
    made.reached(0, 11)
    hands.at = 0.9
    assert made.due() is None
    hands.at = 1.0
    assert made.due() == Barrier(ts_close=10, shards=(0, 1))
    assert made.due() == Barrier(ts_close=11, shards=(0,))
    assert made.due() is None


def test_a_close_gets_one_barrier_however_late_the_others_come(hands):
    made = watch(hands)
    made.reached(0, 10)
    hands.at = 1.0
    assert made.due() == Barrier(ts_close=10, shards=(0,))
    made.reached(1, 10)  # catching up, while shard 2 stays away
    hands.at = 3.0
    assert made.due() is None


def test_nothing_is_due_before_what_kafka_held_has_been_read(hands):
    ready = []
    made = watch(hands, ready=lambda: bool(ready))
    made.reached(0, 10)
    hands.at = 60.0
    assert made.due() is None
    ready.append(True)
    assert made.due() is None  # the wait begins now
    hands.at = 61.0
    assert made.due() == Barrier(ts_close=10, shards=(0,))


def test_what_was_decided_before_a_restart_needs_none(hands):
    made = watch(hands, done=10)
    made.reached(0, 9)
    made.reached(0, 10)
    hands.at = 5.0
    assert made.due() is None


def test_a_barrier_waits_for_the_broker_and_is_given_once_it_lasts(hands):
    with broker() as kafka:
        settings = kafka.settings(partitions=1)
        ensure_topics(settings)
        made, log, stop = watch(hands), BarrierLog(settings, None), Event()
        part = BarrierSource(made, log, lambda: False, stop).build_part("b", "0", None)
        made.reached(0, 10)
        hands.at = 1.0
        assert part.next_batch() == [("barrier", Barrier(ts_close=10, shards=(0,)))]
        assert [decode(each) for each in read_past(settings, None, BARRIERS.name)] == [
            Barrier(ts_close=10, shards=(0,))
        ]
        part.close()
        stop.set()
        with pytest.raises(StopIteration):
            part.next_batch()


def test_a_barrier_nobody_can_write_is_forgotten_once_its_close_is_complete(hands):
    with broker() as kafka:
        settings = kafka.settings(partitions=1)
    # Nobody listens there any more.
    made = watch(hands)
    part = BarrierSource(made, BarrierLog(settings, None), lambda: False, Event()).build_part(
        "b", "0", None
    )
    made.reached(0, 10)
    hands.at = 1.0
    assert part.next_batch() == []
    assert part.held == Barrier(ts_close=10, shards=(0,))
    made.reached(1, 10)
    made.reached(2, 10)
    assert part.next_batch() == []
    assert part.held is None
    part.close()
