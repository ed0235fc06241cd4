import sqlite3
from pathlib import Path

import bytewax.operators as op
import pytest
from bytewax.dataflow import Dataflow
from bytewax.testing import TestingSource, run_main
from hypothesis import given
from hypothesis import strategies as st

from connectors.sinks.sqlite import DAY, SqliteSink, rows_of
from connectors.sinks.store import (
    open_store,
    path_of,
    read_bars,
    read_checkpoint,
    read_notices,
    read_portfolios,
    read_signal,
    read_signals,
)
from operators.errors import StoreError
from operators.messages import (
    SECOND,
    Action,
    BarQuality,
    Checkpoint,
    Control,
    Headline,
    Holding,
    HoleState,
    Mood,
    Notice,
    Reason,
    ScoredHeadline,
    Tally,
)
from tests.stores import (
    TS,
    decision,
    gap,
    hole,
    outcome,
    portfolio,
    rejection,
    repaired,
    signal,
    store_messages,
    stored_bar,
    switch,
)

HEADLINE = Headline(
    id="1", source="rss", lang="en", symbols=(), text="Up", published_at=1, available_at=2
)
SCORED = ScoredHeadline(headline=HEADLINE, negative=0.1, positive=0.7, neutral=0.2, model="m@1")


def dump(path: Path) -> list[str]:
    """Everything in the store, as SQL."""
    store = open_store(path, readonly=True)
    lines = [line for line in store.iterdump() if "marks" not in line]
    store.close()
    return lines


EVERYTHING = (
    decision(signal(), signal("ETHUSDT", action=Action.HOLD, reasons=("score", "stale"))),
    stored_bar(),
    outcome(signal()),
    rejection(),
    Notice(after=TS, offset=3, body=SCORED),
    repaired(stored_bar(trades=7, quality=BarQuality.BACKFILLED)),
    gap(5, 9),
    hole(),
    switch(),
    Checkpoint(ts_close=TS, stage="risk", state=b"\x00\xff"),
    Tally(key="ignored", name="depthUpdate", count=7),
)


def test_store_written_through_bytewax_holds_every_message(tmp_path):
    flow = Dataflow("store")
    stream = op.input("in", flow, TestingSource([("0", message) for message in EVERYTHING]))
    op.output("out", stream, SqliteSink(tmp_path / "run.sqlite"))

    run_main(flow)

    store = open_store(tmp_path / "run.sqlite", readonly=True)
    counts = {
        table: store.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
        for table in ("signals", "portfolio", "bars", "outcomes", "rejections", "gaps", "notices",
                      "checkpoints", "tallies", "repaired_bars", "holes", "switches")
    }  # fmt: skip
    store.close()
    assert counts == {**dict.fromkeys(counts, 1), "signals": 2}


def test_message_given_twice_is_one_row(tmp_path):
    once = store_messages(tmp_path / "once.sqlite", *EVERYTHING)
    twice = store_messages(tmp_path / "twice.sqlite", *EVERYTHING)
    store_messages(twice, *reversed(EVERYTHING))

    assert dump(once) == dump(twice)


def test_later_tally_replaces_the_earlier(tmp_path):
    path = store_messages(
        tmp_path / "run.sqlite",
        Tally(key="k", name="n", count=1),
        Tally(key="k", name="n", count=2),
    )

    store = open_store(path, readonly=True)
    assert [tuple(row) for row in store.execute("SELECT * FROM tallies")] == [("k", "n", 2)]
    store.close()


def test_signals_come_back_as_they_were_in_canonical_order(tmp_path):
    later = signal("AAA", ts_close=TS + SECOND)
    first, second = signal("BTCUSDT", approved=False), signal("ETHUSDT", score=-0.0)
    path = store_messages(tmp_path / "run.sqlite", decision(later), decision(second, first))

    store = open_store(path, readonly=True)
    assert list(read_signals(store)) == [first, second, later]
    assert read_signal(store, first.signal_id) == first
    assert read_signal(store, "unknown") is None
    store.close()


def test_bars_come_back_oldest_first(tmp_path):
    bars = [stored_bar(ts_close=TS + n * SECOND, spread=0.01 * n) for n in range(5)]
    quiet = stored_bar(ts_close=TS + 9 * SECOND, quality=BarQuality.QUIET)
    path = store_messages(tmp_path / "run.sqlite", quiet, *bars, stored_bar("ETHUSDT"))

    store = open_store(path, readonly=True)
    assert read_bars(store, "BTCUSDT", until=TS + 3 * SECOND, count=2) == bars[2:4]
    assert read_bars(store, "BTCUSDT", until=TS + 9 * SECOND)[-1] == quiet
    store.close()


