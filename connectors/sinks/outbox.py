"""The outbox: every stored row once on local disk, until each store has it.

The flow writes here and waits for no store. For each store a `Drain` reads on from a cursor of
its own, so that one that is down only falls behind.
"""

from collections.abc import Sequence
from errno import EDQUOT, EFBIG, ENOSPC
from pathlib import Path
from threading import Lock
from typing import NamedTuple

import msgspec
import structlog

from connectors.journal import Journal, JournalError, first_offset, read_journal, segments
from connectors.sinks.outbox_files import (
    UNWRITABLE,
    Overrun,
    Stand,
    content_of,
    cursors,
    entry_bytes,
    load_cursor,
    overruns,
    row_bytes,
    save_cursor,
    save_overrun,
)
from connectors.sinks.refused_rows import FILE_NAME, RefusedRows
from connectors.sinks.tables import VERSION
from connectors.sinks.writers import Rows, newest_close
from operators.errors import StoreError
from operators.messages import SECOND, Raw

# On disk. A store may be down for nine hours of 50 symbols and one-second bars (133 kB/s), or for
# three weeks of one-minute bars.
MAX_BYTES = 4 << 30
SEGMENT_BYTES = 64 << 20
_ENTRY_ROWS = 1000
_ENTRY_BYTES = 1 << 20
_ROW_BYTES = 32 << 20  # the journal reads no record above 64 MiB
_KIND = "rows"
_LAYOUT = f"layout {VERSION}"  # of the tables whose rows an entry holds


class Backlog(NamedTuple):
    """What a store still has to get; `seconds` of event time."""

    rows: int
    bytes: int
    seconds: float


