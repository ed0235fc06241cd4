from datetime import timedelta

import bytewax.operators as op
import pytest
from bytewax.dataflow import Dataflow
from bytewax.errors import BytewaxRuntimeError
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.testing import TestingSource, run_main

from connectors.kafka import sink as sinks
from connectors.kafka import wire
from connectors.kafka.admin import ensure_topics
from connectors.kafka.faults import KafkaError
from connectors.kafka.partitions import partition_of
from connectors.kafka.sink import KafkaSink
from connectors.kafka.wire import Outgoing
from tests.kafka_logs import held, send, until
from tests.servers.kafka import Broker, broker
from tests.servers.toxic import Toxic
from tests.support import tick


@pytest.fixture(scope="session")
def kafka():
    with broker() as started:
        yield started


@pytest.fixture
def own(tmp_path):
    """Return a broker that a test may ruin."""
    with Broker(tmp_path) as started:
        yield started


def ticks(count, first=0):
    return [wire.outgoing(tick(trade_id=n), "log", partition=0) for n in range(first, count)]


def ids(settings):
    return [wire.decode(entry).trade_id for entry in held(settings, "log")]


def part_of(settings):
    return KafkaSink(settings).build_part("out", "0", None)


def test_entries_arrive_once_in_order_with_type_version_key_and_number(kafka):
    settings = kafka.settings()
    ensure_topics(settings)
    sent = [
        Outgoing(topic="log", type="tick", value=b"%d" % n, key=b"k", partition=1, number=n)
        for n in range(1, 500)
    ]

    send(settings, sent)

    found = held(settings, "log", 1)
    assert [entry.value for entry in found] == [entry.value for entry in sent]
    assert [entry.number for entry in found] == [entry.number for entry in sent]
    assert {(entry.type, entry.version, entry.key) for entry in found} == {("tick", "1", b"k")}
    assert [entry.offset for entry in found] == list(range(499))


def test_without_a_partition_a_key_goes_where_its_symbol_belongs(kafka):
    settings = kafka.settings(partitions=5)
    ensure_topics(settings)
    symbols = [f"SYMBOL{n}" for n in range(40)] + ["é東京"]

    send(
        settings,
        [
            Outgoing(topic="signals", type="signals", value=b"{}", key=symbol.encode())
            for symbol in symbols
        ],
    )

    for partition in range(5):
        found = {entry.key.decode() for entry in held(settings, "signals", partition)}
        assert found == {symbol for symbol in symbols if partition_of(symbol, 5) == partition}


def test_a_tombstone_has_no_value(kafka):
    settings = kafka.settings()
    ensure_topics(settings)
    send(settings, [Outgoing(topic="state", type="part", value=None, key=b"k", partition=0)])
    assert [entry.value for entry in held(settings, "state")] == [None]


def test_a_full_queue_makes_the_flow_wait_and_loses_nothing(own, monkeypatch):
    monkeypatch.setattr(sinks, "IN_FLIGHT_MESSAGES", 50)
    settings = own.settings()
    ensure_topics(settings)
    part = part_of(settings)

    part.write_batch(ticks(2000))
    part.snapshot()
    part.close()

    assert ids(settings) == list(range(2000))


def test_a_broker_halted_while_it_is_written_to_gets_everything_once(own):
    settings = own.settings()
    ensure_topics(settings)
    part = part_of(settings)
    part.write_batch(ticks(3000))
    own.halt()
    part.write_batch(ticks(6000, first=3000))
    assert len(part.producer) > 0  # some wait for its word
    own.go_on()
    part.snapshot()
    assert len(part.producer) == 0
    part.close()

    assert ids(settings) == list(range(6000))


def test_connections_cut_after_the_broker_wrote_and_before_it_said_so_lose_nothing(tmp_path):
    with Toxic(0) as proxy, Broker(tmp_path, reached_at=proxy.port) as own:
        proxy.target = own.port
        settings = own.settings()
        ensure_topics(settings)
        part = part_of(settings)
        part.write_batch(ticks(100))
        part.snapshot()
        proxy.mute()
        part.write_batch(ticks(200, first=100))
        until(lambda: proxy.holding)
        proxy.cut()
        proxy.heal()
        part.write_batch(ticks(300, first=200))
        part.snapshot()
        part.close()

        found = ids(settings)
        assert sorted(set(found)) == list(range(300))


