"""What a live store forgets is still counted."""

from contextlib import closing

import pytest

from connectors.alerts.records import acknowledge
from connectors.sinks.retention import forget, forgotten
from connectors.sinks.sqlite import DAY, SqliteSink
from connectors.sinks.store import open_store, transaction
from connectors.sinks.tables import TABLES
from flows.ledger import lost_share
from flows.summary import summarise
from operators.messages import SECOND, BarQuality, HoleState, Reason, Tally
from tests.stores import (
    TS,
    alert,
    gap,
    hole,
    rejection,
    repaired,
    store_messages,
    stored_bar,
    switch,
)

LATER = TS + DAY + 60 * SECOND


def kept(path, *batches):
    part = SqliteSink(path, live=True).build_part("store", "0", None)
    for batch in batches:
        part.write_batch(batch)
    part.close()
    return open_store(path, readonly=True)


def test_rows_past_their_time_are_dropped_and_counted(tmp_path):
    batch = [
        stored_bar(trades=2, quotes=3),
        stored_bar(ts_close=TS + SECOND, trades=0, quotes=0, quality=BarQuality.GAP),
        repaired(stored_bar(ts_close=TS + SECOND, trades=7, quotes=0)),
        rejection(1, Reason.DUPLICATE),
        rejection(2, Reason.UNKNOWN_SYMBOL),
        gap(10, 19, filled=4),
        hole(state=HoleState.FILLED),
        hole("ETHUSDT"),  # open still
        switch("ETHUSDT"),
    ]
    with closing(kept(tmp_path / "run.sqlite", batch, [stored_bar(ts_close=LATER)])) as store:
        assert forgotten(store) == {
            "trades": 9, "quotes": 3, "rejections": 1, "missing_trades": 6,
        }  # fmt: skip
        for table, left in (("bars", 1), ("repaired_bars", 0), ("gaps", 0), ("switches", 0)):
            assert store.execute(f"SELECT count(*) FROM {table}").fetchone()[0] == left
        assert [row["symbol"] for row in store.execute("SELECT * FROM holes")] == ["ETHUSDT"]


def test_accounting_closes_over_what_was_forgotten(tmp_path):
    batch = [stored_bar(trades=2, quotes=3), rejection(1, Reason.DUPLICATE), gap(10, 19)]
    last = [
        stored_bar(ts_close=LATER, trades=4, quotes=1),
        Tally(key="clocks", name="received", count=11),
    ]
    with closing(kept(tmp_path / "run.sqlite", batch, last)) as store:
        made = summarise(store)
    assert made["ticks_in"] == 5
    assert made["forgotten"] == 6
    assert made["unaccounted"] == 0
    assert (made["data_loss"]["used"], made["data_loss"]["missing"]) == (6, 10)


def test_replay_forgets_nothing(tmp_path):
    part = SqliteSink(tmp_path / "run.sqlite").build_part("store", "0", None)
    part.write_batch([stored_bar()])
    part.write_batch([stored_bar(ts_close=LATER)])
    part.close()
    with closing(open_store(tmp_path / "run.sqlite", readonly=True)) as store:
        assert forgotten(store) == {}
        assert store.execute("SELECT count(*) FROM bars").fetchone()[0] == 2


# Yahoo stood in from the first to the third second; Binance's ids went on meanwhile.
AWAY = (switch(), switch(before="yahoo", after="binance", ts_event=TS + 2 * SECOND))
ACROSS = {"ts_from": TS - SECOND, "ts_to": TS + 3 * SECOND}


