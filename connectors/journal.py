"""The journal: a shard's log on disk, in the order the flow saw it.

A journal is a folder of segments named `<first offset>-<epoch>.journal`. A segment is the
magic and then records: length and CRC-32 (4 bytes each, big-endian), then MessagePack of
[offset, path, kind, ts_init, payload, reason].
"""

import fcntl
import os
import struct
import zlib
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from time import monotonic
from typing import NamedTuple, Self

import msgspec

from operators.errors import EngineError, InputError
from operators.messages import Raw, Reason

MAGIC = b"NGJRNL1\n"
SUFFIX = ".journal"
_HEAD = struct.Struct(">II")
_MAX_RECORD = 1 << 26


class JournalError(EngineError):
    """A journal that cannot be written, or that another writer has taken over."""


class Damage(NamedTuple):
    """Where a segment breaks off; what follows in it is not read."""

    segment: Path
    position: int
    why: str


class _Record(msgspec.Struct, array_like=True, gc=False):
    offset: int
    path: str
    kind: str
    ts_init: int
    payload: bytes
    reason: Reason | None = None


_decode = msgspec.msgpack.Decoder(_Record).decode
_encode = msgspec.msgpack.Encoder().encode


def segments(path: Path) -> list[Path]:
    """Return the segments of a journal folder in order, or the one that `path` is."""
    return sorted(path.glob(f"*{SUFFIX}")) if path.is_dir() else [path]


def read_journal(
    path: Path, progress: Callable[[int], None] | None = None, *, start: int = 0
) -> Iterator[Raw | Damage]:
    """Yield the entries of a journal folder or segment in order of offset, from `start` on.

    A segment whose end is torn or corrupt gives what precedes, and a `Damage`. An entry whose
    offset is not above the last is left out. `progress` is called with bytes read.
    """
    last = start - 1
    found = segments(path)
    # What a segment holds ends before the next one begins, as their names say.
    ends = [first_offset(segment) for segment in found[1:]]
    skipped = sum(end is not None and end <= start for end in ends) if start else 0
    for segment in found[skipped:]:
        for item in _read_segment(segment, progress):
            if isinstance(item, Raw):
                if item.offset <= last:
                    continue
                last = item.offset
            yield item


def first_offset(segment: Path) -> int | None:
    """Return the first offset of a segment by its name, None for a file of another name."""
    text = segment.name.partition("-")[0]
    return int(text) if text.isdecimal() else None


def _read_segment(segment: Path, progress: Callable[[int], None] | None) -> Iterator[Raw | Damage]:
    position = len(MAGIC)
    with segment.open("rb") as file:
        if file.read(len(MAGIC)) != MAGIC:
            yield Damage(segment, 0, "no journal segment, or torn at its beginning")
            return
        while head := file.read(_HEAD.size):
            body = b""
            if len(head) == _HEAD.size:
                length, checksum = _HEAD.unpack(head)
                body = file.read(min(length, _MAX_RECORD))
            if len(head) < _HEAD.size or len(body) < length:
                yield Damage(segment, position, "torn record")
                return
            try:
                if zlib.crc32(body) != checksum:
                    raise ValueError("checksum differs")  # noqa: TRY301
                record = _decode(body)
            except (ValueError, msgspec.DecodeError) as error:
                yield Damage(segment, position, f"corrupt record: {error}")
                return
            position += len(head) + len(body)
            if progress is not None:
                progress(len(head) + len(body))
            yield Raw(
                offset=record.offset,
                path=record.path,
                kind=record.kind,
                ts_init=record.ts_init,
                payload=record.payload,
                reason=record.reason,
            )


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
    ) -> None:
        """Open the journal in `folder`, made if need be, to go on after its last entry.

        An empty one begins at the offset `first`.
        """
        self.folder = folder
        self.fsync_seconds = fsync_seconds
        self.segment_bytes = segment_bytes
        self.next_offset = first
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
            self._find_end()
        finally:
            fcntl.flock(self._lock, fcntl.LOCK_UN)

    def append(self, path: str, kind: str, ts_init: int, payload: bytes) -> Raw:
        """Add an entry at the next offset; it is on disk once `flush` has returned."""
        raw = Raw(offset=self.next_offset, path=path, kind=kind, ts_init=ts_init, payload=payload)
        self.next_offset += 1
        body = _encode(_Record(raw.offset, path, kind, ts_init, payload))
        self._pending.append(_HEAD.pack(len(body), zlib.crc32(body)) + body)
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
            if self._file is not None:
                os.fsync(self._file)
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
            message = f"The journal {self.folder} cannot be written: {error.strerror}."
            raise JournalError(message) from error

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
        """Make what was written survive a power cut."""
        if self._file is not None:
            os.fsync(self._file)
            self._synced = monotonic()

    def prune(self, offset: int, keep_bytes: int) -> None:
        """Delete the oldest segments that lie before `offset`, until `keep_bytes` are left."""
        found = segments(self.folder)
        size = sum(path.stat().st_size for path in found)
        for segment, following in pairwise(found):
            end = first_offset(following)
            if size <= keep_bytes or end is None or end > offset:
                return
            size -= segment.stat().st_size
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
        self._write_all(MAGIC)

    def _newest_epoch(self) -> int:
        text = os.pread(self._lock, 20, 0)
        if text and not text.isdigit():
            message = f"{self.folder / 'epoch'} holds no number: is {self.folder} a journal?"
            raise JournalError(message)
        return int(text or 0)

    def _find_end(self) -> None:
        """Find the last offset and Clock, looking back no further than need be."""
        for segment in reversed(segments(self.folder)):
            for item in _read_segment(segment, None):
                if isinstance(item, Damage):
                    self.damage.append(item)
                    continue
                self.next_offset = max(self.next_offset, item.offset + 1)
                if item.kind == "clock":
                    self.last_clock = max(self.last_clock or 0, clock_time(item.payload))
            if self.next_offset and self.last_clock is not None:
                return


class _Time(msgspec.Struct, gc=False):
    ts_event: int


def clock_time(payload: bytes) -> int:
    """Return the time of a Clock's payload. Raises InputError for another payload."""
    try:
        return msgspec.json.decode(payload, type=_Time).ts_event
    except msgspec.DecodeError as error:
        message = f"The journal holds a Clock that cannot be read: {error}."
        raise InputError(message) from error
