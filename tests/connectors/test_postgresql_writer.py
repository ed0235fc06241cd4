"""The cold store against a real PostgreSQL: what is written comes back, once, by its identity."""

import contextlib
import threading

import pytest
from msgspec.structs import replace as changed

from connectors.sinks.postgresql_connection import connect
from connectors.sinks.postgresql_layout import LAYOUTS
from connectors.sinks.postgresql_partitions import DAY
from connectors.sinks.postgresql_reader import read_rows
from connectors.sinks.postgresql_writer import PostgresqlWriter
from connectors.sinks.sqlite import rows_of
from connectors.sinks.tables import TABLES
from connectors.sinks.writers import RowRefused
from operators.messages import (
    SECOND,
    Checkpoint,
    HoleState,
    Mood,
    Notice,
    Reason,
    Tally,
)
from tests.servers.postgresql import PostgresqlServer, password
from tests.stores import (
    TS,
    alert,
    gap,
    hole,
    outcome,
    portfolio,
    rejection,
    repaired,
    signal,
    stored_bar,
    switch,
)

CLOSED = TS + 2 * SECOND


@pytest.fixture(scope="session")
def server():
    with PostgresqlServer() as started:
        yield started


@pytest.fixture
def settings(server):
    return server.migrated()


@pytest.fixture
def writer(settings):
    with contextlib.closing(PostgresqlWriter(settings, password())) as made:
        yield made


def rows(*messages):
    return [row for message in messages for row in rows_of(message)]


def stored(settings, table, **bounds):
    with contextlib.closing(connect(settings, password())) as connection:
        return list(read_rows(connection, table, **bounds))


def partitions(server, settings, table):
    found = server.sql(
        f"SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = '{table}'::regclass",
        settings.database,
    )
    return sorted(name for (name,) in found)


def one_of_each():
    """At least one row of each table, in the order of their keys."""
    bar = stored_bar(open=0.1 + 0.2, spread=None, volume=5e-324, vwap=1e308)
    return rows(
        signal("BTCUSDT", detail={"z": 1, "a": [0.1, 1e-7], "名": "\x00 \U0001f600"}),
        signal("ETHUSDT", reasons=("b", "a")),
        portfolio(),
        outcome(signal("BTCUSDT")),
        outcome(signal("ETHUSDT"), hit=None),
        bar,
        stored_bar("a"),  # after all capitals, as bytes are
        repaired(bar),
        rejection(1, payload=b"{"),
        rejection(1, payload=b"{} "),
        rejection(1, payload="注文\U0001f600".encode() * 9_000),  # more than an index takes
        rejection(1, payload=b"\x00a"),
        rejection(1, payload=b"\xff\xfe"),
        rejection(2, Reason.UNKNOWN_SYMBOL, symbol="??", ts_init=2**63 - 1),
        gap(7, 9),
        hole("BTCUSDT", offset=9),
        hole("ETHUSDT", HoleState.FILLED),
        switch(),
        Notice(after=TS, offset=5, body=Mood(source="alternative.me", value=0.3, available_at=TS)),
        Checkpoint(ts_close=TS, stage="risk", state=bytes(range(256))),
        Tally(key="all", name="bars", count=3),
        alert(facts={"z": 0.1, "a": None, "名": "\U0001f600"}),
        alert(state="resolved", since=TS, ts_event=TS + SECOND),
    )


def test_every_row_comes_back_to_the_last_bit(writer, settings):
    written = one_of_each()
    assert {table for table, _ in written} == set(LAYOUTS)

    writer.write(written)

    for table in LAYOUTS:
        expected = [row for of_table, row in written if of_table == table]
        assert stored(settings, table) == expected


def test_rows_written_again_change_nothing(writer, settings):
    written = one_of_each()
    writer.write(written)
    before = {table: stored(settings, table) for table in LAYOUTS}

    writer.write(written)
    writer.write(written[3:])

    assert {table: stored(settings, table) for table in LAYOUTS} == before


def test_the_later_row_of_a_key_stands(writer, settings):
    first, second, third = (rows(Tally(key="all", name="bars", count=n)) for n in (1, 2, 3))

    writer.write([*first, *second])
    assert stored(settings, "tallies") == [("all", "bars", 2)]

    writer.write(third)
    assert stored(settings, "tallies") == [("all", "bars", 3)]


