import pytest

from connectors.kafka.admin import ensure_topics
from connectors.kafka.faults import KafkaError
from connectors.kafka.metrics import KafkaCollector
from connectors.kafka.reader import KafkaRowReader
from connectors.kafka.records import outgoing_of
from connectors.kafka.wire import Outgoing
from connectors.sinks.drain import Drain
from connectors.sinks.refused_rows import RefusedRows
from connectors.sinks.sqlite import rows_of
from connectors.sinks.sqlite_writer import SqliteWriter
from connectors.sinks.store import open_store
from connectors.sinks.tables import TABLES
from operators.messages import Reason, Rejection, Tally
from tests.kafka_logs import send, until
from tests.servers.kafka import Broker, broker
from tests.support import bar


@pytest.fixture(scope="session")
def kafka():
    with broker() as started:
        yield started


@pytest.fixture
def own(tmp_path):
    """Return a broker that a test may ruin."""
    with Broker(tmp_path) as started:
        yield started


def made(broker, rows=()):
    settings = broker.settings()
    ensure_topics(settings)
    if rows:
        send(settings, [outgoing_of(*row) for row in rows])
    return settings


def bars(count, first=0, symbol="BTCUSDT"):
    messages = [bar(symbol=symbol, ts_close=n) for n in range(first, count)]
    return [pair for message in messages for pair in rows_of(message)]


def tallies(count):
    return [pair for n in range(count) for pair in rows_of(Tally(key="a", name="n", count=n))]


def take(reader, count, *, ack=True):
    """Read until `count` rows have come."""
    rows = []

    def enough():
        for entry in reader.read(1000):
            rows.extend(entry.rows)
            if ack:
                reader.ack(entry.position)
        return len(rows) >= count

    until(enough)
    return rows


def plain(rows):
    """Return rows without the enumerations that they were made of."""
    return [(table, tuple(str(v) if isinstance(v, str) else v for v in row)) for table, row in rows]


def test_rows_of_all_topics_come_as_they_were_sent_in_the_order_of_their_key(kafka):
    rejection = Rejection(reason=Reason.LATE, payload=b"\xff", ts_init=1, offset=2)
    rows = [*bars(50), *bars(50, symbol="ETHUSDT"), *rows_of(rejection), *tallies(20)]
    settings = made(kafka, rows)
    reader = KafkaRowReader(settings, group="archive")

    found = take(reader, len(rows))

    assert sorted(found, key=repr) == sorted(plain(rows), key=repr)
    for symbol in ("BTCUSDT", "ETHUSDT"):
        closes = [row[2] for table, row in found if table == "bars" and row[0] == symbol]
        assert closes == sorted(closes)
    assert [row[2] for table, row in found if table == "tallies"] == list(range(20))
    assert reader.read(1000) == []
    assert reader.lag() == 0
    reader.close()


def test_no_more_rows_come_at_once_than_asked_for(kafka):
    reader = KafkaRowReader(made(kafka, bars(100)), group="archive")
    entries = []
    until(lambda: entries.extend(reader.read(7)) or sum(len(e.rows) for e in entries) >= 100)
    assert max(len(entry.rows) for entry in entries) <= 7
    reader.close()