@pytest.mark.parametrize(
    ("messages", "missing"),
    [
        ((*AWAY, gap(10, 19, **ACROSS)), 0),
        ((*AWAY, gap(10, 19, venue="binance/aggregate", **ACROSS)), 0),
        ((*AWAY, gap(10, 19, ts_from=TS - 2 * SECOND, ts_to=TS - SECOND)), 10),  # before it
        ((*AWAY, gap(10, 19, symbol="ETHUSDT", **ACROSS)), 10),
        # Beside it trades were lost that Yahoo did not stand in for, as far as anyone knows.
        ((*AWAY, gap(10, 19, **ACROSS), hole(state=HoleState.UNFILLED)), 10),
        ((*AWAY, gap(10, 19, **ACROSS), hole(state=HoleState.FILLED)), 0),
        ((*AWAY, gap(10, 19, filled=10, **ACROSS)), 0),
        ((gap(10, 19, **ACROSS),), 10),
    ],
)
@pytest.mark.parametrize("step", [SECOND // 2, SECOND, DAY])
def test_what_is_missing_is_the_same_before_and_after_it_is_forgotten(
    tmp_path, messages, missing, step
):
    path = store_messages(tmp_path / "run.sqlite", *messages)
    with closing(open_store(path)) as store:
        assert lost_share(store)[0].missing == missing
        # In steps that part a gap from what tells that it is covered.
        for before in range(TS - 2 * SECOND, TS + 5 * SECOND, step) if step < DAY else [TS + DAY]:
            with transaction(store):
                forget(store, before)
            assert lost_share(store)[0].missing == missing
        assert store.execute("SELECT count(*) FROM gaps").fetchone()[0] == 0
        assert forgotten(store).get("missing_trades", 0) == missing
        with transaction(store):
            forget(store, TS + DAY)
        for table in ("switches", "holes"):
            assert store.execute(f"SELECT count(*) FROM {table}").fetchone()[0] == 0


def test_rows_that_the_cold_store_may_lack_are_kept_however_old(tmp_path):
    closes = [TS + n * SECOND for n in range(5)]
    bars = [stored_bar(ts_close=ts, trades=1, quotes=0) for ts in closes]
    path = store_messages(tmp_path / "run.sqlite", *bars)
    with closing(open_store(path)) as store:
        for proven, left in ((0, 5), (closes[2], 3), (closes[1], 3), (LATER, 1), (None, 0)):
            with transaction(store):
                forget(store, LATER if proven is None else closes[4], proven)
            kept_closes = [ts for (ts,) in store.execute("SELECT ts_close FROM bars")]
            assert kept_closes == closes[5 - left :]
            assert forgotten(store).get("trades", 0) == 5 - left


def left(store, table):
    return store.execute(f"SELECT count(*) FROM {table}").fetchone()[0]


def test_what_people_did_about_an_alert_is_kept_as_long_as_the_alert(tmp_path):
    begin, again = alert(), alert(ts_event=TS + DAY, since=TS)
    path = store_messages(tmp_path / "run.sqlite", begin, again)
    with closing(open_store(path)) as store:
        acknowledge(store, begin.fingerprint, actor="ann", at=TS)
        # By a clock that is behind the stream's.
        names = [f"{each.fingerprint}:{each.ts_event}:{each.state}" for each in (begin, again)]
        store.executemany(
            TABLES["routed_alerts"].upsert, [(name, "mail", "x", TS) for name in names]
        )
        for before, of_alerts in ((TS + SECOND, 1), (TS + DAY + SECOND, 0)):
            with transaction(store):
                forget(store, before)
            assert left(store, "alerts") == of_alerts
            assert left(store, "acknowledgements") == of_alerts
            rows = store.execute("SELECT event_id FROM routed_alerts").fetchall()
            assert [row[0] for row in rows] == names[1:][:of_alerts]


def test_a_message_on_its_way_is_kept_until_it_is_taken(tmp_path):
    path = store_messages(tmp_path / "run.sqlite")
    with closing(open_store(path)) as store:
        for state in ("pending", "delivered", "failed"):
            row = (state, "mail", "critical", TS, "a", "b", 1, state, 0, None, "")
            store.execute(TABLES["deliveries"].upsert, row)
        with transaction(store):
            forget(store, TS + DAY)
        rows = store.execute("SELECT state FROM deliveries").fetchall()
        assert [row["state"] for row in rows] == ["pending"]
