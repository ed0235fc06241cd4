"""A drain delivers every row in order, whatever its store does meanwhile."""

import json
import sqlite3
import subprocess
import sys
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from threading import Event

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from structlog.testing import capture_logs

from connectors.sinks import store as store_module
from connectors.sinks.drain import Drain, DrainSettings, finish_drains, stop_drains
from connectors.sinks.outbox_reader import OutboxReader
from connectors.sinks.refused_rows import RefusedRows
from connectors.sinks.sqlite import MINUTE, rows_of
from connectors.sinks.sqlite_writer import SqliteWriter
from connectors.sinks.store_metrics import StoreCollector
from connectors.sinks.tables import VERSION
from connectors.sinks.writers import StoreDown
from operators.messages import Tally
from tests.outboxes import bars, stored, until, written
from tests.stores import TS, decision, rejection, signal, store_messages

ROOT = Path(__file__).parents[2]
QUICK = DrainSettings(idle_seconds=0.002, most_rest=0.01, refused_rest=0.01)


@pytest.fixture
def outbox(tmp_path):
    opened = written(tmp_path / "outbox", segment_bytes=20_000)
    yield opened
    opened.close()


@contextmanager
def draining(outbox, writer, settings=QUICK):
    """A drain that runs, and is stopped."""
    drain = Drain(OutboxReader(outbox, "sqlite"), writer, outbox.refused, settings)
    drain.start()
    try:
        yield drain
    finally:
        drain.stop(30)


class Watched(SqliteWriter):
    """A SQLite writer that notes what it is asked for, and fails as told."""

    def __init__(self, path, *failures):
        super().__init__(path)
        self.batches = []
        self.tidied = []
        self.failures = list(failures)  # one for each write, None for success

    def write(self, rows):
        self.batches.append(list(rows))
        failure = self.failures.pop(0) if self.failures else None
        if failure is not None:
            raise failure
        super().write(rows)

    def tidy(self, now):
        self.tidied.append(now)


def delivered(outbox):
    return lambda: outbox.backlog("sqlite").rows == 0


def test_store_ends_as_that_of_the_sink(outbox, tmp_path):
    messages = [
        decision(signal(), signal("ETHUSDT")),
        *(Tally(key="k", name="n", count=n) for n in range(5)),
        rejection(payload=b"\xff"),
    ]
    sunk = store_messages(tmp_path / "sunk.sqlite", *messages)
    for message in messages:
        outbox.put(list(rows_of(message)))
    path = tmp_path / "store.sqlite"

    with draining(outbox, SqliteWriter(path)):
        until(delivered(outbox))

    for table in ("signals", "portfolio", "tallies", "rejections"):
        assert stored(path, table) == stored(sunk, table)


def test_rows_come_in_order_while_the_flow_writes(outbox, tmp_path):
    writer = Watched(tmp_path / "store.sqlite")
    with draining(outbox, writer):
        for n in range(100):
            outbox.put(bars(n * 5, 5))
        until(delivered(outbox))

    assert [row for batch in writer.batches for row in batch] == bars(0, 500)


def test_batches_are_bounded_by_rows_and_bytes(outbox, tmp_path):
    for n in range(40):
        outbox.put([("tallies", (f"{n}-{i}", "x" * 100, i)) for i in range(10)])
    by_rows, by_bytes = Watched(tmp_path / "a.sqlite"), Watched(tmp_path / "b.sqlite")

    with draining(outbox, by_rows, DrainSettings(batch_rows=50)):
        until(delivered(outbox))
    drain = Drain(
        OutboxReader(written(tmp_path / "o", *by_rows.batches), "sqlite"),
        by_bytes,
        outbox.refused,
        DrainSettings(batch_bytes=7000),
    )
    drain.start()
    until(lambda: len(by_bytes.batches) == 8)
    drain.stop(30)
    drain.reader.outbox.close()

    assert {len(batch) for batch in by_rows.batches} == {50}
    assert {len(batch) for batch in by_bytes.batches} == {50}  # 5,500 bytes; two are too many


