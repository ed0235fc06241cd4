"""Segments of a journal on disk: what stands in them, and how they are read.

A segment is named `<first offset>-<epoch>.journal`. It is the magic and then records: length
and CRC-32 (4 bytes each, big-endian), then MessagePack of
[offset, path, kind, ts_init, payload, reason].
"""

import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec

from operators.messages import Raw, Reason

MAGIC = b"NGJRNL1\n"
SUFFIX = ".journal"
_HEAD = struct.Struct(">II")
_MAX_RECORD = 1 << 26


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


def record_of(raw: Raw) -> bytes:
    """Return an entry as its record on disk."""
    body = _encode(_Record(raw.offset, raw.path, raw.kind, raw.ts_init, raw.payload))
    return _HEAD.pack(len(body), zlib.crc32(body)) + body


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
        for item in read_segment(segment, progress):
            if isinstance(item, Raw):
                if item.offset <= last:
                    continue
                last = item.offset
            yield item


def first_offset(segment: Path) -> int | None:
    """Return the first offset of a segment by its name, None for a file of another name."""
    text = segment.name.partition("-")[0]
    return int(text) if text.isdecimal() else None


def read_segment(
    segment: Path, progress: Callable[[int], None] | None = None
) -> Iterator[Raw | Damage]:
    """Yield the entries of one segment, and a `Damage` where it breaks off."""
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