def test_notices_come_back_with_their_bodies(tmp_path):
    notices = [
        Notice(after=TS, offset=1, body=SCORED),
        Notice(after=TS, offset=2, body=Mood(source="fear_greed", value=20.0, available_at=1)),
        Notice(
            after=TS + 1, offset=3, body=Control(kind="stop", actor="me", reason="x", ts_event=1)
        ),
    ]
    path = store_messages(tmp_path / "run.sqlite", *notices)

    store = open_store(path, readonly=True)
    assert read_notices(store, before=TS + 1) == notices[:2]
    assert read_notices(store, before=TS + 2) == notices
    store.close()


def test_portfolio_and_checkpoint_come_back(tmp_path):
    held = portfolio(
        holdings=(Holding(symbol="BTCUSDT", quantity=1.5, price=60_000.0),),
        risk={"kupiec": {"95%": {"p_value": None}}},
        var_95=0.01,
    )
    made = decision(holdings=held.holdings, risk=held.risk, var_95=held.var_95)
    checkpoint = Checkpoint(ts_close=TS, stage="risk", state=b"\x00\xff")
    path = store_messages(tmp_path / "run.sqlite", made, checkpoint)

    store = open_store(path, readonly=True)
    assert list(read_portfolios(store)) == [held]
    assert read_checkpoint(store, "risk", before=TS + 1) == (TS, b"\x00\xff")
    assert read_checkpoint(store, "risk", before=TS) is None
    store.close()


@given(payload=st.binary(max_size=40))
def test_any_rejected_payload_is_kept(payload):
    ((_, row),) = rows_of(rejection(payload=payload))
    kept = row[-1]
    assert (kept.encode() if isinstance(kept, str) else kept) == payload


def test_huge_rejected_payload_is_cut():
    ((_, row),) = rows_of(rejection(reason=Reason.TOO_LONG, payload=b"x" * 10_000_000))
    assert len(row[-1]) == 65_536


def test_rejection_may_claim_any_time(tmp_path):
    path = store_messages(tmp_path / "run.sqlite", rejection(1, ts_init=10**30))
    store = open_store(path, readonly=True)
    assert store.execute("SELECT ts_init FROM rejections").fetchone()[0] == 2**63 - 1
    store.close()


def test_live_store_forgets_after_a_day_and_a_replay_never(tmp_path):
    messages = [stored_bar(ts_close=TS), rejection(ts_init=TS), decision(signal())]
    for live, kept in ((True, 0), (False, 1)):
        path = tmp_path / f"{live}.sqlite"
        store_messages(path, *messages, live=live)
        store_messages(path, stored_bar(ts_close=TS + DAY + 1), live=live)

        store = open_store(path, readonly=True)
        for table in ("signals", "rejections", "portfolio"):
            assert store.execute(f"SELECT count(*) FROM {table}").fetchone()[0] == kept
        store.close()


SIMULATED = ("signals", "portfolio", "outcomes", "bars", "repaired_bars")


@pytest.mark.parametrize("simulated", [False, True])
def test_rows_of_results_say_whether_the_market_was_simulated(tmp_path, simulated):
    path = store_messages(tmp_path / "run.sqlite", *EVERYTHING, simulated=simulated)
    store = open_store(path, readonly=True)
    for table in SIMULATED:
        (told,) = store.execute(f"SELECT DISTINCT simulated FROM {table}").fetchone()
        assert told == simulated
    store.close()


def test_bar_and_signal_come_back_the_same_from_a_simulated_run(tmp_path):
    path = store_messages(tmp_path / "run.sqlite", decision(signal()), stored_bar(), simulated=True)
    store = open_store(path, readonly=True)
    assert list(read_signals(store)) == [signal()]
    assert read_bars(store, "BTCUSDT", until=TS) == [stored_bar()]
    store.close()


