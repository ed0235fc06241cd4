"""Read a recording: lines of `<receive time, ns> <raw JSON>`, plain or compressed by gzip.

Those of our own recorder begin with a head that says so: their order and times are believed.

The file is streamed in bounded pieces, whatever it holds. What cannot be used becomes a
rejected entry and leaves no trace in the others.
"""

import zlib
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path

from connectors.recorder import SUFFIX, SUMS, decode, head_of, read_sums, sha256_of
from connectors.sources.entries import Entry, Progress, rejected
from operators.checks import EARLIEST, LATEST, UNDECODABLE
from operators.errors import InputError
from operators.leap import STEP, LeapGuard
from operators.messages import Reason

MAX_LINE = 1 << 20
_PIECE = 1 << 16
_OUTPUT = 1 << 18  # decompressed bytes at once: a gzip bomb costs time, not memory
_MAX_INTEGER = 2**63 - 1
GZIP = b"\x1f\x8b"


class _BrokenGzip(Exception):
    pass


def read_recording(path: Path, progress: Progress | None = None) -> Iterator[Entry]:
    """Yield the entries of one recording in the order of its lines.

    A line without a receive time is UNREADABLE, one over 1 MiB TOO_LONG. A receive time outside
    the years 2000 to 2199 is BAD_RECEIVE_TIME, and so is one that leaps by more than five
    seconds, either way, unless the next two lines go on from it, as after a pause. A broken
    gzip file gives its whole lines up to the damage and one UNREADABLE entry. A folder is read
    as one recording, in the order of names; a file that is not what its checksum says gives an
    UNREADABLE entry, and is read all the same. Raises InputError if a file cannot be opened.
    """
    if path.is_dir():
        yield from _read_folder(path, progress)
        return
    lines = read_lines(path, progress)
    first = next(lines, None)
    if isinstance(first, bytes) and head_of(first.partition(b" ")[2]) is not None:
        yield from _read_own(str(path), lines)
    else:
        yield from _read_foreign(str(path), chain(() if first is None else (first,), lines))


def _read_foreign(name: str, lines: Iterable[bytes | str]) -> Iterator[Entry]:
    guard: LeapGuard[Entry] = LeapGuard()
    current: int | None = None
    key = 0
    for line in lines:
        if isinstance(line, str):
            yield rejected(key, name, line.encode(), Reason.UNREADABLE)
            continue
        if len(line) > MAX_LINE:
            yield rejected(key, name, line, Reason.TOO_LONG)
            continue
        head, _, payload = line.partition(b" ")
        # A digit is ASCII here; int() alone would take "1_0" and "+1" too.
        if not head.isdigit() or len(head) > 19 or (time := int(head)) > _MAX_INTEGER:
            yield rejected(key, name, line, Reason.UNREADABLE)
            continue
        if not EARLIEST <= time < LATEST:  # never to be confirmed, however many agree
            yield rejected(key, name, line, Reason.BAD_RECEIVE_TIME)
            continue
        if current is not None and -STEP <= time - current <= STEP and not guard.doubts:
            current = guard.current = time  # as the guard does, without the call
            key = _key(key, time) if time < key else time
            yield (key, name, "binance", time, payload, None)
            continue
        for entry, holds in guard.push(time, (0, name, "binance", time, payload, None)):
            key = _key(key, entry[3]) if holds else key
            yield _resolved(entry, key, holds)
        current = guard.current
    for entry, holds in guard.end():
        key = _key(key, entry[3]) if holds else key
        yield _resolved(entry, key, holds)


def recording_files(path: Path) -> list[Path]:
    """Return the files of a recording in order: those of a folder, or the one that it is."""
    return sorted(path.glob(f"*{SUFFIX}")) if path.is_dir() else [path]


def head_symbols(path: Path) -> tuple[str, ...] | None:
    """Return the universe that a recording of our own was made with; None for others."""
    for file in recording_files(path):
        first = next(read_lines(file), b"")
        head = head_of(first.partition(b" ")[2]) if isinstance(first, bytes) else None
        return None if head is None else head[1]
    return None


