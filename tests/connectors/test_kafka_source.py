from datetime import timedelta
from threading import Event

import bytewax.operators as op
import pytest
from bytewax.dataflow import Dataflow
from bytewax.errors import BytewaxRuntimeError
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.testing import TestingSink, run_main
from prometheus_client import CollectorRegistry

from connectors.kafka import wire
from connectors.kafka.admin import ensure_topics
from connectors.kafka.faults import KafkaError
from connectors.kafka.metrics import KafkaCollector
from connectors.kafka.past import read_past
from connectors.kafka.source import KafkaSource
from connectors.kafka.wire import Outgoing
from operators.messages import SECOND, Clock, Reason, Rejection
from tests.kafka_logs import logged, read, send, until
from tests.servers.kafka import Broker, broker
from tests.support import clock, tick


@pytest.fixture(scope="session")
def kafka():
    with broker() as started:
        yield started


@pytest.fixture
def own(tmp_path):
    """Return a broker that a test may ruin."""
    with Broker(tmp_path) as started:
        yield started


def made(broker, *entries, **given):
    """Return settings whose log holds `entries`."""
    settings = broker.settings(**given)
    ensure_topics(settings)
    if entries:
        send(settings, entries)
    return settings


def ticks(count, first=0):
    return [tick(trade_id=n) for n in range(first, count)]


def source_of(settings, **given):
    return KafkaSource(settings, **{"topic": "log", "shards": (0,), "stop": Event()} | given)


def drain(part, count):
    """Read until `count` messages have come."""
    found = []

    def enough():
        found.extend(message for _, message in part.next_batch())
        return len(found) >= count

    until(enough)
    return found


def test_shards_are_read_in_order_as_text_and_message(kafka):
    settings = made(kafka, *logged(ticks(2500)), *logged(ticks(100), partition=1))

    found, source = read(settings)

    assert [m.trade_id for shard, m in found if shard == "0"] == list(range(2500))
    assert [m.trade_id for shard, m in found if shard == "1"] == list(range(100))
    assert source.refused == source.repeated == 0


def test_only_the_shards_of_this_process_are_read(kafka):
    settings = made(kafka, *logged(ticks(5)), *logged(ticks(7), partition=1))
    found, _ = read(settings, shards=(1,))
    assert [shard for shard, _ in found] == ["1"] * 7


def test_a_flow_goes_on_where_its_snapshot_stood(kafka, tmp_path):
    settings = made(kafka, *logged(ticks(3000)))
    init_db_dir(tmp_path, 1)
    seen = []
    failing = [True]

    def trouble(item):
        if failing and item[1].trade_id == 2100:
            failing.clear()
            raise RuntimeError("a crash")
        return item

    def run():
        source = source_of(settings, until_end=True)
        flow = Dataflow("read")
        passed = op.map("trouble", op.input("in", flow, source), trouble)
        op.output("out", passed, TestingSink(seen))
        run_main(flow, epoch_interval=timedelta(0), recovery_config=RecoveryConfig(str(tmp_path)))

    with pytest.raises(BytewaxRuntimeError):
        run()
    first = len(seen)
    run()

    assert [m.trade_id for _, m in seen[:first]] == list(range(first))
    again = [m.trade_id for _, m in seen[first:]]
    assert again == list(range(again[0], 3000))
    assert 0 < again[0] <= first
    before = len(seen)
    run()  # once more, behind the end: its mark is found again
    assert len(seen) == before


def test_start_gives_the_first_offset_of_each_shard(kafka):
    settings = made(kafka, *logged(ticks(10)), *logged(ticks(10), partition=1))
    found, _ = read(settings, start={1: 7})
    assert [m.trade_id for shard, m in found if shard == "1"] == [7, 8, 9]
    assert len(found) == 13


def test_stop_ends_the_input(kafka):
    settings = made(kafka, *logged(ticks(10), ends=False))
    stop = Event()
    part = source_of(settings, stop=stop).build_part("in", "0", None)
    drain(part, 10)
    stop.set()
    with pytest.raises(StopIteration):
        part.next_batch()
    assert part.snapshot() == 10
    part.close()


def test_end_marks_are_passed_over_unless_they_are_asked_for(kafka):
    settings = made(kafka, *logged(ticks(3)), *logged(ticks(5, first=3)))
    part = source_of(settings).build_part("in", "0", None)
    assert [m.trade_id for m in drain(part, 5)] == [0, 1, 2, 3, 4]
    part.close()


def test_what_cannot_be_decoded_comes_as_a_counted_rejection(kafka):
    bad = [
        Outgoing(topic="log", type="tick", value=b"{", partition=0),
        Outgoing(topic="log", type="tock", value=b"{}", partition=0),
        Outgoing(topic="log", type="tick", value=b"{}", version="7", partition=0),
        Outgoing(topic="log", type="tick", value=None, partition=0),
    ]
    kept = Rejection(reason=Reason.LATE, payload=b"x", ts_init=1, offset=5)
    settings = made(kafka, *bad, *logged([kept, *ticks(1)]))

    found, source = read(settings, shards=(0,))

    assert [m.reason for _, m in found[:4]] == [Reason.BAD_JSON, *[Reason.BAD_TYPE] * 3]
    assert [m.offset for _, m in found[:4]] == [0, 1, 2, 3]
    assert all(m.ts_init > SECOND for _, m in found[:4])
    assert found[4][1] == kept
    assert source.refused == 4


def test_what_a_writer_sent_twice_comes_once(kafka):
    def numbered(first, last):
        return [
            wire.outgoing(tick(trade_id=n), "log", partition=0, number=n)
            for n in range(first, last + 1)
        ]

    settings = made(kafka, *numbered(1, 50), *numbered(31, 80), *logged([]))
    found, source = read(settings, shards=(0,))
    assert [m.trade_id for _, m in found] == list(range(1, 81))
    assert source.repeated == 20


