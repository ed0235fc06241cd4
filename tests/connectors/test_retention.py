"""What a live store forgets is still counted."""

from contextlib import closing

from connectors.sinks.retention import forgotten
from connectors.sinks.sqlite import DAY, SqliteSink
from connectors.sinks.store import open_store
from flows.summary import summarise
from operators.messages import SECOND, BarQuality, HoleState, Reason, Tally
from tests.stores import TS, gap, hole, rejection, repaired, stored_bar, switch

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
        switch(),
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