def test_locked_store_falls_behind_and_catches_up(outbox, tmp_path, monkeypatch):
    monkeypatch.setattr(store_module, "BUSY_MS", 10)
    path = store_messages(tmp_path / "store.sqlite")
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")

    with capture_logs() as logs, draining(outbox, SqliteWriter(path)) as drain:
        for n in range(10):
            outbox.put(bars(n, 1))
        until(lambda: drain.health.counts["retried"] >= 3)
        assert drain.health.state == "down"
        assert "another process is writing to it" in drain.health.note
        assert outbox.backlog("sqlite").rows == 10
        other.execute("ROLLBACK")
        other.close()
        until(delivered(outbox))
        until(lambda: drain.health.state == "up")

    assert len(stored(path)) == 10
    assert [line["event"] for line in logs] == ["store_down", "store_up"]  # once each


def test_full_disk_of_the_store_loses_nothing(outbox, tmp_path):
    writer = SqliteWriter(tmp_path / "store.sqlite")
    writer.connect()
    pages = writer._store.execute("PRAGMA page_count").fetchone()[0]
    writer._store.execute(f"PRAGMA max_page_count = {pages}")
    outbox.put(bars(0, 500))

    with draining(outbox, writer) as drain:  # it opens the file anew, and there is room again
        until(delivered(outbox))

    assert drain.health.counts["retried"] == 1
    assert len(stored(writer.path)) == 500


def test_refusal_is_logged_once_and_tried_again(outbox, tmp_path):
    path = store_messages(tmp_path / "store.sqlite")
    with sqlite3.connect(path) as other:
        other.execute("PRAGMA user_version = 99")
    outbox.put(bars(0, 5))

    with capture_logs() as logs, draining(outbox, SqliteWriter(path)) as drain:
        until(lambda: drain.health.counts["retried"] >= 3)
        assert (drain.health.state, drain.health.writes) == ("refused", 0)
        other.execute(f"PRAGMA user_version = {VERSION}")
        other.close()
        until(delivered(outbox))

    refused, up = logs
    assert (refused["event"], refused["log_level"]) == ("store_refused", "error")
    assert f"has layout 99, this engine expects {VERSION}" in refused["why"]
    assert up["event"] == "store_up"
    assert len(stored(path)) == 5


POISON = [("tallies", ("k", "n", 2**63)), ("tallies", ("k",)), ("nowhere", (b"\xff",))]


def test_poison_rows_are_put_aside_and_all_others_are_stored_in_order(outbox, tmp_path):
    rows = bars(0, 50)
    rows[40:40], rows[17:17] = POISON[1:], POISON[:1]
    outbox.put(rows)
    outbox.put(bars(50, 5))
    writer = Watched(tmp_path / "store.sqlite")

    with capture_logs() as logs, draining(outbox, writer) as drain:
        until(delivered(outbox))

    assert stored(writer.path) == [row for _, row in bars(0, 55)]
    assert (drain.health.counts["written"], drain.health.counts["refused"]) == (55, 3)
    lines = [json.loads(line) for line in outbox.refused.path.read_text().splitlines()]
    assert [line["row"] for line in lines] == [
        {"key": "k", "name": "n", "count": 2**63},
        ["k"],
        ["/w=="],
    ]
    assert [line["store"] for line in lines] == ["sqlite"] * 3
    assert "no table nowhere" in lines[2]["why"]
    assert [line["event"] for line in logs].count("row_refused") == 3


def test_store_that_goes_down_amid_poison_goes_on_where_it_was(outbox, tmp_path):
    rows = bars(0, 8)
    rows[1:1] = POISON[:1]
    outbox.put(rows)
    down = StoreDown("gone for now")
    writer = Watched(tmp_path / "store.sqlite", *[None, down] * 10)

    with draining(outbox, writer) as drain:
        until(delivered(outbox))

    assert stored(writer.path) == [row for _, row in bars(0, 8)]
    assert len(outbox.refused.path.read_text().splitlines()) == 1
    assert drain.health.counts["refused"] == 1
    assert drain.health.counts["retried"] >= 2


def test_row_that_cannot_be_put_aside_is_not_passed_over(outbox, tmp_path):
    outbox.refused.path.mkdir()
    outbox.put([*bars(0, 1), *POISON, *bars(1, 1)])
    path = tmp_path / "store.sqlite"

    with draining(outbox, SqliteWriter(path)) as drain:
        until(lambda: drain.health.counts["retried"] >= 3)
        assert "refused rows cannot be kept" in drain.health.note
        assert outbox.backlog("sqlite").rows == 5
        outbox.refused.path.rmdir()
        until(delivered(outbox))

    assert len(outbox.refused.path.read_text().splitlines()) == 3
    assert len(stored(path)) == 2


