"""A backup taken at any moment gives the run back as it was, or is refused."""

import contextlib
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from connectors.journal import Damage, Journal, read_journal
from connectors.sinks import backup as backing
from connectors.sinks.backup import MANIFEST, STORE, backup, restore, verify
from connectors.sinks.compare import compare, stored_rows
from connectors.sinks.outbox import Outbox
from connectors.sinks.outbox_reader import OutboxReader
from connectors.sinks.store import open_store
from connectors.sinks.tables import TABLES
from flows.commands_store import backup_command, restore_command, verify_command
from flows.runs import begin_run
from flows.settings import Settings
from operators.errors import StoreError
from operators.messages import SECOND
from tests.integration import replays
from tests.stores import TS, decision, gap, rejection, signal, store_messages, stored_bar

WAIT = 120.0  # seconds until a condition must hold

WRITE_FOR_EVER = """
import sys
from itertools import count
from connectors.sinks.sqlite import SqliteSink
from tests.stores import TS, stored_bar
part = SqliteSink(sys.argv[1]).build_part("store", "0", None)
for n in count():
    part.write_batch([stored_bar(ts_close=TS + n, volume=float(n))])
    print(n, flush=True)
"""

BACK_UP_IN_LITTLE_ROOM = """
import resource, sys
from pathlib import Path
from connectors.sinks.backup import backup
from operators.errors import StoreError
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
try:
    backup(Path(sys.argv[1]), Path(sys.argv[2]))
except StoreError as error:
    print(error)
"""


def child(code, *arguments):
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        cwd=replays.ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.fixture
def store(tmp_path):
    """A store of a run with all that may stand beside it."""
    path = store_messages(tmp_path / "run.sqlite")
    with closing(open_store(path)) as rows:
        begin_run(rows, Settings(), [], [])
    store_messages(path, stored_bar(), rejection(), gap(1, 2), decision(signal()))
    recovery = Path(f"{path}.recovery")
    recovery.mkdir()
    store_messages(recovery / "part-0.sqlite3", stored_bar(volume=7.0))  # any SQLite file
    with Journal(Path(f"{path}.journal")) as journal:
        journal.append("a", "binance", 1, b"{}")
    with closing(Outbox(Path(f"{path}.outbox"), ["redis"])) as outbox:
        outbox.put([("tallies", ("clocks", "received", n)) for n in range(3)])
    return path


def entries(folder):
    return [item.offset for item in read_journal(folder) if not isinstance(item, Damage)]


def assert_same(one, other):
    """Both stores hold the same rows."""
    with (
        closing(open_store(one, readonly=True)) as first,
        closing(open_store(other, readonly=True)) as second,
    ):
        for table in TABLES:
            told = compare(stored_rows(first, table), stored_rows(second, table), table)
            assert told.same, told


def test_what_is_restored_is_what_was_backed_up(store, tmp_path):
    made = backup(store, tmp_path / "kept")
    assert made == verify(tmp_path / "kept")
    assert made.parts == ("recovery", "journal", "outbox")
    assert made.newest == TS
    again = tmp_path / "again.sqlite"
    assert restore(tmp_path / "kept", again) == made

    assert_same(store, again)
    assert_same(f"{store}.recovery/part-0.sqlite3", f"{again}.recovery/part-0.sqlite3")
    assert entries(Path(f"{again}.journal")) == [0]
    with closing(Outbox(Path(f"{again}.outbox"), ["redis"])) as outbox:
        (entry,) = OutboxReader(outbox, "redis").read(10)
    assert [row for _, row in entry.rows] == [("clocks", "received", n) for n in range(3)]
    with closing(open_store(again)) as rows:  # it goes on
        begin = begin_run(rows, Settings(), [], [])
    assert begin == "resume"
    assert not list(tmp_path.glob("*.part")) + list(tmp_path.glob("*.restoring"))


def test_a_store_alone_is_backed_up(tmp_path):
    store = store_messages(tmp_path / "run.sqlite", stored_bar())
    made = backup(store, tmp_path / "kept")
    assert (made.run, made.parts) == (None, ())
    restore(tmp_path / "kept", tmp_path / "again.sqlite")
    assert_same(store, tmp_path / "again.sqlite")