def test_an_outage_is_counted_and_told_once(own):
    settings = own.settings()
    ensure_topics(settings)
    sink = KafkaSink(settings)
    part = sink.build_part("out", "0", None)
    own.kill()
    part.write_batch(ticks(10))

    def lost():
        part.producer.poll(0.01)
        return sink.faults.lost

    until(lost)
    assert sink.waiting == sink.sent == 10
    assert sum(sink.faults.counts.values()) > 0
    part.close()


def test_a_snapshot_fails_while_entries_are_not_acknowledged(own):
    settings = own.settings(delivery_seconds=1.0)
    ensure_topics(settings)
    sink = KafkaSink(settings)
    part = sink.build_part("out", "0", None)
    own.halt()
    part.write_batch(ticks(10))

    with pytest.raises(KafkaError, match=r"acknowledged nothing for 1 s, and 10 entries wait"):
        part.snapshot()
    part.close()
    assert sink.faults.counts["unacknowledged"] == 10
    own.go_on()


def test_a_full_queue_fails_too_when_nothing_is_acknowledged(own, monkeypatch):
    monkeypatch.setattr(sinks, "IN_FLIGHT_MESSAGES", 50)
    settings = own.settings(delivery_seconds=1.0)
    ensure_topics(settings)
    part = part_of(settings)
    own.halt()

    with pytest.raises(KafkaError, match=r"acknowledged nothing for 1 s, and 50 entries wait"):
        part.write_batch(ticks(100))
    part.close()
    own.go_on()


def test_a_flow_whose_broker_died_ends_with_an_error_and_not_in_silence(own):
    settings = own.settings(delivery_seconds=1.0)
    ensure_topics(settings)

    def entries():
        yield from (("", entry) for entry in ticks(10))
        own.kill()
        yield from (("", entry) for entry in ticks(20, first=10))

    flow = Dataflow("send")
    op.output("out", op.input("in", flow, TestingSource(entries())), KafkaSink(settings))
    with pytest.raises(BytewaxRuntimeError) as error:
        run_main(flow)
    assert isinstance(error.value.__cause__, KafkaError)


def test_what_a_failed_flow_had_not_had_acknowledged_comes_again_after_a_restart(own, tmp_path):
    settings = own.settings(delivery_seconds=1.0)
    ensure_topics(settings)
    folder = tmp_path / "recovery"
    folder.mkdir()
    init_db_dir(folder, 1)
    items = [("", entry) for entry in ticks(300)]
    failing = [True]

    def trouble(item):
        if failing and item[1] is items[200][1]:
            failing.clear()
            own.halt()
        return item

    def run():
        flow = Dataflow("send")
        passed = op.map("trouble", op.input("in", flow, TestingSource(items, 10)), trouble)
        op.output("out", passed, KafkaSink(settings))
        run_main(flow, epoch_interval=timedelta(0), recovery_config=RecoveryConfig(str(folder)))

    with pytest.raises(BytewaxRuntimeError):
        run()
    own.go_on()
    run()

    assert sorted(set(ids(settings))) == list(range(300))


def test_a_commit_waits_for_all_before_it(own):
    settings = own.settings(delivery_seconds=1.0)
    ensure_topics(settings)
    part = part_of(settings)
    part.write_batch(ticks(10))
    part.snapshot()
    own.halt()
    last = Outgoing(topic="state", type="commit", value=b"{}", partition=0, after_all=True)

    with pytest.raises(KafkaError, match="10 entries wait"):
        part.write_batch([*ticks(10), last])
    part.close()
    own.go_on()

    assert held(settings, "state") == []


def test_a_topic_that_is_not_there_is_named(kafka):
    settings = kafka.settings()
    part = part_of(settings)
    with pytest.raises(KafkaError, match=rf"expected the topic {settings.prefix}\.log .* none"):
        part.write_batch(ticks(1))
    part.close()


def test_a_partition_that_is_not_there_is_named(kafka):
    settings = kafka.settings()
    ensure_topics(settings)
    part = part_of(settings)
    with pytest.raises(KafkaError, match="more than 2 partitions, found 2"):
        part.write_batch([wire.end("log", 2)])
    part.close()


def test_an_entry_that_is_too_large_is_told(kafka):
    settings = kafka.settings()
    ensure_topics(settings)
    part = part_of(settings)
    with pytest.raises(KafkaError, match=r"larger than the topic takes"):
        part.write_batch([Outgoing(topic="log", type="x", value=b"x" * (17 << 20), partition=0)])
    part.close()


def test_no_broker_at_the_start_is_told_within_seconds(own):
    settings = own.settings()
    own.kill()
    with pytest.raises(KafkaError, match="no broker answered within five seconds"):
        part_of(settings)