def test_file_of_refused_rows_is_bounded(tmp_path):
    refused = RefusedRows(tmp_path / "refused.jsonl", max_bytes=1000)
    with capture_logs() as logs:
        for n in range(100):
            refused.add("redis", "tallies", ("k", "n", n), "because")

    sizes = [path.stat().st_size for path in tmp_path.iterdir()]
    assert len(sizes) == 2
    assert max(sizes) <= 1000
    assert json.loads(refused.path.read_text().splitlines()[-1])["row"]["count"] == 99
    assert len(logs) == 20


def test_fault_in_a_writer_costs_no_row_and_its_text_is_not_logged(outbox, tmp_path):
    outbox.put(bars(0, 5))
    writer = Watched(tmp_path / "store.sqlite", ValueError("password=geheim"))

    with capture_logs() as logs, draining(outbox, writer):
        until(delivered(outbox))

    assert len(stored(writer.path)) == 5
    assert logs[0]["event"] == "store_failed"
    assert logs[0]["why"] == "its code failed: ValueError"
    assert "geheim" not in str(logs)


def test_stopping_delivers_what_waits(outbox, tmp_path):
    for n in range(50):
        outbox.put(bars(n * 100, 100))
    path = tmp_path / "store.sqlite"

    with draining(outbox, SqliteWriter(path)) as drain:
        pass

    assert drain.health.state == "stopped"
    assert len(stored(path)) == 5000


def test_stopping_does_not_wait_for_a_store_that_is_down(outbox, tmp_path):
    outbox.put(bars(0, 5))
    patient = DrainSettings(most_rest=1000.0, refused_rest=1000.0)
    writer = Watched(tmp_path / "store.sqlite", *[StoreDown("gone")] * 100)
    with draining(outbox, writer, patient) as drain:
        until(lambda: drain.health.state == "down")

    assert drain.health.state == "stopped"
    assert len(writer.batches) <= 2  # one more try at most
    with draining(outbox, SqliteWriter(writer.path)):
        until(delivered(outbox))
    assert len(stored(writer.path)) == 5


def test_connection_cut_while_idle_does_not_end_a_drain_that_stops(outbox, tmp_path):
    writer = Watched(tmp_path / "store.sqlite", StoreDown("cut"))
    drain = Drain(OutboxReader(outbox, "sqlite"), writer, outbox.refused, QUICK)
    outbox.put(bars(0, 5))
    drain._stopping.set()
    drain.start()
    drain.stop(30)

    assert len(stored(writer.path)) == 5


def test_finishing_takes_as_long_as_stores_that_are_up_need(outbox, tmp_path):
    for n in range(50):
        outbox.put(bars(n * 10, 10))
    writer = Watched(tmp_path / "store.sqlite")
    down = Watched(tmp_path / "down.sqlite", *[StoreDown("gone")] * 100)
    drains = [
        Drain(OutboxReader(outbox, "sqlite"), each, outbox.refused, DrainSettings(batch_rows=10))
        for each in (writer, down)
    ]
    for drain in drains:
        drain.start()
    finish_drains(drains, Event())

    assert len(stored(writer.path)) == 500
    assert [drain.health.state for drain in drains] == ["stopped", "stopped"]


def test_finishing_in_a_hurry_ends_at_once(outbox, tmp_path):
    writer = Watched(tmp_path / "store.sqlite")
    drain = Drain(OutboxReader(outbox, "sqlite"), writer, outbox.refused, QUICK)
    hurry = Event()
    hurry.set()
    held = writer.write
    release = Event()
    writer.write = lambda rows: release.wait(60) and held(rows)
    outbox.put(bars(0, 5))
    drain.start()
    finish_drains([drain], hurry)

    assert drain.health.state == "starting"
    release.set()
    drain.stop(30)
    assert len(stored(writer.path)) == 5


def test_stopping_has_a_limit(outbox, tmp_path):
    for n in range(50):
        outbox.put(bars(n * 10, 10))
    writer = Watched(tmp_path / "store.sqlite")
    drain = Drain(
        OutboxReader(outbox, "sqlite"), writer, outbox.refused, DrainSettings(batch_rows=10)
    )
    stop_drains([drain], 0.0)  # before it begins
    drain.start()
    until(lambda: drain.health.state == "stopped")

    assert writer.batches == []
    assert outbox.backlog("sqlite").rows == 500


