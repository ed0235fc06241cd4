"""Bars have a first form, which was decided on, and later ones; none is lost, none is mixed up."""

import tempfile
from contextlib import closing
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.sinks.sqlite import SqliteSink
from connectors.sinks.store import open_store, read_bars, read_repairs
from operators.messages import SECOND, BarQuality
from tests.stores import TS, repaired, store_messages, stored_bar


def at(n):
    return TS + n * SECOND


def first(n, symbol="BTCUSDT"):
    """The form in which bar `n` closed."""
    return stored_bar(symbol, at(n), trades=0, volume=0.0, quality=BarQuality.GAP)


def later(n, trades, symbol="BTCUSDT"):
    """A later form of bar `n`."""
    return stored_bar(symbol, at(n), trades=trades, quality=BarQuality.BACKFILLED)


def final(store):
    return [
        tuple(row)
        for row in store.execute(
            "SELECT symbol, ts_close, trades, quality, known_at FROM final_bars "
            "ORDER BY symbol, ts_close"
        )
    ]


def test_final_bars_are_the_forms_known_last(tmp_path):
    path = store_messages(
        tmp_path / "run.sqlite",
        *(first(n) for n in range(4)),
        first(1, "ETHUSDT"),
        repaired(later(1, 5), later(2, 6), known_at=at(5)),
        repaired(later(2, 8), known_at=at(7)),
    )
    with closing(open_store(path, readonly=True)) as store:
        assert final(store) == [
            ("BTCUSDT", at(0), 0, "gap", at(0)),
            ("BTCUSDT", at(1), 5, "backfilled", at(5)),
            ("BTCUSDT", at(2), 8, "backfilled", at(7)),
            ("BTCUSDT", at(3), 0, "gap", at(3)),
            ("ETHUSDT", at(1), 0, "gap", at(1)),
        ]
        assert read_bars(store, "BTCUSDT", until=at(9)) == [first(n) for n in range(4)]


def test_bars_are_read_as_they_were_known_at_a_time(tmp_path):
    path = store_messages(
        tmp_path / "run.sqlite",
        *(first(n) for n in range(4)),
        repaired(later(1, 5), later(2, 6), known_at=at(5)),
        repaired(later(2, 8), known_at=at(7)),
    )
    with closing(open_store(path, readonly=True)) as store:

        def trades(known, **fields):
            bars = read_bars(store, "BTCUSDT", until=at(9), known_at=known, **fields)
            return [bar.trades for bar in bars]

        assert trades(at(4)) == [0, 0, 0, 0]
        assert trades(at(5)) == [0, 5, 6, 0]
        assert trades(at(6)) == [0, 5, 6, 0]
        assert trades(at(7)) == [0, 5, 8, 0]
        assert trades(at(7), count=2) == [8, 0]
        assert trades(at(7), count=3, since=at(2)) == [8, 0]


def test_bar_of_a_time_that_had_none_is_known_later(tmp_path):
    """A symbol had no price yet when the Clock came; then its first trades were fetched."""
    path = store_messages(
        tmp_path / "run.sqlite", first(2), repaired(later(0, 1), later(1, 2), known_at=at(3))
    )
    with closing(open_store(path, readonly=True)) as store:
        known = read_bars(store, "BTCUSDT", until=at(2), known_at=at(3))
        assert [bar.trades for bar in known] == [1, 2, 0]
        known = read_bars(store, "BTCUSDT", until=at(2), known_at=at(3), count=2)
        assert [bar.trades for bar in known] == [2, 0]
        assert [bar.trades for bar in read_bars(store, "BTCUSDT", until=at(2), known_at=at(2))] == [
            0
        ]


def test_repairs_come_back_in_the_order_they_became_known(tmp_path):
    told = [
        repaired(later(1, 5), later(2, 6), known_at=at(5)),
        repaired(later(1, 7), known_at=at(7)),
    ]
    path = store_messages(tmp_path / "run.sqlite", *reversed(told))
    with closing(open_store(path, readonly=True)) as store:
        assert read_repairs(store, "BTCUSDT") == told
        assert read_repairs(store, "BTCUSDT", known_after=at(5)) == told[1:]
        assert read_repairs(store, "BTCUSDT", known_until=at(6)) == told[:1]
        assert read_repairs(store, "ETHUSDT") == []


MESSAGES = [
    *(first(n) for n in range(5)),
    repaired(later(0, 1), later(1, 2), known_at=at(3)),
    repaired(later(1, 4), later(2, 5), known_at=at(5)),
    repaired(later(1, 9), known_at=at(8)),
]


def written(path, batches):
    part = SqliteSink(path).build_part("store", "0", None)
    for batch in batches:
        part.write_batch(list(batch))
        part.snapshot()
    part.close()
    with closing(open_store(path, readonly=True)) as store:
        whole = [line for line in store.iterdump() if "marks" not in line]
        return sorted(whole), final(store)


@settings(max_examples=25)
@given(
    order=st.permutations(MESSAGES),
    repeated=st.lists(st.sampled_from(MESSAGES), max_size=6),
    cut=st.integers(0, len(MESSAGES)),
)
def test_any_order_and_any_repetition_gives_the_same_rows(order, repeated, cut):
    with tempfile.TemporaryDirectory() as name:
        whole = written(Path(name) / "whole.sqlite", [MESSAGES])
        mixed = written(Path(name) / "mixed.sqlite", [order[:cut], repeated, order[cut:]])
    assert mixed == whole


@settings(max_examples=15)
@given(killed_after=st.integers(1, len(MESSAGES)), back=st.integers(0, 3))
def test_replay_after_a_crash_changes_nothing(killed_after, back):
    batches = [[message] for message in MESSAGES]
    with tempfile.TemporaryDirectory() as name:
        whole = written(Path(name) / "whole.sqlite", batches)
        crashed = Path(name) / "crashed.sqlite"
        written(crashed, batches[:killed_after])
        again = written(crashed, batches[max(killed_after - back, 0) :])
    assert again == whole