def _read_folder(path: Path, progress: Progress | None) -> Iterator[Entry]:
    sums = read_sums(path)
    key = 0
    for file in recording_files(path):
        expected = sums.get(file.name)
        if expected is not None and sha256_of(file) != expected:
            text = f"{file.name}: the content is not what {SUMS} says"
            yield rejected(key, str(path), text.encode(), Reason.UNREADABLE)
        for entry in read_recording(file, progress):
            key = max(key, entry[0])
            yield (key, *entry[1:])


def _read_own(name: str, lines: Iterable[bytes | str]) -> Iterator[Entry]:
    """Yield the entries behind the head of a recording of our own, in the order of its log."""
    key = 0
    for line in lines:
        if isinstance(line, str):
            yield rejected(key, name, line.encode(), Reason.UNREADABLE)
            continue
        head, _, rest = line.partition(b" ")
        if len(line) > MAX_LINE or not head.isdigit() or len(head) > 19:
            yield rejected(key, name, line, Reason.UNREADABLE)
            continue
        time = int(head)
        key = max(key, time)  # the order of lines is the log's, also where a clock was set back
        try:
            kind, source, payload, reason = decode(rest)
        except UNDECODABLE:
            yield rejected(key, name, line, Reason.UNREADABLE)
            continue
        yield (key, source, kind, time, payload, reason)


def _key(key: int, time: int) -> int:
    """Return the merge key of a line: it never falls, unless the recorder's clock did.

    Else all behind one line from the future would be merged there, behind what they precede.
    """
    return time if time < key - STEP else max(key, time)


def _resolved(entry: Entry, key: int, holds: bool) -> Entry:
    if holds:
        return (key, *entry[1:])
    return rejected(key, entry[1], b"%d %b" % (entry[3], entry[4]), Reason.BAD_RECEIVE_TIME)


def read_lines(path: Path, progress: Progress | None = None) -> Iterator[bytes | str]:
    r"""Yield the lines of a file without their end, and a sentence where gzip data breaks off.

    Of a line over `MAX_LINE` only the beginning is yielded, still longer than `MAX_LINE`.
    """
    tail = b""
    skipping = False  # the rest of a line that was too long
    try:
        for piece in _pieces(path, progress):
            lines = piece.split(b"\n")
            if skipping:
                if len(lines) == 1:
                    continue
                del lines[0]
                skipping = False
            else:
                lines[0] = tail + lines[0]
            tail = lines.pop()
            yield from lines
            if len(tail) > MAX_LINE:
                yield tail
                tail, skipping = b"", True
    except _BrokenGzip as error:
        yield f"{path.name}: {error} ({len(tail)} bytes of an unfinished line dropped)"
        return
    if tail:
        yield tail


def _pieces(path: Path, progress: Progress | None) -> Iterator[bytes]:
    """Yield the file's content, decompressed, in pieces of bounded size."""
    try:
        file = path.open("rb")
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.") from error
    with file:
        compressed = path.suffix == ".gz" or file.peek(2)[:2] == GZIP
        gzip = zlib.decompressobj(wbits=31)
        fresh = True  # no byte of the current gzip member has been read
        while piece := file.read(_PIECE):
            if progress is not None:
                progress.done += len(piece)
            if not compressed:
                yield piece
                continue
            while piece:
                before = gzip.copy()
                try:
                    out = gzip.decompress(piece, _OUTPUT)
                except zlib.error as error:
                    yield _salvage(before, piece)
                    raise _BrokenGzip(f"damaged gzip data: {error}") from error
                fresh = False
                yield out
                piece = gzip.unconsumed_tail
                if gzip.eof:  # members may follow one another, and zeros may pad the end
                    piece = gzip.unused_data.lstrip(b"\0")
                    gzip, fresh = zlib.decompressobj(wbits=31), True
        if compressed and (not fresh or file.tell() == 0):
            yield gzip.flush()
            raise _BrokenGzip("the gzip data end too early")


def _salvage(gzip: "zlib._Decompress", piece: bytes) -> bytes:
    """Return what can be decompressed of a piece, byte by byte up to the damage."""
    out = bytearray()
    try:
        for place in range(len(piece)):
            out += gzip.decompress(piece[place : place + 1])
    except zlib.error:
        pass
    return bytes(out)