def test_hole_is_one_row_that_ends_in_its_last_state(tmp_path):
    told = [
        hole(offset=1),
        hole(state=HoleState.ENDED, offset=2, trades=5),
        hole(state=HoleState.FILLED, offset=3, trades=9, note="fetched"),
    ]
    for order in (told, told[::-1], [*told, told[0]]):
        path = store_messages(tmp_path / "run.sqlite", *order)
        store = open_store(path, readonly=True)
        ((state, trades, note, resolved_at),) = store.execute(
            "SELECT state, trades, note, resolved_at FROM holes"
        ).fetchall()
        store.close()
        assert (state, trades, note, resolved_at) == ("filled", 9, "fetched", TS + 5 * SECOND)
        path.unlink()


def test_two_switches_of_one_moment_are_two_rows(tmp_path):
    path = store_messages(
        tmp_path / "run.sqlite", switch(offset=1), switch(before="yahoo", after="sbi", offset=2)
    )
    store = open_store(path, readonly=True)
    rows = store.execute("SELECT before, after FROM switches ORDER BY log_offset").fetchall()
    store.close()
    assert [tuple(row) for row in rows] == [("binance", "yahoo"), ("yahoo", "sbi")]


def test_store_is_in_wal_mode(tmp_path):
    store = open_store(store_messages(tmp_path / "run.sqlite"))
    assert store.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
    assert path_of(store) == tmp_path / "run.sqlite"
    store.close()


def test_reader_sees_commits_while_the_sink_is_open(tmp_path):
    part = SqliteSink(tmp_path / "run.sqlite").build_part("store", "0", None)
    part.write_batch([stored_bar()])
    reader = open_store(tmp_path / "run.sqlite", readonly=True)
    assert len(read_bars(reader, "BTCUSDT", until=TS)) == 1
    part.write_batch([stored_bar(ts_close=TS + SECOND)])
    assert len(read_bars(reader, "BTCUSDT", until=TS + SECOND)) == 2
    reader.close()
    part.close()


def test_full_disk_ends_with_a_clear_sentence_and_keeps_earlier_batches(tmp_path):
    path = tmp_path / "run.sqlite"
    part = SqliteSink(path).build_part("store", "0", None)
    part.write_batch([stored_bar()])
    pages = part.store.execute("PRAGMA page_count").fetchone()[0]
    part.store.execute(f"PRAGMA max_page_count = {pages}")
    flood = [stored_bar(ts_close=TS + n * SECOND) for n in range(1, 1000)]

    with pytest.raises(StoreError, match="the disk is full; make room"):
        part.write_batch(flood)

    part.store.execute(f"PRAGMA max_page_count = {pages + 1000}")
    part.write_batch(flood)
    assert part.store.execute("SELECT count(*) FROM bars").fetchone()[0] == 1000
    part.close()


def test_integer_too_large_for_sqlite_is_one_clear_sentence(tmp_path):
    part = SqliteSink(tmp_path / "run.sqlite").build_part("store", "0", None)

    with pytest.raises(StoreError, match=r"could not be written: .*too large"):
        part.write_batch([Tally(key="k", name="n", count=2**63)])

    part.write_batch([stored_bar()])
    assert part.store.execute("SELECT count(*) FROM bars").fetchone()[0] == 1
    part.close()


def test_store_that_is_none_is_refused(tmp_path):
    text = tmp_path / "notes.txt"
    text.write_text("no database, but long enough to be read as one " * 40)
    foreign = tmp_path / "foreign.sqlite"
    other = sqlite3.connect(foreign)
    other.execute("CREATE TABLE theirs (x)")
    other.close()
    newer = store_messages(tmp_path / "newer.sqlite")
    other = sqlite3.connect(newer)
    other.execute("PRAGMA user_version = 99")
    other.close()
    older = store_messages(tmp_path / "older.sqlite")
    other = sqlite3.connect(older)
    other.execute("PRAGMA user_version = 1")
    other.close()

    for path, found in (
        (text, "no SQLite file"),
        (foreign, "of another program"),
        (newer, "has layout 99"),
        (older, "has layout 1, this engine expects 3: another version made it; name another"),
        (tmp_path, "a folder"),
    ):
        for readonly in (True, False):
            with pytest.raises(StoreError, match=found):
                open_store(path, readonly=readonly)


def test_absent_store_is_not_made_by_reading(tmp_path):
    with pytest.raises(StoreError, match="found nothing; run 'nextgen replay'"):
        open_store(tmp_path / "absent.sqlite", readonly=True)
    assert list(tmp_path.iterdir()) == []


def test_store_in_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot be used as a store"):
        open_store(tmp_path / "file" / "run.sqlite")
