"""The SQLite writer writes what the sink writes, and tells its three kinds of failure apart."""

import os
import shutil
import sqlite3
import tempfile
from contextlib import contextmanager
from pathlib import Path

import pytest

from connectors.sinks import store as module
from connectors.sinks.sqlite import DAY, rows_of
from connectors.sinks.sqlite_writer import SqliteWriter
from connectors.sinks.store import open_store
from connectors.sinks.tables import TABLES
from connectors.sinks.writers import RowRefused, StoreDown, StoreRefused
from operators.messages import SECOND, Checkpoint, HoleState, Mood, Notice, Tally
from tests.outboxes import bars, stored
from tests.stores import (
    TS,
    alert,
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

EVERYTHING = (
    decision(signal(), signal("ETHUSDT")),
    stored_bar(),
    outcome(signal()),
    rejection(payload=b"\xff\x00"),
    Notice(after=TS, offset=3, body=Mood(source="cnn", value=20.0, available_at=1)),
    repaired(stored_bar(trades=7)),
    gap(5, 9),
    hole(),
    switch(),
    Checkpoint(ts_close=TS, stage="risk", state=b"\x00\xff"),
    Tally(key="k", name="n", count=7),
    alert(),
)
# What no message of the flow is stored in.
OTHERS = {
    "acknowledgements", "deliveries", "feeds", "forgotten", "marks", "process_alerts",
    "routed_alerts", "runs", "silences",
}  # fmt: skip


@pytest.fixture
def writer(tmp_path):
    made = SqliteWriter(tmp_path / "archive.sqlite")
    made.connect()
    yield made
    made.close()


def rows(*messages):
    return [row for message in messages for row in rows_of(message)]


def test_store_equals_that_of_the_sink_however_often_it_is_written(writer, tmp_path):
    sunk = store_messages(tmp_path / "sunk.sqlite", *EVERYTHING)

    writer.write(rows(*EVERYTHING))
    writer.write(rows(*EVERYTHING))

    for table in TABLES.keys() - OTHERS:
        assert stored(writer.path, table) == stored(sunk, table), table
        assert stored(sunk, table), table


def test_later_row_of_a_key_stands_and_an_older_hole_replaces_no_newer(writer):
    writer.write(rows(*(Tally(key="k", name="n", count=n) for n in range(5))))
    writer.write(rows(hole(state=HoleState.FILLED, offset=9), hole(offset=3)))

    assert stored(writer.path, "tallies") == [("k", "n", 4)]
    [found] = stored(writer.path, "holes")
    assert found[TABLES["holes"].names.index("state")] == "filled"


@pytest.mark.parametrize(
    "bad",
    [
        ("tallies", ("k", "n", 2**63)),
        ("tallies", ("k", None, 1)),
        ("tallies", ("k", "\ud800", 1)),
        ("tallies", ("k", "n")),
        ("tallies", ("k", "n", object())),
        ("nowhere", ("k",)),
    ],
)
def test_row_that_does_not_fit_is_refused_and_nothing_of_its_batch_is_written(writer, bad):
    with pytest.raises(RowRefused):
        writer.write([*bars(0, 1), bad])

    assert stored(writer.path) == []
    writer.write(bars(0, 1))  # the connection is well
    assert len(stored(writer.path)) == 1


def test_locked_store_is_down_and_comes_back(writer, monkeypatch):
    monkeypatch.setattr(module, "BUSY_MS", 20)
    writer.close()
    writer.connect()
    other = sqlite3.connect(writer.path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")

    with pytest.raises(StoreDown, match="another process is writing to it"):
        writer.write(bars(0, 1))
    with pytest.raises(StoreDown, match="another process is writing to it"):
        writer.connect()

    other.execute("ROLLBACK")
    other.close()
    writer.connect()
    writer.write(bars(0, 1))
    assert len(stored(writer.path)) == 1


def test_full_disk_is_down(writer):
    pages = writer._store.execute("PRAGMA page_count").fetchone()[0]
    writer._store.execute(f"PRAGMA max_page_count = {pages}")

    with pytest.raises(StoreDown, match="the disk is full; make room"):
        writer.write(bars(0, 1000))
    with pytest.raises(StoreDown, match="connect first"):
        writer.write(bars(0, 1))

    writer.connect()
    writer.write(bars(0, 1000))
    assert len(stored(writer.path)) == 1000


def test_stranger_and_other_layout_are_refused(tmp_path):
    text = tmp_path / "notes.txt"
    text.write_text("no database, but long enough to be read as one " * 40)
    newer = store_messages(tmp_path / "newer.sqlite")
    with sqlite3.connect(newer) as other:
        other.execute("PRAGMA user_version = 99")
    other.close()

    for path, why in ((text, "no SQLite file"), (newer, "has layout 99"), (tmp_path, "a folder")):
        with pytest.raises(StoreRefused, match=why):
            SqliteWriter(path).connect()


@contextmanager
def nobody():
    """Be a user who may write nothing of ours."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


def test_store_that_may_not_be_written_is_refused():
    folder = Path(tempfile.mkdtemp())  # where others may look, unlike in pytest's own
    path = store_messages(folder / "run.sqlite", stored_bar())
    path.chmod(0o444)
    folder.chmod(0o555)
    try:
        with nobody(), pytest.raises(StoreRefused, match="check"):
            SqliteWriter(path).connect()
    finally:
        folder.chmod(0o755)
        shutil.rmtree(folder)


def test_tidy_drops_what_is_older_than_it_keeps_and_counts_it(tmp_path):
    writer = SqliteWriter(tmp_path / "warm.sqlite", keep=DAY)
    writer.connect()
    writer.write(bars(0, 10))
    writer.tidy(TS + DAY + 4 * SECOND)
    writer.close()

    assert stored(writer.path) == [row for _, row in bars(4, 6)]
    store = open_store(writer.path, readonly=True)
    assert store.execute("SELECT count FROM forgotten WHERE name = 'trades'").fetchone()[0] == 8
    store.close()


def test_archive_keeps_all(writer):
    writer.write(bars(0, 10))
    writer.tidy(TS + 400 * DAY)

    assert len(stored(writer.path)) == 10
