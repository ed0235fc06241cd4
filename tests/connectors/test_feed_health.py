"""Feeds' health is written beside the flow, by another thread, and gets in nobody's way."""

import threading
from contextlib import closing

import pytest

from connectors.feeds import FeedHealth
from connectors.sinks.health import read_feed_health, write_feed_health
from connectors.sinks.sqlite import SqliteSink
from connectors.sinks.store import open_store
from operators.errors import StoreError
from operators.messages import SECOND
from tests.stores import TS, stored_bar


def health(feed="binance", state="up", **fields):
    made = FeedHealth(feed, state=state, note=fields.pop("note", ""))
    made.counts.update(fields.pop("counts", {"messages": 7}))
    made.gauges.update(fields.pop("gauges", {"lag_seconds": 0.125}))
    return made


def reports(path):
    with closing(open_store(path, readonly=True)) as store:
        return read_feed_health(store)


def test_last_report_of_each_feed_is_kept(tmp_path):
    path = tmp_path / "run.sqlite"
    write_feed_health(path, [health(), health("yahoo", "quiet", note="closed")], at=TS)
    write_feed_health(path, [health(state="cut", counts={"messages": 9})], at=TS + SECOND)

    binance, yahoo = reports(path)
    assert binance == {
        "feed": "binance", "at": TS + SECOND, "state": "cut", "note": "",
        "counts": {"messages": 9}, "gauges": {"lag_seconds": 0.125},
    }  # fmt: skip
    assert (yahoo["at"], yahoo["state"], yahoo["note"]) == (TS, "quiet", "closed")


def test_older_report_does_not_replace_a_newer_one(tmp_path):
    path = tmp_path / "run.sqlite"
    write_feed_health(path, [health(state="cut")], at=TS + SECOND)
    write_feed_health(path, [health(state="up")], at=TS)
    assert [each["state"] for each in reports(path)] == ["cut"]


def test_gauge_that_is_no_number_is_unknown(tmp_path):
    gauges = {"lag_seconds": float("nan"), "silent_seconds": float("inf"), "weight_used": 3.0}
    write_feed_health(tmp_path / "run.sqlite", [health(gauges=gauges)], at=TS)
    (told,) = reports(tmp_path / "run.sqlite")
    assert told["gauges"] == {"lag_seconds": None, "silent_seconds": None, "weight_used": 3.0}


def test_health_and_sink_write_at_once_from_two_threads(tmp_path):
    path = tmp_path / "run.sqlite"
    part = SqliteSink(path).build_part("store", "0", None)
    failed = []
    done = threading.Event()

    def keep_writing():
        try:
            with closing(open_store(path)) as store:
                for n in range(60):
                    write_feed_health(store, [health(counts={"messages": n})], at=TS + n)
        except StoreError as error:
            failed.append(error)
        finally:
            done.set()

    thread = threading.Thread(target=keep_writing)
    thread.start()
    written = 0
    while not done.is_set() or written < 60:
        part.write_batch([stored_bar(ts_close=TS + written * SECOND)])
        part.snapshot()
        written += 1
    thread.join()
    part.close()

    assert not failed
    with closing(open_store(path, readonly=True)) as store:
        assert store.execute("SELECT count(*) FROM bars").fetchone()[0] == written
    assert [each["counts"] for each in reports(path)] == [{"messages": 59}]


def test_sink_waits_for_a_health_writer_that_holds_the_store(tmp_path):
    path = tmp_path / "run.sqlite"
    part = SqliteSink(path).build_part("store", "0", None)
    held, waiting = threading.Event(), threading.Event()

    def hold():
        with closing(open_store(path)) as store:
            store.execute("BEGIN IMMEDIATE")
            held.set()
            waiting.wait(10)
            store.execute("COMMIT")

    thread = threading.Thread(target=hold)
    thread.start()
    assert held.wait(10)
    threading.Timer(0.05, waiting.set).start()
    part.write_batch([stored_bar()])
    thread.join()
    assert waiting.is_set()
    assert part.store.execute("SELECT count(*) FROM bars").fetchone()[0] == 1
    part.close()


def test_store_that_cannot_be_written_is_one_sentence(tmp_path):
    path = tmp_path / "run.sqlite"
    with closing(open_store(path)) as store:
        store.execute("PRAGMA query_only = ON")
        with pytest.raises(StoreError, match="could not be written"):
            write_feed_health(store, [health()], at=TS)
