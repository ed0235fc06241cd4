"""Two tiers are compared row by row, whatever they are made of."""

import math
from contextlib import closing
from itertools import chain

import pytest

from connectors.sinks.compare import SHOWN, compare, stored_rows
from connectors.sinks.sqlite import rows_of
from connectors.sinks.store import open_store
from connectors.sinks.tables import TABLES
from operators.errors import StoreError
from operators.messages import SECOND, Checkpoint, Tally
from tests.stores import (
    TS,
    decision,
    gap,
    hole,
    outcome,
    rejection,
    repaired,
    signal,
    store_messages,
    stored_bar,
    switch,
)

MESSAGES = (
    stored_bar(),
    stored_bar("ETHUSDT"),
    stored_bar(ts_close=TS + SECOND, spread=None),
    repaired(stored_bar(trades=9)),
    decision(signal(), signal("ETHUSDT")),
    outcome(signal()),
    rejection(1, payload=b"text"),
    rejection(1, payload=b"\xff\x00bytes"),
    rejection(2, payload="\u65e5\u672c\U0001f600".encode()),
    gap(1, 2),
    hole(),
    switch(),
    Checkpoint(ts_close=TS, stage="risk", state=b"\x00state"),
    Tally(key="clocks", name="received", count=3),
)


def tally(key, count=1):
    return (key, "received", count)


def bars(*closes, **fields):
    made = (rows_of(stored_bar(ts_close=ts, **fields)) for ts in closes)
    return [row for _, row in chain.from_iterable(made)]


@pytest.mark.parametrize("table", sorted(TABLES.keys() - {"marks"}))  # that is each store's own
def test_stores_of_the_same_messages_are_the_same_in_any_order_of_writing(tmp_path, table):
    one = store_messages(tmp_path / "one.sqlite", *MESSAGES)
    other = store_messages(tmp_path / "other.sqlite", *reversed(MESSAGES), *MESSAGES)
    with closing(open_store(one)) as first, closing(open_store(other)) as second:
        written = sum(name == table for message in MESSAGES for name, _ in rows_of(message))
        told = compare(stored_rows(first, table), stored_rows(second, table), table)
    assert told.same
    assert told.equal == written


def test_missing_extra_and_different_rows_are_told_apart():
    told = compare(
        [tally("a"), tally("b"), tally("c"), tally("e", 5)],
        [tally("b", 2), tally("c"), tally("d"), tally("e", 6), tally("f")],
        "tallies",
    )
    assert not told.same
    assert (told.equal, told.missing, told.extra, told.different) == (1, 1, 2, 2)
    assert told.missing_keys == [("a", "received")]
    assert told.extra_keys == [("d", "received"), ("f", "received")]
    assert told.different_keys == [("b", "received"), ("e", "received")]
    assert told.columns == {"count": 2}


def test_all_are_counted_and_the_first_few_named():
    told = compare((tally(f"{n:04}") for n in range(1000)), [], "tallies")
    assert told.missing == 1000
    assert told.missing_keys == [(f"{n:04}", "received") for n in range(SHOWN)]


@pytest.mark.parametrize(
    ("value", "other", "same"),
    [
        (0.1 + 0.2, 0.1 + 0.2, True),
        (0.1 + 0.2, 0.3, False),
        (math.nan, math.nan, True),
        (math.nan, None, True),  # which is what SQLite makes of it
        (-0.0, 0.0, True),
        (None, 0.0, False),
        (1, 1.0, False),  # a column's type has changed on the way
        ('{"a":1}', '{"a": 1}', False),  # JSON is compared by its bytes
        ("x", b"x", False),
    ],
)
def test_values_are_equal_by_type_and_value(value, other, same):
    assert compare([tally("a", value)], [tally("a", other)], "tallies").same is same


def test_only_the_time_asked_for_counts():
    first, second = bars(TS, TS + 1, TS + 2, TS + 3), bars(TS + 1, TS + 2, TS + 9)
    told = compare(first, second, "bars", since=TS + 1, until=TS + 3)
    assert told.same
    assert told.equal == 2
    assert not compare(first, second, "bars", since=TS + 1).same


def test_a_warm_store_gives_the_time_asked_for(tmp_path):
    path = store_messages(
        tmp_path / "run.sqlite",
        hole("OPEN"),  # has no end yet, and always counts
        *(hole(f"S{n}", state="filled", ts_to=TS + n) for n in range(5)),
    )
    with closing(open_store(path)) as store:
        found = list(stored_rows(store, "holes", since=TS + 1, until=TS + 3))
    assert [row[1] for row in found] == ["OPEN", "S1", "S2"]


@pytest.mark.parametrize("rows", [[tally("b"), tally("a")], [tally("a"), tally("a", 2)]])
def test_rows_out_of_order_are_refused(rows):
    with pytest.raises(StoreError, match="in order of key, name in the second store, found"):
        compare([], rows, "tallies")
