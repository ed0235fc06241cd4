"""The journal: a shard's log on disk, in the order the flow saw it.

A journal is a folder of segments; `journal_segments.py` says what stands in one.
"""

import fcntl
import os
from itertools import pairwise
from pathlib import Path
from time import monotonic
from typing import Self

import msgspec

from connectors.journal_segments import (
    MAGIC,
    SUFFIX,
    Damage,
    first_offset,
    read_journal,
    read_segment,
    record_of,
    segments,
)
from operators.errors import EngineError, InputError
from operators.messages import Raw

__all__ = [
    "MAGIC",
    "SUFFIX",
    "Damage",
    "Journal",
    "JournalError",
    "clock_time",
    "first_offset",
    "read_journal",
    "segments",
]


class JournalError(EngineError):
    """A journal that cannot be written, or that another writer has taken over."""


class Journal:
    """The one writer of a journal.

    Opening it raises the epoch, which fences any earlier writer: that one finds a newer epoch
    at its next write and raises JournalError. *What `flush` has returned for survives the
    process; after a power cut up to `fsync_seconds` may be missing* (0: nothing).
    """

    def __init__(
        self,
        folder: Path,
        *,
        fsync_seconds: float = 1.0,
        segment_bytes: int = 64 << 20,
        first: int = 0,
        clocks: bool = True,
    ) -> None:
        """Open the journal in `folder`, made if need be, to go on after its last entry.

        The next offset is at least `first`. Without `clocks` none is looked for: a journal that
        holds none is then not read whole.
        """
        self.folder = folder
        self.fsync_seconds = fsync_seconds
        self.segment_bytes = segment_bytes
        self.next_offset = first
        self.last: Raw | None = None  # its last entry when it was opened
        self.last_clock: int | None = None  # the time of the last Clock it holds
        self.damage: list[Damage] = []
        self._pending: list[bytes] = []
        self._file: int | None = None
        self._size = 0
        self._synced = monotonic()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(folder / "epoch", os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            message = f"The journal {folder} cannot be opened: {error.strerror}."
            raise JournalError(message) from error
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        try:
            self.epoch = self._newest_epoch() + 1
            os.pwrite(self._lock, b"%020d" % self.epoch, 0)
            os.fsync(self._lock)
            self._find_end(clocks=clocks)
            self.size = sum(path.stat().st_size for path in segments(folder))  # with what waits
        finally:
            fcntl.flock(self._lock, fcntl.LOCK_UN)

    def append(self, path: str, kind: str, ts_init: int, payload: bytes) -> Raw:
        """Add an entry at the next offset; it is on disk once `flush` has returned."""
        raw = Raw(offset=self.next_offset, path=path, kind=kind, ts_init=ts_init, payload=payload)
        self.next_offset += 1
        record = record_of(raw)
        self._pending.append(record)
        self.size += len(record)
        return raw

    def flush(self) -> None:
        """Write what was appended. Raises JournalError if a newer writer has opened it."""
        if not self._pending:
            return
        block = b"".join(self._pending)
        fcntl.flock(self._lock, fcntl.LOCK_EX)  # no newer writer can open between check and write
        try:
            newest = self._newest_epoch()
            if newest != self.epoch:
                message = (
                    f"The journal {self.folder} was taken over: this writer has epoch "
                    f"{self.epoch}, the newest is {newest}. Only one process may write it."
                )
                raise JournalError(message)
            self._write(block)
        finally:
            fcntl.flock(self._lock, fcntl.LOCK_UN)
        self._pending.clear()

    def close(self) -> None:
        """Write and sync everything, and let go of the files."""
        try:
            self.flush()
        finally:
            try:
                self.sync()
            finally:
                if self._file is not None:
                    os.close(self._file)
                    self._file = None
                os.close(self._lock)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _write(self, block: bytes) -> None:
        try:
            if self._file is None or self._size + len(block) > self.segment_bytes:
                self._rotate()
            self._write_all(block)
            if monotonic() - self._synced >= self.fsync_seconds:
                self.sync()
        except OSError as error:
            raise self._unwritable(error) from error

    def _unwritable(self, error: OSError) -> JournalError:
        return JournalError(f"The journal {self.folder} cannot be written: {error.strerror}.")

    def _write_all(self, block: bytes) -> None:
        assert self._file is not None
        rest = memoryview(block)
        try:
            while rest:
                rest = rest[os.write(self._file, rest) :]
        except OSError:
            os.ftruncate(self._file, self._size)  # a disk that is full tears no record
            raise
        self._size += len(block)

    def sync(self) -> None:
        """Make what was written survive a power cut. Raises JournalError."""
        if self._file is None:
            return
        try:
            os.fsync(self._file)
        except OSError as error:
            raise self._unwritable(error) from error
        self._synced = monotonic()

    def prune(self, offset: int, keep_bytes: int) -> None:
        """Delete the oldest segments that lie before `offset`, until `keep_bytes` are left."""
        for segment, following in pairwise(segments(self.folder)):
            end = first_offset(following)
            if self.size <= keep_bytes or end is None or end > offset:
                return
            self.size -= segment.stat().st_size
            segment.unlink()

    def _rotate(self) -> None:
        if self._file is not None:
            old, self._file = self._file, None
            os.fsync(old)
            os.close(old)
        first = self.next_offset - len(self._pending)
        name = f"{first:020d}-{self.epoch:010d}{SUFFIX}"
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL
        self._file = os.open(self.folder / name, flags, 0o644)
        self._size = 0
        try:
            self._write_all(MAGIC)
            _sync_folder(self.folder)  # or a power cut could take the whole file
        except OSError:
            os.close(self._file)
            self._file = None
            (self.folder / name).unlink()  # the next try makes it again
            raise
        self.size += len(MAGIC)

    def _newest_epoch(self) -> int:
        text = os.pread(self._lock, 20, 0)
        if text and not text.isdigit():
            message = f"{self.folder / 'epoch'} holds no number: is {self.folder} a journal?"
            raise JournalError(message)
        return int(text or 0)

    def _find_end(self, *, clocks: bool) -> None:
        """Find the last entry and Clock, looking back no further than need be."""
        for segment in reversed(segments(self.folder)):
            for item in read_segment(segment):
                if isinstance(item, Damage):
                    self.damage.append(item)
                    continue
                if self.last is None or item.offset > self.last.offset:
                    self.last = item
                    self.next_offset = max(self.next_offset, item.offset + 1)
                if item.kind == "clock":
                    self.last_clock = max(self.last_clock or 0, clock_time(item.payload))
            if self.last is not None and (self.last_clock is not None or not clocks):
                return


def _sync_folder(folder: Path) -> None:
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


class _Time(msgspec.Struct, gc=False):
    ts_event: int


def clock_time(payload: bytes) -> int:
    """Return the time of a Clock's payload. Raises InputError for another payload."""
    try:
        return msgspec.json.decode(payload, type=_Time).ts_event
    except msgspec.DecodeError as error:
        message = f"The journal holds a Clock that cannot be read: {error}."
        raise InputError(message) from error