def test_a_reader_goes_on_behind_what_it_acknowledged(kafka):
    settings = made(kafka, bars(100))
    first = KafkaRowReader(settings, group="archive")
    entries = []
    until(lambda: entries.extend(first.read(10)) or sum(len(e.rows) for e in entries) >= 60)
    acknowledged = entries[len(entries) // 2]
    first.ack(acknowledged.position)
    first.close()  # as a crash does: it commits nothing
    stored = [row for entry in entries[: len(entries) // 2 + 1] for row in entry.rows]

    second = KafkaRowReader(settings, group="archive")
    rest = take(second, 100 - len(stored))
    second.close()

    assert plain([*stored, *rest]) == plain(bars(100))


def test_groups_do_not_disturb_one_another(kafka):
    settings = made(kafka, bars(10))
    for group in ("postgresql", "influxdb"):
        reader = KafkaRowReader(settings, group=group)
        assert len(take(reader, 10)) == 10
        reader.close()


def test_what_holds_no_row_is_counted_and_kept_as_a_rejection(kafka):
    settings = made(kafka)
    bad = Outgoing(topic="records", type="bars", value=b'{"symbol":1}', key=b"k")
    send(settings, [bad, *[outgoing_of(*row) for row in tallies(2)]])
    reader = KafkaRowReader(settings, group="archive")

    found = take(reader, 3)

    assert reader.refused == 1
    [row] = [row for table, row in found if table == "rejections"]
    assert row[:2] == (0, "bad_type")
    assert row[4] == '{"symbol":1}'
    families = {family.name: family for family in KafkaCollector(readers=[reader]).collect()}
    [sample] = families["nextgen_kafka_refused_entries"].samples
    assert (sample.labels, sample.value) == ({"client": "reader archive"}, 1)
    reader.close()


def test_a_drain_fills_a_store_from_kafka(kafka, tmp_path):
    rows = [*bars(3000), *tallies(50)]
    settings = made(kafka, rows)
    reader = KafkaRowReader(settings, group="archive")
    path = tmp_path / "archive.sqlite"
    drain = Drain(reader, SqliteWriter(path), RefusedRows(tmp_path / "refused.jsonl"))
    drain.start()
    until(lambda: drain.health.counts["written"] >= len(rows))
    drain.stop()
    reader.close()

    store = open_store(path, readonly=True)
    names = ", ".join(TABLES["bars"].names)
    found = store.execute(f"SELECT {names} FROM bars ORDER BY ts_close").fetchall()
    assert [("bars", tuple(row)) for row in found] == plain(bars(3000))
    assert tuple(store.execute("SELECT * FROM tallies").fetchone()) == ("a", "n", 49)
    store.close()


def test_a_halted_broker_is_waited_for(own):
    settings = made(own, bars(10))
    reader = KafkaRowReader(settings, group="archive")
    assert len(take(reader, 10)) == 10
    own.halt()
    assert reader.read(1000) == []
    own.go_on()
    send(settings, [outgoing_of(*row) for row in bars(20, first=10)])
    assert plain(take(reader, 10)) == plain(bars(20, first=10))
    reader.close()


def test_offsets_that_cannot_be_committed_wait_and_hold_up_nothing(own):
    settings = made(own, bars(10))
    reader = KafkaRowReader(settings, group="archive")
    entries = []
    until(lambda: entries.extend(reader.read(5)) or sum(len(e.rows) for e in entries) == 10)
    own.halt()
    reader.ack(entries[0].position)
    reader.ack(entries[-1].position)
    assert reader.read(10) == []
    own.go_on()
    reader.close()

    again = KafkaRowReader(settings, group="archive")
    send(settings, [outgoing_of(*row) for row in bars(11, first=10)])
    assert plain(take(again, 1)) == plain(bars(11, first=10))
    again.close()


def test_a_reader_whose_broker_is_gone_can_be_closed(own):
    settings = made(own, bars(10))
    reader = KafkaRowReader(settings, group="archive")
    entries = []
    until(lambda: entries.extend(reader.read(10)) or sum(len(e.rows) for e in entries) == 10)
    own.kill()
    reader.ack(entries[-1].position)
    reader.close()


def test_a_broker_that_came_back_empty_is_read_from_its_beginning(own):
    settings = made(own, bars(30))
    reader = KafkaRowReader(settings, group="archive")
    take(reader, 30)
    own.kill()
    own.start()
    ensure_topics(settings)
    send(settings, [outgoing_of(*row) for row in bars(10, symbol="NEW")])

    assert plain(take(reader, 10)) == plain(bars(10, symbol="NEW"))
    reader.close()


def test_topics_that_are_missing_are_told_and_looked_for_again(kafka):
    settings = kafka.settings()
    reader = KafkaRowReader(settings, group="archive")
    with pytest.raises(KafkaError, match=r"expected the topic t\d+\.signals"):
        reader.read(10)
    ensure_topics(settings)
    assert reader.read(10) == []
    reader.close()
