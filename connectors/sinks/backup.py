"""A run's store, recovery state, journal, outbox and orders as one folder, and back.

It may be taken while the run goes on. Then the parts are of different moments, and their order
makes them fit: recovery first, so that a run resumed from it makes again whatever the store has
beyond it; the store next; the journal last, so that it holds all that the store's rows were made
of. The outbox comes behind recovery: what it lacks is made again, too. So do orders, which keep
their places.
"""

import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote

import msgspec

from connectors.journal_segments import SUFFIX as SEGMENT
from connectors.recorder import SUMS, read_sums, sha256_of
from connectors.sinks.store import BUSY_MS, open_store
from operators.errors import StoreError

FORMAT = 1
MANIFEST = "backup.json"
STORE = "store.sqlite"
# What stands beside a store, by its folder in a backup and its ending beside the store.
BESIDE = {
    "recovery": ".recovery",
    "journal": ".journal",
    "outbox": ".outbox",
    "control": ".control",
}

type Opened = dict[Path, BinaryIO]


class Backup(msgspec.Struct, frozen=True, kw_only=True):
    """What a backup holds."""

    format: int = FORMAT
    run: str | None  # the run's id, None where the store has none
    newest: int | None  # the last bar close in the store, UNIX ns
    parts: tuple[str, ...]  # of BESIDE
    bytes: int


def backup(store: Path, folder: Path) -> Backup:
    """Copy the run stored at `store` into the new `folder`; the run may go on meanwhile.

    The folder is there once all of it is checked and on disk, with SHA256SUMS.

    Raises:
        StoreError: the folder exists, something cannot be read or written, a part is damaged,
            or the store was begun anew meanwhile.
    """
    if folder.exists():
        raise StoreError(f"{folder} exists already; name a new folder for the backup")
    with closing(open_store(store, readonly=True)) as rows:
        run = _run(rows)
    with _made_apart(folder.with_name(f"{folder.name}.part")) as part:
        with ExitStack() as stack:
            journal = _open_segments(_beside(store, "journal"), stack)
            for source in sorted(_beside(store, "recovery").glob("*.sqlite3")):
                _copy_database(source, part / "recovery" / source.name)
            _copy_database(store, part / STORE)
            for source in sorted(_beside(store, "control").glob("*.sqlite3")):
                _copy_database(source, part / "control" / source.name)
            _copy_log(_beside(store, "journal"), part / "journal", journal)
            _copy_log(_beside(store, "outbox"), part / "outbox", {})
        with closing(sqlite3.connect(part / STORE)) as rows:
            now = _run(rows)
            newest = rows.execute("SELECT max(ts_close) FROM bars").fetchone()[0]
        if now != run:
            raise StoreError(f"{store} was begun anew while it was copied; back it up again")
        made = Backup(
            run=run,
            newest=newest,
            parts=tuple(name for name in BESIDE if (part / name).is_dir()),
            bytes=sum(path.stat().st_size for path in _files(part)),
        )
        (part / MANIFEST).write_bytes(msgspec.json.encode(made) + b"\n")
        sums = {path.relative_to(part).as_posix(): sha256_of(path) for path in _files(part)}
        (part / SUMS).write_text("".join(f"{sums[name]}  {name}\n" for name in sums), "utf-8")
        _sync(part)
        part.rename(folder)
    _sync_one(folder.absolute().parent)
    return made


def verify(folder: Path) -> Backup:
    """Read a backup whole, and return what it holds.

    Raises:
        StoreError: it is none, of another format, or not as it was made.
    """
    expected = read_sums(folder)
    if not expected:
        raise StoreError(f"expected a backup at {folder}, found no {SUMS} in it")
    found = {path.relative_to(folder).as_posix(): path for path in _files(folder)}
    found.pop(SUMS, None)
    for name in sorted(expected.keys() | found.keys()):
        if name not in found:
            raise StoreError(f"the backup {folder} lacks {name}; use another backup")
        if name not in expected:
            raise StoreError(f"the backup {folder} holds {name}, which {SUMS} does not know; "
                             "remove it, or use another backup")  # fmt: skip
        if sha256_of(found[name]) != expected[name]:
            raise StoreError(f"the content of {name} in the backup {folder} is not what {SUMS} "
                             "says: it is damaged; use another backup")  # fmt: skip
    try:
        made = msgspec.json.decode((folder / MANIFEST).read_bytes(), type=Backup)
    except (OSError, msgspec.DecodeError) as error:
        raise StoreError(f"{folder / MANIFEST} cannot be read: {error}") from error
    if made.format != FORMAT:
        raise StoreError(f"expected a backup of format {FORMAT}, found {made.format} in {folder}; "
                         "use the version of the engine that made it")  # fmt: skip
    return made


