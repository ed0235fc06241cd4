"""The outbox keeps every row until each store has it, and says so where it cannot."""

import json
import resource
import subprocess
import sys
from pathlib import Path
from threading import Event, Thread

import bytewax.operators as op
import numpy as np
import pytest
from bytewax.dataflow import Dataflow
from bytewax.testing import TestingSource, run_main
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.journal import Journal, JournalError, segments
from connectors.sinks import outbox as module
from connectors.sinks.outbox import Outbox
from connectors.sinks.outbox_files import Overrun, overruns
from connectors.sinks.outbox_reader import OutboxReader
from connectors.sinks.outbox_sink import OutboxSink
from connectors.sinks.sqlite import rows_of
from connectors.sinks.tables import VERSION
from operators.errors import StoreError
from operators.messages import SECOND, Checkpoint, Tally
from tests.outboxes import bars, read_all, written
from tests.stores import TS, decision, gap, hole, rejection, signal, stored_bar

ROOT = Path(__file__).parents[2]
EVERYTHING = (
    decision(signal(), signal("ETHUSDT")),
    stored_bar(),
    rejection(payload=b"\xff\x00"),
    gap(5, 9),
    hole(),
    Checkpoint(ts_close=TS, stage="risk", state=b"\x00\xff"),
    Tally(key="k", name="n", count=7),
)


def test_rows_of_a_flow_are_read_as_they_were_made_by_every_store(tmp_path):
    outbox = Outbox(tmp_path, ("redis", "sqlite"))
    flow = Dataflow("outbox")
    stream = op.input("in", flow, TestingSource([("0", message) for message in EVERYTHING]))
    op.output("out", stream, OutboxSink(outbox, simulated=True))

    run_main(flow)

    expected = [row for message in EVERYTHING for row in rows_of(message, simulated=True)]
    assert read_all(outbox, "redis") == expected
    assert read_all(outbox, "sqlite") == expected
    outbox.close()


@settings(max_examples=25)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=12), st.integers(1, 50))
def test_order_is_kept_whatever_the_batches_and_segments(tmp_path_factory, sizes, limit):
    starts = [sum(sizes[:n]) for n in range(len(sizes))]
    batches = [bars(start, size) for start, size in zip(starts, sizes, strict=True)]
    outbox = written(tmp_path_factory.mktemp("o"), *batches, segment_bytes=2000)

    assert read_all(outbox, limit=limit) == bars(0, sum(sizes))
    outbox.close()


def test_reader_follows_while_the_flow_writes_over_segments(tmp_path):
    outbox = written(tmp_path, segment_bytes=1500)
    reader = OutboxReader(outbox, "sqlite")
    found = []
    for n in range(60):
        outbox.put(bars(2 * n, 2))
        found += [row for entry in reader.read(1000) for row in entry.rows]
        assert reader.read(1000) == []

    assert found == bars(0, 120)
    assert len(segments(tmp_path)) > 5
    outbox.close()


def test_large_batch_becomes_several_entries_of_bounded_size(tmp_path):
    states = [Checkpoint(ts_close=TS + n, stage="s", state=bytes(300_000)) for n in range(10)]
    rows = [row for state in states for row in rows_of(state)] + bars(0, 2500)
    outbox = written(tmp_path, rows)

    entries = OutboxReader(outbox, "sqlite").read(10_000)

    assert [row for entry in entries for row in entry.rows] == rows
    assert [len(entry.rows) for entry in entries] == [4, 4, 1000, 1000, 502]
    outbox.close()


def test_numbers_of_numpy_become_plain_and_floats_keep_every_bit(tmp_path):
    outbox = written(tmp_path, [("tallies", (np.float64(0.1) + 0.2, -0.0, np.int64(3)))])

    [(_, row)] = read_all(outbox)

    assert [repr(value) for value in row] == ["0.30000000000000004", "-0.0", "3"]
    outbox.close()