def test_an_earlier_state_of_a_hole_never_replaces_a_later_one(writer, settings):
    opened, filled = hole(offset=4), hole(state=HoleState.FILLED, offset=9)

    writer.write(rows(filled, opened))
    assert stored(settings, "holes") == [row for _, row in rows(filled)]

    writer.write(rows(opened))
    assert stored(settings, "holes") == [row for _, row in rows(filled)]

    corrected = hole(state=HoleState.UNFILLED, offset=9)
    writer.write(rows(corrected))
    assert stored(settings, "holes") == [row for _, row in rows(corrected)]


def test_days_are_made_as_rows_need_them(server, writer, settings):
    writer.write(rows(*(stored_bar(ts_close=TS + day * DAY) for day in (0, 1, 3))))
    writer.write(rows(stored_bar(ts_close=TS + 2 * DAY)))

    assert partitions(server, settings, "bars") == [
        "bars_20240809",
        "bars_20240810",
        "bars_20240811",
        "bars_20240812",
    ]
    midnight = TS - TS % DAY
    at_the_edges = rows(*(stored_bar("EDGE", midnight + DAY * n) for n in (0, 1)))
    writer.write(at_the_edges)
    assert [row for row in stored(settings, "bars") if row[0] == "EDGE"] == [
        row for _, row in at_the_edges
    ]


@pytest.mark.parametrize("time", [0, -1, 2**63 - 1, -(2**63) + 1])
def test_any_time_of_64_bits_has_a_day(writer, settings, time):
    written = rows(stored_bar(ts_close=time))

    writer.write(written)

    assert stored(settings, "bars") == [row for _, row in written]


def test_rows_are_read_by_time(writer, settings):
    bars = [stored_bar(ts_close=TS + n * SECOND) for n in range(4)]
    writer.write(rows(*bars, hole(), hole("ETHUSDT", HoleState.FILLED)))

    found = stored(settings, "bars", since=TS + SECOND, until=TS + 3 * SECOND)

    assert found == [row for _, row in rows(*bars[1:3])]
    # An open hole has no end yet: it may lie in any time.
    assert [row[1] for row in stored(settings, "holes", since=CLOSED + 1)] == ["BTCUSDT"]
    assert len(stored(settings, "holes", until=CLOSED + 1)) == 2


def test_what_is_older_than_kept_is_dropped_by_day(server, settings):
    writer = PostgresqlWriter(changed(settings, keep_days=2), password())
    old, kept = TS, TS + DAY
    with contextlib.closing(writer):
        writer.write(
            rows(
                *(stored_bar(ts_close=time) for time in (old, kept)),
                hole(),
                hole("ETHUSDT", HoleState.FILLED),
                gap(1, 2),
                Tally(key="all", name="bars", count=2),
            )
        )

        writer.tidy(old + 3 * DAY)

        assert partitions(server, settings, "bars") == ["bars_20240810"]
        assert [row[2] for row in stored(settings, "bars")] == [kept]
        assert [row[1] for row in stored(settings, "holes")] == ["BTCUSDT"]  # it is still open
        assert stored(settings, "gaps") == []
        assert len(stored(settings, "tallies")) == 1
        # A late row of that day makes it again, and goes with the next tidy.
        writer.write(rows(stored_bar(ts_close=old)))
        assert len(stored(settings, "bars")) == 2
        writer.tidy(old + 3 * DAY)
        assert len(stored(settings, "bars")) == 1


def test_a_year_is_kept(server, writer, settings):
    writer.write(rows(stored_bar()))
    writer.tidy(TS + 365 * DAY)
    assert len(stored(settings, "bars")) == 1

    writer.tidy(TS + 366 * DAY + DAY)
    assert stored(settings, "bars") == []


def test_a_day_that_is_being_read_is_dropped_another_time(server, settings):
    writer = PostgresqlWriter(changed(settings, keep_days=1), password())
    with contextlib.closing(writer):
        writer.write(rows(stored_bar()))
        with server.connect(settings.database) as reader, reader.transaction():
            reader.execute("SELECT count(*) FROM bars")
            writer.tidy(TS + 3 * DAY)
            writer.write(rows(stored_bar(ts_close=TS + 3 * DAY)))  # nobody is held up
            assert len(stored(settings, "bars")) == 2

        writer.tidy(TS + 3 * DAY)
        assert len(stored(settings, "bars")) == 1