def test_store_is_tidied_each_minute_of_event_time(outbox, tmp_path):
    writer = Watched(tmp_path / "store.sqlite")
    with draining(outbox, writer, DrainSettings(batch_rows=1)):
        for second in range(200):
            outbox.put(bars(second, 1))
        until(delivered(outbox))

    assert writer.tidied[0] == TS
    assert {later - former for former, later in pairwise(writer.tidied)} == {MINUTE}
    assert len(writer.tidied) == 4


def test_time_of_a_refused_row_ages_nothing(outbox, tmp_path):
    [(table, row)] = bars(0, 1)
    far = (*row[:2], 2**63, *row[3:])
    outbox.put([(table, far), (table, row)])
    writer = Watched(tmp_path / "store.sqlite")

    with draining(outbox, writer):
        until(delivered(outbox))

    assert writer.tidied == [TS]


KILLED = """
import os, sys
from pathlib import Path
from connectors.sinks.drain import Drain
from connectors.sinks.outbox_reader import OutboxReader
from connectors.sinks.sqlite_writer import SqliteWriter
from tests.outboxes import bars, until, written

class Reader(OutboxReader):
    done = 0

    def ack(self, position):
        self.done += 1
        if self.done == 3:
            os.kill(os.getpid(), 9)  # the store has the rows, and nobody knows
        super().ack(position)

outbox = written(Path(sys.argv[1]), *(bars(n * 400, 400) for n in range(20)))
drain = Drain(Reader(outbox, "sqlite"), SqliteWriter(sys.argv[2]), outbox.refused)
drain.start()
until(lambda: False)
"""


def test_kill_between_write_and_acknowledgement_repeats_and_never_loses(tmp_path):
    folder, path = tmp_path / "outbox", tmp_path / "store.sqlite"
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(folder), str(path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == -9, done.stderr
    assert len(stored(path)) == 3600

    outbox = written(folder)
    assert outbox.backlog("sqlite").rows == 8000 - 2400
    with draining(outbox, SqliteWriter(path)) as drain:
        until(delivered(outbox))
    outbox.close()

    assert drain.health.counts["written"] == 5600
    assert stored(path) == [row for _, row in bars(0, 8000)]


def test_metrics_tell_how_a_store_does(outbox, tmp_path):
    registry = CollectorRegistry()
    writer = Watched(tmp_path / "store.sqlite", StoreDown("gone"))
    outbox.put([*bars(0, 30), *POISON[:1]])
    with draining(outbox, writer) as drain:
        until(delivered(outbox))
        outbox.put(bars(30, 5))
        until(lambda: outbox.backlog("sqlite").rows == 0 and drain.health.state == "up")
        registry.register(StoreCollector([drain], outbox))
        text = generate_latest(registry).decode()

    for line in (
        'nextgen_store_up{store="sqlite"} 1.0',
        'nextgen_store_written_rows_total{store="sqlite"} 35.0',
        'nextgen_store_retries_total{store="sqlite"} 1.0',
        'nextgen_store_refused_rows_total{store="sqlite"} 1.0',
        'nextgen_store_overrun_rows_total{store="sqlite"} 0.0',
        'nextgen_store_backlog_rows{store="sqlite"} 0.0',
        'nextgen_store_backlog_bytes{store="sqlite"} 0.0',
        'nextgen_store_backlog_seconds{store="sqlite"} 0.0',
        f'nextgen_store_write_seconds_count{{store="sqlite"}} {drain.health.writes}.0',
    ):
        assert line in text
    assert 'nextgen_store_write_seconds_sum{store="sqlite"}' in text


def test_metrics_of_a_store_that_is_down_show_its_backlog(outbox, tmp_path):
    drain = Drain(OutboxReader(outbox, "sqlite"), SqliteWriter(tmp_path / "s"), outbox.refused)
    outbox.put(bars(0, 1))
    outbox.put(bars(1, 60))
    registry = CollectorRegistry()
    registry.register(StoreCollector([drain], outbox))

    assert registry.get_sample_value("nextgen_store_up", {"store": "sqlite"}) == 0.0
    assert registry.get_sample_value("nextgen_store_backlog_rows", {"store": "sqlite"}) == 61.0
    assert registry.get_sample_value("nextgen_store_backlog_seconds", {"store": "sqlite"}) == 60.0