def test_row_that_no_outbox_can_hold_is_put_aside_and_the_others_go_on(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_ROW_BYTES", 100_000)
    bad = [
        ("tallies", ("k", "n", 2**64)),
        ("tallies", ("k", "\ud800", 1)),
        ("tallies", ("k", object(), 1)),
        ("tallies", ("k", "x" * 200_000, 1)),
    ]
    outbox = written(tmp_path, [*bars(0, 1), *bad, *bars(1, 1)])

    assert read_all(outbox) == bars(0, 2)
    lines = [json.loads(line) for line in (tmp_path / "refused.jsonl").read_text().splitlines()]
    assert [(line["store"], line["table"]) for line in lines] == [("outbox", "tallies")] * 4
    assert lines[0]["row"]["count"] == 2**64
    assert "200018 bytes" in lines[3]["why"]
    outbox.close()


def test_reader_goes_on_behind_what_it_acknowledged(tmp_path):
    outbox = written(tmp_path, bars(0, 3), bars(3, 3), bars(6, 3))
    reader = OutboxReader(outbox, "sqlite")
    first, second, _ = reader.read(1000)
    reader.ack(second.position)
    reader.ack(first.position)  # never back
    outbox.close()

    outbox = written(tmp_path)
    assert read_all(outbox) == bars(6, 3)
    assert read_all(outbox) == []
    outbox.close()


def test_broken_cursor_begins_again(tmp_path):
    outbox = written(tmp_path, bars(0, 3))
    read_all(outbox)
    outbox.close()
    (tmp_path / "sqlite.cursor").write_bytes(b"")  # what a power cut may leave

    outbox = written(tmp_path)
    assert read_all(outbox) == bars(0, 3)
    outbox.close()


def test_offsets_that_a_power_cut_took_back_are_not_used_again(tmp_path):
    outbox = written(tmp_path, bars(0, 2), readers=("fast", "slow"))
    OutboxReader(outbox, "slow").ack(OutboxReader(outbox, "slow").read(1)[0].position)
    [segment] = segments(tmp_path)
    durable = segment.stat().st_size
    outbox.put(bars(2, 2))
    assert len(read_all(outbox, "fast")) == 4
    outbox.close()
    with segment.open("r+b") as file:
        file.truncate(durable)

    outbox = written(tmp_path, readers=("fast", "slow"))
    slow = OutboxReader(outbox, "slow")
    assert slow.read(10) == []
    outbox.put(bars(2, 2))  # recovery gives them again

    assert read_all(outbox, "fast") == bars(2, 2)
    assert [row for entry in slow.read(10) for row in entry.rows] == bars(2, 2)
    assert overruns(tmp_path) == {}
    outbox.close()


def test_what_every_store_has_is_deleted(tmp_path):
    outbox = written(tmp_path, readers=("a", "b"), segment_bytes=1000)
    for n in range(20):
        outbox.put(bars(n * 5, 5))
    read_all(outbox, "a")
    outbox.sync()
    assert len(segments(tmp_path)) == 20

    read_all(outbox, "b")
    outbox.put(bars(100, 1))
    outbox.sync()

    assert len(segments(tmp_path)) == 1
    outbox.close()


def test_full_outbox_costs_the_slowest_reader_its_oldest_rows_and_says_how_many(tmp_path):
    outbox = written(tmp_path, readers=("slow", "fast"), max_bytes=20_000, segment_bytes=2000)
    fast = []
    for n in range(100):
        outbox.put(bars(n * 5, 5))
        fast += read_all(outbox, "fast")
        assert sum(path.stat().st_size for path in segments(tmp_path)) <= 20_000

    slow = read_all(outbox, "slow")

    assert fast == bars(0, 500)
    assert slow == bars(500 - len(slow), len(slow))
    assert 0 < len(slow) < 500
    lost = 500 - len(slow)
    assert outbox.overrun("fast") == Overrun()
    assert outbox.overrun("slow").rows == lost
    # The store holds all up to where the loss begins, and after it everything again.
    assert outbox.proven("slow") == 0
    assert outbox.proven("fast") == TS + 499 * SECOND
    outbox.close()
    assert overruns(tmp_path) == {
        "slow": Overrun(rows=lost, since=0, until=TS + (lost - 1) * SECOND)
    }
    outbox = written(tmp_path, readers=("slow", "fast"))
    assert outbox.overrun("slow").rows == lost
    outbox.close()


def test_reader_in_the_midst_of_a_dropped_segment_goes_on_at_the_oldest_that_is_left(tmp_path):
    outbox = written(tmp_path, bars(0, 5), max_bytes=20_000, segment_bytes=2000)
    reader = OutboxReader(outbox, "sqlite")
    [held] = reader.read(1)
    for n in range(1, 100):
        outbox.put(bars(n * 5, 5))

    rest = [row for entry in reader.read(1000) for row in entry.rows]
    reader.ack(held.position)

    assert rest == bars(outbox.overrun("sqlite").rows, len(rest))
    assert rest[-1:] == bars(499, 1)
    assert outbox.stand("sqlite").rows == outbox.overrun("sqlite").rows  # it did not go back
    outbox.close()


def test_reader_that_is_overrun_while_it_reads_sees_each_row_once_or_it_is_counted(tmp_path):
    outbox = written(tmp_path, max_bytes=20_000, segment_bytes=2000)
    found, done = [], Event()

    def read():
        reader = OutboxReader(outbox, "sqlite")
        more = True
        while more:
            writing = not done.is_set()  # before reading: what comes later is read next time
            for entry in (entries := reader.read(7)):
                found.extend(entry.rows)
                reader.ack(entry.position)
            more = writing or entries

    thread = Thread(target=read)
    thread.start()
    for n in range(600):
        outbox.put(bars(n * 5, 5))
    done.set()
    thread.join(60)

    seconds = [row[2] for _, row in found]
    assert seconds == sorted(set(seconds))
    assert found[-5:] == bars(2995, 5)
    # What was dropped while it was read may count as lost, too.
    assert 3000 - len(found) <= outbox.overrun("sqlite").rows < 3000
    outbox.close()


def test_store_that_is_configured_again_learns_what_it_missed(tmp_path):
    written(tmp_path, bars(0, 5), readers=("a", "b")).close()
    outbox = written(tmp_path, bars(5, 5), readers=("a",), segment_bytes=1000)
    read_all(outbox, "a")
    outbox.put(bars(10, 5))
    outbox.sync()
    outbox.close()

    outbox = written(tmp_path, readers=("a", "b"))
    assert outbox.overrun("b").rows == 10
    assert read_all(outbox, "b") == bars(10, 5)
    outbox.close()


def test_corrupt_record_costs_its_segment_and_is_counted(tmp_path):
    outbox = written(tmp_path, readers=("sqlite",), segment_bytes=2000)
    for n in range(10):
        outbox.put(bars(n * 5, 5))
    outbox.close()
    broken = segments(tmp_path)[1]
    content = bytearray(broken.read_bytes())
    content[100] ^= 0xFF
    broken.write_bytes(content)

    outbox = written(tmp_path)
    found = read_all(outbox)

    assert found == [row for row in bars(0, 50) if row in found]
    assert outbox.overrun("sqlite").rows == 50 - len(found) == 15
    assert outbox.proven("sqlite") < TS + 49 * SECOND
    outbox.close()


def test_backlog_is_told_in_rows_bytes_and_event_time(tmp_path):
    outbox = written(tmp_path, bars(0, 10), bars(10, 10), bars(20, 10))
    whole = outbox.backlog("sqlite")
    reader = OutboxReader(outbox, "sqlite")
    reader.ack(reader.read(1)[0].position)

    assert (whole.rows, whole.seconds) == (30, 20.0)  # behind the first entry's newest bar
    assert (outbox.backlog("sqlite").rows, outbox.backlog("sqlite").seconds) == (20, 20.0)
    assert 3 * outbox.backlog("sqlite").bytes == 2 * whole.bytes  # each bar takes as many
    read_all(outbox)
    assert outbox.backlog("sqlite") == (0, 0, 0.0)
    outbox.close()


def test_second_writer_fences_the_first(tmp_path):
    first = written(tmp_path, bars(0, 1))
    second = written(tmp_path)

    with pytest.raises(JournalError, match="taken over"):
        first.put(bars(1, 1))

    second.put(bars(1, 1))
    assert read_all(second) == bars(0, 2)
    second.close()
    with pytest.raises(JournalError, match="taken over"):
        first.close()


def test_journal_of_another_kind_is_no_outbox(tmp_path):
    with Journal(tmp_path) as journal:
        journal.append("binance", "binance", TS, b"{}")

    with pytest.raises(StoreError, match="holds another journal than an outbox"):
        Outbox(tmp_path, ("sqlite",))


def test_rows_of_another_layout_are_not_delivered(tmp_path, monkeypatch):
    written(tmp_path, bars(0, 1), readers=("redis", "sqlite")).close()
    monkeypatch.setattr(module, "_LAYOUT", "layout 99")

    with pytest.raises(
        StoreError, match=f"rows of layout {VERSION} for redis, sqlite, this engine writes"
    ):
        Outbox(tmp_path, ("redis", "sqlite"))
    monkeypatch.undo()
    outbox = written(tmp_path, readers=("redis", "sqlite"))
    read_all(outbox, "redis"), read_all(outbox, "sqlite")
    outbox.close()
    monkeypatch.setattr(module, "_LAYOUT", "layout 99")
    Outbox(tmp_path, ("redis", "sqlite")).close()  # delivered before: nothing stands in the way


def test_overrun_mark_that_cannot_be_read_is_told(tmp_path):
    (tmp_path / "redis.overrun").write_text("{")

    with pytest.raises(StoreError, match=r"redis.overrun says that a store has lost rows"):
        Outbox(tmp_path, ("redis",))


FULL = """
import sys
from pathlib import Path
from operators.errors import StoreError
from tests.outboxes import bars, written
outbox = written(Path(sys.argv[1]))
done = 0
try:
    while True:
        outbox.put(bars(done, 50))
        done += 50
except StoreError as error:
    print(done, error)
"""


def child(code, *arguments, **options):
    """Run `code` in a process of its own, in the checkout."""
    line = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(
        line, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120, **options
    )


def test_full_disk_is_one_sentence_and_what_was_put_before_is_there(tmp_path):
    limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, resource.RLIM_INFINITY))
    done = child(FULL, tmp_path, preexec_fn=limit)

    count, _, sentence = done.stdout.partition(" ")
    assert int(count) > 0, done.stderr
    assert sentence.startswith(f"the outbox {tmp_path} cannot be written: File too large; make ")
    outbox = written(tmp_path)  # there is room again
    outbox.put(bars(int(count), 50))
    assert read_all(outbox) == bars(0, int(count) + 50)
    outbox.close()