class Outbox:
    """A bounded journal of rows in `folder`, with a cursor for each of `readers`.

    Written by one thread; readers may be of others. At `max_bytes` the oldest segment goes, and
    the readers that have not read it lose it: that is logged, counted and marked in the folder.
    """

    def __init__(
        self,
        folder: Path,
        readers: Sequence[str],
        *,
        max_bytes: int = MAX_BYTES,
        segment_bytes: int = SEGMENT_BYTES,
    ) -> None:
        """Open the outbox, made if need be. Raises StoreError or JournalError."""
        self.folder = folder
        self.max_bytes = max_bytes
        self.refused = RefusedRows(folder / FILE_NAME)
        self._log = structlog.get_logger(__name__).bind(outbox=str(folder))
        self._lock = Lock()  # over cursors and overruns: drains move them, the flow looks
        self._unsynced = False
        before = cursors(folder)
        furthest = max(before.values(), key=lambda stand: stand.offset, default=Stand())
        self._journal = Journal(
            folder,
            fsync_seconds=float("inf"),  # at each snapshot, see `sync`
            segment_bytes=min(segment_bytes, max(max_bytes // 8, 1)),
            # A power cut may take entries back that a store has; their offsets are not used again.
            first=furthest.offset,
            clocks=False,
        )
        self._cursors: dict[str, Stand] = {}
        self._overruns: dict[str, Overrun] = {}
        try:
            self._find_ends(furthest)
            self._find_cursors(readers)
        except BaseException:
            self._journal.close()
            raise

    def _find_ends(self, furthest: Stand) -> None:
        last = self._journal.last
        if last is not None and last.kind != _KIND:
            raise StoreError(f"{self.folder} holds another journal than an outbox; name another")
        end = furthest if last is None else content_of(last.payload).after(last)
        self.end = msgspec.structs.replace(end, offset=self._journal.next_offset)
        self._pending = self.end  # with what is not flushed yet
        entries = (item for item in read_journal(self.folder) if isinstance(item, Raw))
        self._began = next((raw.ts_init for raw in entries if raw.ts_init), 0)  # bar close, ns

    def _find_cursors(self, readers: Sequence[str]) -> None:
        self._overruns = overruns(self.folder)
        first = self._place(0)
        for reader in readers:
            stand = load_cursor(self.folder, reader) or first
            # At or beyond the end only the offset is sure: a power cut may have taken rows back.
            self._cursors[reader] = self.end if stand.offset >= self.end.offset else stand
            self._lose(reader, first)
            self._save(reader)
        last = self._journal.last
        behind = [name for name, stand in self._cursors.items() if stand.offset < self.end.offset]
        if behind and last is not None and last.path != _LAYOUT:
            raise StoreError(
                f"the outbox {self.folder} has rows of {last.path} for {', '.join(behind)}, this "
                f"engine writes {_LAYOUT}: let the version that wrote them deliver them, or "
                "remove the folder"
            )

    def put(self, rows: Rows) -> None:
        """Write rows; they are with the readers at once, and safe from a power cut after `sync`.

        A row that no outbox can hold is put aside. Raises StoreError or JournalError.
        """
        bodies: list[msgspec.Raw] = []
        size = newest = 0
        for table, row in rows:
            try:
                body = row_bytes(table, row)
            except UNWRITABLE as error:
                self.refused.add("outbox", table, row, f"it cannot be written: {error}")
                continue
            length = len(memoryview(body))
            if length > _ROW_BYTES:
                self.refused.add("outbox", table, row, f"it has {length} bytes")
                continue
            newest = max(newest, newest_close([(table, row)]))
            bodies.append(body)
            size += length
            if len(bodies) >= _ENTRY_ROWS or size >= _ENTRY_BYTES:
                self._append(bodies, size, newest)
                bodies, size = [], 0
        if bodies:
            self._append(bodies, size, newest)
        self._flush()

    def sync(self) -> None:
        """Make what was put outlast a power cut, and let go of what every store has.

        Raises StoreError or JournalError.
        """
        if not self._unsynced:
            return
        try:
            self._journal.sync()
            self._prune()
        except (JournalError, OSError) as error:
            raise self._unwritable(error) from error
        self._unsynced = False

    def close(self) -> None:
        """Sync and let go of the files. Raises StoreError or JournalError."""
        try:
            self._journal.close()
        except (JournalError, OSError) as error:
            raise self._unwritable(error) from error

    def stand(self, reader: str) -> Stand:
        """Return where a reader goes on after a restart: all before it is in its store."""
        return self._cursors[reader]

    def ack(self, reader: str, stand: Stand) -> None:
        """Move a reader's cursor forward to `stand`. Raises StoreError."""
        with self._lock:
            if stand.offset > self._cursors[reader].offset:
                self._cursors[reader] = stand
                self._save(reader)

    def damaged(self, reader: str, before: Stand, after: Stand) -> None:
        """Count the rows between two places, which cannot be read, as lost to a reader's store."""
        with self._lock:
            self._mark(reader, before, after)

    def proven(self, reader: str) -> int:
        """Return up to which bar close (ns) a reader's store holds every row that was put."""
        lost, ts = self.overrun(reader), self._cursors[reader].ts
        return min(ts, lost.since) if lost.rows else ts

    def backlog(self, reader: str) -> Backlog:
        """Return what a reader's store still has to get."""
        stand, end = self._cursors[reader], self.end
        waiting = end.offset > stand.offset
        age = end.ts - (stand.ts or self._began) if waiting else 0
        return Backlog(end.rows - stand.rows, end.bytes - stand.bytes, max(age, 0) / SECOND)

    def overrun(self, reader: str) -> Overrun:
        """Return what a reader's store has lost for good."""
        return self._overruns.get(reader, Overrun())

    def _append(self, bodies: list[msgspec.Raw], size: int, ts: int) -> None:
        before = self._pending
        ts = max(before.ts, ts)
        self._journal.append(_LAYOUT, _KIND, ts, entry_bytes(before, size, bodies))
        self._pending = Stand(
            self._journal.next_offset, before.rows + len(bodies), before.bytes + size, ts
        )
        self._began = self._began or ts

    def _flush(self) -> None:
        if self._pending == self.end:
            return
        try:
            self._make_room()
            self._journal.flush()
        except (JournalError, OSError) as error:
            raise self._unwritable(error) from error
        self.end = self._pending  # only now may readers look for it
        self._unsynced = True

    def _make_room(self) -> None:
        if self._journal.size <= self.max_bytes:
            return
        self._prune()
        while self._journal.size > self.max_bytes:
            found = segments(self.folder)
            if len(found) < 2:
                return  # one batch is larger than the bound
            kept = self._place(first_offset(found[1]) or 0)
            with self._lock:
                for reader in self._cursors:
                    self._lose(reader, kept)
            self._journal.prune(kept.offset, 0)

    def _prune(self) -> None:
        """Delete the segments that every reader has read."""
        with self._lock:
            slowest = min(
                (stand.offset for stand in self._cursors.values()), default=self.end.offset
            )
            found = segments(self.folder)
            if len(found) < 2 or (first_offset(found[1]) or 0) > slowest:
                return
            for reader in self._cursors:  # or a power cut could set one back before the first entry
                self._save(reader, sync=True)
        self._journal.prune(slowest, 0)

    def _place(self, offset: int) -> Stand:
        """Return the place before the first entry that is not before `offset`."""
        for item in read_journal(self.folder, start=offset):
            if isinstance(item, Raw):
                return content_of(item.payload).before(item)
        return self.end

    def _lose(self, reader: str, stand: Stand) -> None:
        cursor = self._cursors[reader]
        if stand.offset <= cursor.offset:
            return
        self._cursors[reader] = stand
        self._mark(reader, cursor, stand)
        self._save(reader)

    def _mark(self, reader: str, before: Stand, after: Stand) -> None:
        lost = after.rows - before.rows
        if lost <= 0:
            return
        known = self.overrun(reader)
        since = min(known.since, before.ts) if known.rows else before.ts
        mark = Overrun(known.rows + lost, since, after.ts)
        self._overruns[reader] = mark
        self._log.error("outbox_overrun", store=reader, rows=lost, rows_in_all=mark.rows)
        try:
            save_overrun(self.folder, reader, mark)
        except OSError as error:
            raise self._unwritable(error) from error

    def _save(self, reader: str, *, sync: bool = False) -> None:
        try:
            save_cursor(self.folder, reader, self._cursors[reader], sync=sync)
        except OSError as error:
            raise self._unwritable(error) from error

    def _unwritable(self, error: Exception) -> Exception:
        """Return what to raise for `error`: a sentence that says what to do."""
        cause = error.__cause__ if isinstance(error, JournalError) else error
        if not isinstance(cause, OSError):
            return error  # another writer has taken the outbox over
        full = cause.errno in {ENOSPC, EDQUOT, EFBIG}
        todo = "make room and start again, the run will resume" if full else "check its permissions"
        return StoreError(f"the outbox {self.folder} cannot be written: {cause.strerror}; {todo}")