def test_backup_of_a_writing_process_holds_one_moment_and_of_a_killed_one_all(tmp_path):
    store = tmp_path / "run.sqlite"
    with child(WRITE_FOR_EVER, store) as writer:
        while int(writer.stdout.readline()) < 50:
            pass
        backup(store, tmp_path / "first")
        seen = int(writer.stdout.readline())
        writer.kill()
        written = [int(line) for line in writer.stdout if line.endswith("\n")]
    assert Path(f"{store}-wal").stat().st_size  # not in the file itself
    backup(store, tmp_path / "second")
    found = {}
    for name in ("first", "second"):
        restore(tmp_path / name, tmp_path / f"{name}.sqlite")
        with closing(open_store(tmp_path / f"{name}.sqlite", readonly=True)) as rows:
            found[name] = [row["volume"] for row in rows.execute("SELECT * FROM bars")]
        assert found[name] == [float(n) for n in range(len(found[name]))]
    assert len(found["first"]) > 50
    assert len(found["second"]) >= max(written, default=seen) + 1


def decided(store):
    """Whether a run has stored a decision."""
    with contextlib.suppress(sqlite3.OperationalError):
        return replays.rows(store, "SELECT count(*) FROM signals") > [(0,)]
    return False


def test_run_resumed_from_a_backup_taken_under_way_ends_as_the_run_did(tmp_path):
    short = replays.write(tmp_path / "short.ndjson", replays.recorded(replays.SHORT))
    store, again = tmp_path / "run.sqlite", tmp_path / "again.sqlite"
    line, options = replays.command(
        "replay", short, "--profile", "demo", "--store", store, "--quiet"
    )
    kept = []
    with subprocess.Popen(line, stdout=subprocess.DEVNULL, **options) as run:
        end = time.monotonic() + WAIT
        while run.poll() is None:
            assert time.monotonic() < end
            if not decided(store):
                time.sleep(0.01)
                continue
            kept.append(tmp_path / f"kept-{len(kept)}")
            backup(store, kept[-1])
    assert run.returncode == 0
    assert len(kept) > 2
    restore(kept[len(kept) // 2], again)
    assert replays.rows(again, "SELECT finished FROM runs") == [(None,)]
    held = replays.rows(again, "SELECT count(*) FROM bars")
    replays.replay(again, short)
    assert replays.rows(again, "SELECT count(*) FROM bars") > held
    assert replays.digest(again) == replays.digest(store)


@pytest.fixture
def meanwhile(monkeypatch):
    """Let something happen whenever a database has been copied."""

    def install(act):
        copy = backing._copy_database

        def copied(source, target):
            copy(source, target)
            act(source)

        monkeypatch.setattr(backing, "_copy_database", copied)

    return install


@pytest.mark.parametrize("whole", [True, False])
def test_journal_holds_what_recovery_needs_and_what_the_store_has(
    store, tmp_path, meanwhile, whole
):
    with Journal(Path(f"{store}.journal"), segment_bytes=1) as journal:

        def go_on(source=None):
            for _ in range(3):
                journal.append("a", "binance", 1, b"{}")
                journal.flush()
            if source == store:  # as a live run does that keeps nothing
                journal.prune(2 if whole else journal.next_offset, 0)

        go_on()
        meanwhile(go_on)
        if whole:
            backup(store, tmp_path / "kept")
            assert entries(journal.folder)[0] == 2
        else:
            with pytest.raises(StoreError, match="let go of what came while it was copied"):
                backup(store, tmp_path / "kept")
            return
    restore(tmp_path / "kept", tmp_path / "again.sqlite")
    again = tmp_path / "again.sqlite.journal"
    assert entries(again) == list(range(10))
    with Journal(again) as journal:
        assert journal.next_offset == 10
        assert journal.epoch > 2


def test_outbox_has_no_hole_before_any_reader(store, tmp_path, meanwhile):
    folder = Path(f"{store}.outbox")
    with closing(Outbox(folder, ["redis", "influxdb"], segment_bytes=1)) as outbox:
        reader = OutboxReader(outbox, "redis")

        def go_on(_):
            for n in range(4):
                outbox.put([("tallies", ("clocks", "received", n))])
            for entry in reader.read(6):
                reader.ack(entry.position)
            outbox.sync()

        meanwhile(go_on)
        backup(store, tmp_path / "kept")
        stands = {name: outbox.stand(name) for name in ("redis", "influxdb")}
    restore(tmp_path / "kept", tmp_path / "again.sqlite")
    with closing(Outbox(tmp_path / "again.sqlite.outbox", ["redis", "influxdb"])) as outbox:
        for name, stand in stands.items():
            assert outbox.stand(name) == stand
            assert outbox.overrun(name).rows == 0
            left = OutboxReader(outbox, name).read(1000)
            assert sum(len(entry.rows) for entry in left) == outbox.end.rows - stand.rows
        assert outbox.end.rows == 3 + 8


def test_a_store_begun_anew_meanwhile_is_refused(store, tmp_path, meanwhile):
    def begin_anew(source):
        if source != store:
            with closing(open_store(store)) as rows:
                begin_run(rows, Settings(), [], [], overwrite=True)

    meanwhile(begin_anew)
    with pytest.raises(StoreError, match="was begun anew while it was copied; back it up again"):
        backup(store, tmp_path / "kept")
    assert [path.name for path in tmp_path.iterdir() if "kept" in path.name] == []


def test_a_backup_overwrites_nothing(store, tmp_path):
    (tmp_path / "kept").mkdir()
    with pytest.raises(StoreError, match="exists already; name a new folder"):
        backup(store, tmp_path / "kept")


def test_no_store_is_no_backup(tmp_path):
    with pytest.raises(StoreError, match="expected a store at"):
        backup(tmp_path / "run.sqlite", tmp_path / "kept")
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_store_is_not_backed_up(store, tmp_path):
    with store.open("r+b") as file:
        size = file.seek(0, 2)
        for page in range(2, size // 4096):
            file.seek(page * 4096)
            file.write(b"\xff" * 64)
    with pytest.raises(StoreError, match=r"damaged|malformed"):
        backup(store, tmp_path / "kept")
    assert not (tmp_path / "kept").exists()


@pytest.mark.parametrize("name", [".", "-wal", "-shm", ".recovery", ".journal", ".outbox"])
def test_a_restore_overwrites_nothing(store, tmp_path, name):
    backup(store, tmp_path / "kept")
    again = tmp_path / "again.sqlite"
    there = Path(f"{again}{name.removeprefix('.') if name == '.' else name}")
    there.write_text("of another run")
    with pytest.raises(StoreError, match=f"{there.name} exists already and is not overwritten"):
        restore(tmp_path / "kept", again)
    assert sorted(path.name for path in tmp_path.glob("again*")) == [there.name]
    assert there.read_text() == "of another run"


def files(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file())


def test_any_damage_to_a_backup_is_found_and_nothing_restored(store, tmp_path):
    kept, again = tmp_path / "kept", tmp_path / "again.sqlite"
    backup(store, kept)
    names = [path.relative_to(kept) for path in files(kept)]
    assert {"recovery", "journal", "outbox", STORE, MANIFEST} <= {name.parts[0] for name in names}
    for name in names:
        path = kept / name
        whole = path.read_bytes()
        for broken in (whole[:-2], bytes([whole[0] ^ 1]) + whole[1:], None):
            path.unlink()
            if broken is not None:
                path.write_bytes(broken)
            with pytest.raises(StoreError, match=r"is damaged|lacks|does not know|found no SHA"):
                restore(kept, again)
        path.write_bytes(whole)
    (kept / "more").write_text("not ours")
    with pytest.raises(StoreError, match="holds more, which SHA256SUMS does not know"):
        restore(kept, again)
    assert not list(tmp_path.glob("again*"))


def test_a_backup_of_another_format_is_refused(store, tmp_path):
    kept = tmp_path / "kept"
    made = backup(store, kept)
    other = msgspec.json.encode(msgspec.structs.replace(made, format=2))
    before = backing.sha256_of(kept / MANIFEST)
    (kept / MANIFEST).write_bytes(other)
    sums = kept / "SHA256SUMS"
    sums.write_text(sums.read_text().replace(before, backing.sha256_of(kept / MANIFEST)))
    with pytest.raises(StoreError, match=r"expected a backup of format 1, found 2"):
        verify(kept)


def test_too_little_room_leaves_nothing_behind(tmp_path):
    bars = [stored_bar(ts_close=TS + n * SECOND) for n in range(2000)]
    store = store_messages(tmp_path / "run.sqlite", *bars)
    with child(BACK_UP_IN_LITTLE_ROOM, store, tmp_path / "kept") as made:
        said = made.stdout.read()
    assert "could not be filled" in said, said
    assert not list(tmp_path.glob("kept*"))


def test_commands_say_what_was_done(store, tmp_path, capsys):
    kept, again = tmp_path / "kept", tmp_path / "again.sqlite"
    backup_command(store, kept)
    verify_command(kept)
    restore_command(kept, again, as_json=True)
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith(f"{kept} holds {store}: store, recovery, journal, outbox, ")
    assert said[1].startswith(f"{kept} is whole: store, ")
    assert said[0].endswith("bars up to 2024-08-09 00:00:00Z")
    assert msgspec.json.decode(said[2])["parts"] == ["recovery", "journal", "outbox"]