def test_a_day_that_another_writer_dropped_is_made_again(server, writer, settings):
    writer.write(rows(stored_bar()))
    server.sql("DROP TABLE bars_20240809", settings.database)

    writer.write(rows(stored_bar("ETHUSDT")))

    assert [row[0] for row in stored(settings, "bars")] == ["ETHUSDT"]


def test_writers_beside_one_another_make_the_same_days_and_rows(settings):
    def batches(n):
        times = [TS + (at * 7 + n) % 20 * DAY // 4 for at in range(20)]
        return [rows(stored_bar("A", t), stored_bar("B", t), portfolio(t)) for t in times]

    failed = []

    def work(n):
        with contextlib.closing(PostgresqlWriter(settings, password())) as writer:
            try:
                for batch in batches(n):
                    writer.write(batch)
            except Exception as error:  # noqa: BLE001 - shown below
                failed.append(error)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert failed == []
    expected = {(row[0], row[2]) for batch in batches(0) for table, row in batch if table == "bars"}
    assert {(row[0], row[2]) for row in stored(settings, "bars")} == expected
    assert len(stored(settings, "portfolio")) == 20


BAD = ("\0", "\ud800", "text", 1.5, 7, 2**64, -(2**64), True, b"\xff", None, [1], {}, object())


@pytest.mark.parametrize("table", LAYOUTS)
def test_a_value_of_the_wrong_kind_is_refused_and_nothing_else(writer, settings, table):
    """Whatever stands in any column: the row is taken or refused, and the next one is written."""
    good = next(row for of_table, row in one_of_each() if of_table == table)
    refused = 0
    for at in range(len(good)):
        for value in BAD:
            try:
                writer.write([(table, (*good[:at], value, *good[at + 1 :]))])
            except RowRefused:
                refused += 1
    assert refused > 4 * len(good)

    writer.write([(table, good)])

    assert good in stored(settings, table)


def test_a_refused_row_leaves_nothing_of_its_batch(writer, settings):
    batch = [*rows(stored_bar(), portfolio()), ("tallies", ("all\0", "bars", 1))]

    with pytest.raises(RowRefused, match="0x00"):
        writer.write(batch)
    assert stored(settings, "bars") == stored(settings, "portfolio") == []

    writer.write(batch[:-1])
    assert len(stored(settings, "bars")) == 1


def test_json_that_is_none_is_refused(writer):
    ((table, row),) = rows(signal())
    at = TABLES["signals"].names.index("detail")

    with pytest.raises(RowRefused, match="json"):
        writer.write([(table, (*row[:at], "{'a'", *row[at + 1 :]))])


@pytest.mark.parametrize(
    "bad", [("feeds", (1,)), ("no_such_table", ()), ("tallies", ("all", "bars"))]
)
def test_what_is_no_row_of_a_table_is_refused(writer, bad):
    with pytest.raises(RowRefused):
        writer.write([bad])


def test_a_commit_is_on_disk_whatever_the_server_is_set_to(server, settings):
    server.sql(f"ALTER DATABASE {settings.database} SET synchronous_commit = off")
    with contextlib.closing(connect(settings, password())) as connection:
        assert connection.execute("SHOW synchronous_commit").fetchone() == ("on",)

    # What is stronger than that stays.
    server.sql(f"ALTER DATABASE {settings.database} SET synchronous_commit = remote_apply")
    with contextlib.closing(connect(settings, password())) as connection:
        assert connection.execute("SHOW synchronous_commit").fetchone() == ("remote_apply",)


def test_numbers_can_be_asked_for_inside_json(server, writer, settings):
    writer.write(rows(signal()))

    asked = "SELECT detail->'legs'->'forecast'->>'value' FROM signals"
    assert server.sql(asked, settings.database) == [("0.5",)]


def test_an_empty_batch_needs_no_server(settings):
    PostgresqlWriter(changed(settings, port=1), password()).write([])
