"""The hot tier on a real server: what it holds."""

import json
import sqlite3
from contextlib import closing
from threading import Thread

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from connectors.sinks.redis_rows import place_of, read_signals
from connectors.sinks.tables import TABLES
from connectors.sinks.writers import RowRefused
from operators.messages import SECOND, Holding, Tally
from tests.hot_tier import SYMBOLS, closes, hot, listening, once_each, rows, stream, writing
from tests.servers.redis import redis_server
from tests.stores import (
    TS,
    decision,
    outcome,
    portfolio,
    rejection,
    repaired,
    signal,
    store_messages,
    stored_bar,
)


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    with redis_server(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def client(shared):
    with shared.client() as made:
        yield made


@pytest.fixture
def writer(shared):
    with writing(shared.port) as made:
        yield made


def test_a_signal_is_an_object_by_column_names_and_comes_back_as_the_row_it_was(writer, client):
    (written,) = rows(signal(reasons=("gap", '"ts_close":1')), simulated=True)

    writer.write([written])

    text = client.get(f"{writer.settings.prefix}:signal:{written[1][0]}")
    assert list(json.loads(text)) == list(TABLES["signals"].names)
    assert json.loads(text)["detail"]["legs"]["policy"]["model"] == "p@1"
    assert [*read_signals(client, writer.settings.prefix)] == [written[1]]


def test_rows_are_those_of_the_warm_store_to_the_last_byte(writer, client, tmp_path):
    signals = [*closes(5), signal("ÅÜ日本", score=5e-324, price=1e22, detail={"日本": "\x00\n"})]
    path = store_messages(tmp_path / "warm.sqlite", *signals)
    writer.write(rows(*signals))

    with closing(sqlite3.connect(path)) as warm:
        kept = {row[0]: row for row in warm.execute("SELECT * FROM signals")}
    found = hot(client, writer)
    assert {key: repr(row) for key, row in found.items()} == {
        key: repr(row) for key, row in kept.items()
    }


def test_rows_written_again_change_nothing_and_are_published_once(writer, client):
    written = rows(*closes(3))

    with listening(client, writer) as heard:
        writer.write(written)
        before = stream(client, writer)
        writer.write(written)
        writer.write(written[5:])

    assert stream(client, writer) == before
    assert once_each(client, writer, written)
    assert [json.loads(text)["signal_id"] for text in heard] == [row[0] for _, row in written]


def test_more_rows_than_one_script_takes_are_written_in_order(writer, client):
    written = rows(*closes(200))

    writer.write(written)

    assert [entry["signal_id"] for _, entry in stream(client, writer)] == [
        row[0] for _, row in written
    ]
    assert once_each(client, writer, written)


def test_places_are_the_same_however_rows_are_cut_into_batches(writer, client, shared):
    written = rows(*closes(3))
    writer.write(list(reversed(written)))

    with writing(shared.port) as other:
        for each in written:
            other.write([each])

        assert stream(client, other) == stream(client, writer)
    assert [place for place, _ in stream(client, writer)] == [
        "{}-{}".format(*place_of(row[1], row[2])) for _, row in written
    ]


def test_a_reader_goes_on_from_its_place_after_the_server_lost_its_data(writer, client):
    written = rows(*closes(1))
    writer.write(written)
    seen = stream(client, writer)[1][0]
    for key in client.scan_iter(f"{writer.settings.prefix}:*"):
        client.delete(key)

    writer.write(written[1:])  # what the store was never told that it has

    left = client.xrange(f"{writer.settings.prefix}:signals", min=f"({seen}")
    assert [entry["signal_id"] for _, entry in left] == [row[0] for _, row in written[2:]]


def test_signals_behind_a_later_one_stand_at_the_end_once(writer, client):
    late = rows(*closes(1, ("BTCUSDT", "AVAXUSDT")))
    written = rows(*closes(2, ("ZECUSDT",)))

    with listening(client, writer) as heard:
        writer.write(written)
        writer.write(late)
        writer.write(late)

    assert [entry["symbol"] for _, entry in stream(client, writer)] == [
        "ZECUSDT", "ZECUSDT", "AVAXUSDT", "BTCUSDT",
    ]  # fmt: skip
    assert once_each(client, writer, written + late)
    assert len(heard) == 4


def test_symbols_that_begin_alike_and_two_signals_of_one_close_are_all_kept(writer, client):
    written = rows(
        *closes(2, ("1000SHIBUSDC", "1000SHIBUSDT")),
        signal("1000SHIBUSDT", signal_id="of another model"),
    )

    for _ in range(2):
        writer.write(written)

    assert once_each(client, writer, written)


def test_the_later_row_of_a_signal_stands(writer, client):
    writer.write(rows(signal(score=0.1), signal(score=0.2)))
    writer.write(rows(signal(score=0.3)))

    (found,) = read_signals(client, writer.settings.prefix)
    assert found[5] == 0.3
    assert len(stream(client, writer)) == 1


def test_a_signal_that_expired_is_not_added_again_where_it_still_stands(writer, client):
    written = rows(*closes(2))
    writer.write(written)
    client.delete(*client.keys(f"{writer.settings.prefix}:signal:*"))

    with listening(client, writer) as heard:
        writer.write(written)

    assert once_each(client, writer, written)
    assert not heard


@settings(
    max_examples=40,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data())
def test_in_any_order_with_any_repeats_each_signal_is_added_once(shared, data):
    written = rows(*closes(4))
    with writing(shared.port) as writer, shared.client() as client:
        given = data.draw(st.permutations(written))
        given += data.draw(st.lists(st.sampled_from(written), max_size=8))
        cuts = sorted(data.draw(st.lists(st.integers(0, len(given)), max_size=6)))
        with listening(client, writer) as heard:
            for start, end in zip([0, *cuts], [*cuts, len(given)], strict=True):
                writer.write(given[start:end])

        assert once_each(client, writer, written)
        assert len(heard) == len(written)


def test_processes_that_write_at_once_add_each_signal_once(shared, client):
    each_has = [rows(*closes(60, SYMBOLS[start:])) for start in range(3)]  # with rows in common
    with writing(shared.port) as writer:

        def write(part):
            with writing(shared.port, prefix=writer.settings.prefix) as beside:
                for at in range(0, len(part), 7):
                    beside.write(part[at : at + 7])

        threads = [Thread(target=write, args=(part,)) for part in each_has]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert once_each(client, writer, each_has[0])


def test_the_newest_state_of_a_symbol_is_never_replaced_by_an_older_one(writer, client):
    old, new = signal(score=0.1), signal(ts_close=TS + SECOND, score=0.2)
    older = rows(old, stored_bar(close=1.0), outcome(old), portfolio(equity=1.0))
    held = (Holding(symbol="BTCUSDT", quantity=1.0, price=2.0),)
    newer = rows(
        new,
        stored_bar(ts_close=TS + SECOND, close=2.0),
        outcome(new),
        portfolio(TS + SECOND, equity=2.0, holdings=held),
    )
    prefix = writer.settings.prefix

    for batch in (older, newer, older, newer + older):
        writer.write(batch)

    found = client.hgetall(f"{prefix}:latest:BTCUSDT")
    latest = {name: json.loads(text) for name, text in found.items()}
    assert set(latest) == {"signal", "bar", "outcome"}
    assert {each["ts_close"] for each in latest.values()} == {TS + SECOND}
    assert (latest["signal"]["score"], latest["bar"]["close"]) == (0.2, 2.0)
    book = json.loads(client.get(f"{prefix}:portfolio:latest"))
    assert (book["equity"], book["holdings"][0]["symbol"]) == (2.0, "BTCUSDT")


def test_a_row_of_the_same_close_takes_the_place_of_the_newest(writer, client):
    for close in (1.0, 2.0):
        writer.write(rows(stored_bar(close=close)))

    bar = json.loads(client.hget(f"{writer.settings.prefix}:latest:BTCUSDT", "bar"))
    assert bar["close"] == 2.0


def test_a_decision_is_written_whole_and_other_tables_are_passed_over(writer, client):
    made = decision(*closes(1))
    others = [rejection(), repaired(stored_bar()), Tally(key="BTCUSDT", name="x", count=1)]

    writer.write(rows(made, *others))

    prefix = writer.settings.prefix
    assert set(client.keys(f"{prefix}:*")) == {
        f"{prefix}:{name}"
        for name in (
            "layout", "signals", "portfolio:latest",
            *(f"signal:{each.signal_id}" for each in made.signals),
            *(f"latest:{symbol}" for symbol in SYMBOLS),
        )
    }  # fmt: skip


# Rows that are none


@pytest.mark.parametrize(
    "spoil",
    [
        lambda row: row[:-1],
        lambda row: (*row, 0),
        lambda row: (*row[:11], "{no JSON", row[12]),
        lambda row: (*row[:11], None, row[12]),
        lambda row: (row[0], "\ud800", *row[2:]),
        lambda row: (None, *row[1:]),
        lambda row: (*row[:2], -1, *row[3:]),
        lambda row: (*row[:2], 2**63, *row[3:]),
        lambda row: (*row[:2], None, *row[3:]),
        lambda row: (*row[:5], object(), *row[6:]),
    ],
)
def test_a_row_that_is_none_is_refused_before_anything_is_written(writer, client, spoil):
    written = rows(*closes(1))
    bad = ("signals", spoil(written[0][1]))

    with pytest.raises(RowRefused, match="redis cannot hold a row of signals: "):
        writer.write([*written, bad])

    assert once_each(client, writer, [])
    writer.write(written)
    assert once_each(client, writer, written)