KILLED = """
import os, sys
from pathlib import Path
from connectors.sinks.outbox_reader import OutboxReader
from tests.outboxes import bars, written
outbox = written(Path(sys.argv[1]), segment_bytes=5000)
reader = OutboxReader(outbox, "sqlite")
for n in range(30):
    outbox.put(bars(n * 10, 10))
    for entry in reader.read(10):
        if n == 17:
            os.kill(os.getpid(), 9)  # between a store's write and its acknowledgement
        reader.ack(entry.position)
"""


def test_kill_between_write_and_acknowledgement_repeats_and_never_loses(tmp_path):
    done = child(KILLED, tmp_path)
    assert done.returncode == -9, done.stderr

    outbox = written(tmp_path)
    assert read_all(outbox) == bars(170, 10)
    assert outbox.overrun("sqlite") == Overrun()
    outbox.close()


def test_folder_that_cannot_be_made_is_one_clear_sentence(tmp_path):
    (tmp_path / "file").write_text("")

    with pytest.raises(JournalError, match="cannot be opened"):
        Outbox(tmp_path / "file", ("sqlite",))


def test_open_files_do_not_grow(tmp_path):
    outbox = written(tmp_path, segment_bytes=1000)
    reader = OutboxReader(outbox, "sqlite")
    count = lambda: len(list(Path("/proc/self/fd").iterdir()))
    before = count()
    for n in range(50):
        outbox.put(bars(n, 1))
        for entry in reader.read(10):
            reader.ack(entry.position)
        outbox.sync()

    assert count() <= before + 2  # the segment written, and the one read
    outbox.close()