def test_a_decoder_of_ones_own_is_used(kafka):
    settings = made(kafka, *logged(ticks(3)))
    found, _ = read(settings, shards=(0,), decode=lambda entry: (entry.type, entry.offset))
    assert found == [("0", ("tick", n)) for n in range(3)]


def test_no_shard_runs_further_ahead_than_allowed(kafka):
    fast = [clock(ts_event=n * SECOND) for n in range(1, 400)]
    slow = [clock(ts_event=n * SECOND) for n in range(1, 200)]
    settings = made(kafka, *logged(fast), *logged(slow, partition=1))

    found, _ = read(settings, ahead_ns=10 * SECOND)

    assert len(found) == 399 + 199
    reached = {"0": 0, "1": 0}
    for shard, message in found:
        assert type(message) is Clock
        reached[shard] = message.ts_event
        if reached["1"] < 199 * SECOND:
            # One Clock further: to see that it is too far, it has to be read.
            assert reached["0"] - reached["1"] <= 11 * SECOND


def test_a_shard_at_the_end_of_its_log_holds_nobody_back(kafka):
    settings = made(
        kafka,
        *logged([clock(ts_event=SECOND)], ends=False),
        *logged([clock(ts_event=n * SECOND) for n in range(1, 400)], partition=1, ends=False),
    )
    source = source_of(settings, shards=(0, 1), ahead_ns=10 * SECOND)
    slow, fast = source.build_part("in", "0", None), source.build_part("in", "1", None)
    found = []

    def enough():
        slow.next_batch()
        found.extend(fast.next_batch())
        return len(found) == 399

    until(enough)
    slow.close()
    fast.close()


def test_lag_is_told_by_shard(kafka):
    settings = made(kafka, *logged(ticks(2500), ends=False))
    source = source_of(settings)
    registry = CollectorRegistry()
    registry.register(KafkaCollector([source]))
    part = source.build_part("in", "0", None)
    first = 0
    while not first:
        first = len(part.next_batch())
    labels = {"topic": "log", "shard": "0"}
    assert source.lag() == {0: 2500 - first}
    assert registry.get_sample_value("nextgen_kafka_lag_entries", labels) == 2500 - first
    drain(part, 2500 - first)
    assert source.lag() == {0: 0}
    assert registry.get_sample_value("nextgen_kafka_up", {"client": "source log"}) == 1.0
    part.close()
    assert source.lag() == {}


def test_a_halted_broker_is_waited_for(own):
    settings = made(own, *logged(ticks(10), ends=False))
    part = source_of(settings).build_part("in", "0", None)
    drain(part, 10)
    own.halt()
    assert part.next_batch() == []
    own.go_on()
    send(settings, logged(ticks(20, first=10), ends=False))
    assert [m.trade_id for m in drain(part, 10)] == list(range(10, 20))
    part.close()


def test_a_broker_that_is_gone_is_told_once_and_tried_again(own):
    settings = made(own, *logged(ticks(10), ends=False))
    source = source_of(settings)
    part = source.build_part("in", "0", None)
    drain(part, 10)
    own.kill()

    def lost():
        assert part.next_batch() == []
        return source.faults.lost

    until(lost)
    assert sum(source.faults.counts.values()) > 0
    part.close()


def test_a_broker_that_comes_back_empty_is_a_loud_error(own):
    settings = made(own, *logged(ticks(10), ends=False))
    part = source_of(settings).build_part("in", "0", None)
    drain(part, 10)
    own.kill()
    own.start()
    ensure_topics(settings)

    def loud():
        try:
            assert part.next_batch() == []
        except KafkaError as error:
            return "was read up to 10: the broker has lost entries" in str(error)
        return False

    until(loud)
    part.close()


def test_to_resume_behind_the_end_of_the_log_is_a_loud_error(kafka):
    settings = made(kafka, *logged(ticks(10), ends=False))
    with pytest.raises(KafkaError, match=r"ends at 10, but was read up to 5000: the broker has"):
        source_of(settings).build_part("in", "0", 5000)


def test_to_resume_at_the_end_of_the_log_is_none(kafka):
    settings = made(kafka, *logged(ticks(10), ends=False))
    part = source_of(settings).build_part("in", "0", 10)
    assert part.next_batch() == []
    assert part.snapshot() == 10
    part.close()


def test_to_resume_on_an_empty_log_is_a_loud_error(kafka):
    settings = made(kafka)
    with pytest.raises(KafkaError, match=r"ends at 0, but was read up to 3"):
        source_of(settings).build_part("in", "0", 3)


@pytest.mark.parametrize(
    ("given", "found", "words"),
    [
        ({}, {"topic": "lag"}, r"expected the topic t\d+\.lag at .*, found none of that name"),
        ({"partitions": 3}, {"shards": (3,)}, "expected a shard below 3, found 3"),
    ],
)
def test_a_wrong_topic_or_shard_is_told(kafka, given, found, words):
    settings = made(kafka, **given)
    source = source_of(settings, **found)
    with pytest.raises(KafkaError, match=words):
        source.build_part("in", source.list_parts()[0], None)


def test_no_broker_at_the_start_is_told(own):
    settings = made(own)
    own.kill()
    with pytest.raises(KafkaError, match="no broker answered within five seconds"):
        source_of(settings).build_part("in", "0", None)


def test_the_past_of_a_partition_is_read_up_to_its_end(kafka):
    settings = made(kafka, *logged(ticks(1200), partition=1, ends=False))
    past = [wire.decode(entry).trade_id for entry in read_past(settings, None, "log", 1)]
    assert past == list(range(1200))
    assert list(read_past(settings, None, "log", 0)) == []