def restore(folder: Path, store: Path) -> Backup:
    """Put the backup in `folder` back as the store `store`, with what stands beside it.

    The next run with the same settings goes on from there. The store itself comes last: where
    it is, everything is.

    Raises:
        StoreError: the backup is damaged, something of that name exists, or it cannot be written.
    """
    made = verify(folder)
    beside = {name: _beside(store, name) for name in BESIDE}
    for path in (store, Path(f"{store}-wal"), Path(f"{store}-shm"), *beside.values()):
        if path.exists():
            raise StoreError(f"{path} exists already and is not overwritten; move it away, or "
                             "restore to another name")  # fmt: skip
    with _made_apart(Path(f"{store}.restoring")) as part:
        for name in (STORE, *made.parts):
            source = folder / name
            (shutil.copytree if source.is_dir() else shutil.copyfile)(source, part / name)
        _sync(part)
        for name in made.parts:
            (part / name).rename(beside[name])
        (part / STORE).rename(store)
        part.rmdir()
    _sync_one(store.absolute().parent)
    return made


def _beside(store: Path, name: str) -> Path:
    return Path(f"{store}{BESIDE[name]}")


def _run(rows: sqlite3.Connection) -> str | None:
    row = rows.execute("SELECT run_id FROM runs ORDER BY started DESC LIMIT 1").fetchone()
    return None if row is None else str(row[0])


@contextmanager
def _made_apart(part: Path) -> Iterator[Path]:
    """Give a fresh folder to fill and to rename, gone if that fails."""
    try:
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        yield part
    except (OSError, sqlite3.Error) as error:
        shutil.rmtree(part, ignore_errors=True)
        raise StoreError(f"{part} could not be filled: {error}; check the disk, its room and its "
                         "permissions, and try again") from error  # fmt: skip
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise


def _copy_database(source: Path, target: Path) -> None:
    """Copy one SQLite database as it stands at one moment, whoever writes to it."""
    address = f"file:{quote(str(source.resolve()))}?mode=ro"
    with (
        closing(sqlite3.connect(address, uri=True, timeout=BUSY_MS / 1000)) as live,
        closing(sqlite3.connect(_made(target))) as copy,
    ):
        live.backup(copy)  # all pages in one step: writers go on in the WAL
        copy.execute("PRAGMA journal_mode = DELETE")  # one file, to be read anywhere
        (found,) = copy.execute("PRAGMA quick_check(1)").fetchone()
    if found != "ok":
        raise StoreError(f"{source} is damaged ({found}); use an earlier backup")


def _open_segments(folder: Path, stack: ExitStack) -> Opened:
    """Open what a journal holds now, so that it can be copied once the run has pruned it."""
    return {path: stack.enter_context(path.open("rb")) for path in _files(folder, SEGMENT)}


def _copy_log(folder: Path, target: Path, earlier: Opened) -> None:
    """Copy a journal or outbox as of now, and the segments of it that were opened `earlier`.

    The last record may be torn, which a reader cuts off.
    """
    while folder.is_dir():
        with ExitStack() as stack:
            try:
                opened = _open_segments(folder, stack)
                # Behind the segments: an epoch that is no lower than theirs, and how far the
                # readers are.
                others = {
                    path: path.read_bytes() for path in _files(folder) if path.suffix != SEGMENT
                }
            except FileNotFoundError:
                continue  # pruned, or replaced, between two looks
            if opened and not min(opened).exists():
                continue  # pruned: a reader may stand behind what was opened
            if earlier and max(earlier) not in opened:
                raise StoreError(f"{folder} let go of what came while it was copied; back it up "
                                 "again, when less comes or with more kept")  # fmt: skip
            for path, content in others.items():
                _made(target / path.relative_to(folder)).write_bytes(content)
            for path, file in {**earlier, **opened}.items():
                with _made(target / path.relative_to(folder)).open("wb") as copy:
                    shutil.copyfileobj(file, copy)
            return


def _made(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def _files(folder: Path, suffix: str = "") -> list[Path]:
    return sorted(path for path in folder.rglob(f"*{suffix}") if path.is_file())


def _sync(folder: Path) -> None:
    """Force a folder and all in it to disk."""
    for path in (*folder.rglob("*"), folder):
        _sync_one(path)


def _sync_one(path: Path) -> None:
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
