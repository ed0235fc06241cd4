"""Write what the flow received as recordings, in the format that replay reads.

A recording is a folder of files `<first offset>.ndjson.gz` and SHA256SUMS. A line is
`<receive time, ns> <message>`: a Binance stream message as it came, and everything else
(Clocks, fetched pages, holes, headlines, ...) in an envelope
`{"log":<kind>,"path":<feed>,"payload":<JSON as it came>}`, or `"base64"` in the place of
`"payload"` where it is no JSON on one line. The first line of each file is an envelope of the
kind "recording". It replays to the signals of the run that made it.
"""

import gzip
import hashlib
import zlib
from base64 import b64encode
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from connectors.journal import Damage, read_journal
from operators.checks import UNDECODABLE
from operators.errors import InputError, StoreError
from operators.messages import Raw, Reason

FORMAT = 1
SUMS = "SHA256SUMS"
SUFFIX = ".ndjson.gz"
ENVELOPE = b'{"log":'
HEAD = b'{"log":"recording"'


class RecorderSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """When a new file is begun."""

    max_bytes: int = 256 << 20  # before compression: some 30 MB of file
    max_entries: int = 5_000_000


class Recorder:
    """Write log entries into a recording; `close` it when done.

    A file is complete when it stands under its name: until then it is `.part`, and a crash
    leaves it so. `resume` throws such a rest away, and says from which offset of the journal to
    write again: *every entry of the journal is in the recording exactly once*.

    Raises:
        StoreError: the folder cannot be written.
    """

    def __init__(self, folder: Path, settings: RecorderSettings, **about: Any) -> None:
        """Open the recording in `folder`, made if need be; `about` stands in each file's head."""
        self.folder = folder
        self.settings = settings
        self.about = about
        self._file: gzip.GzipFile | None = None
        self._part: Path | None = None
        self._bytes = self._entries = 0
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for part in folder.glob("*.part"):
                part.unlink()
        except OSError as error:
            raise StoreError(f"{folder} cannot be written: {error.strerror}") from error
        self.next_offset = self.complete_offset = _end_of(folder)
        self._sum_up()

    def resume(self, journal: Path, end: int) -> None:
        """Write what the journal, which ends at the offset `end`, holds beyond the recording.

        Raises:
            StoreError: the recording is of another run: it goes further than the journal.
        """
        if self.next_offset > end:
            raise StoreError(f"{self.folder} holds the recording of another run; name another")
        for item in read_journal(journal, start=self.next_offset):
            if not isinstance(item, Damage):
                self.write([item])

    def write(self, raws: Iterable[Raw]) -> None:
        """Add entries, in order; those it holds already are passed over."""
        try:
            for raw in raws:
                if raw.offset >= self.next_offset:
                    self._line(raw)
        except OSError as error:
            # What is in the file nobody knows: it stays a part, to be written again.
            self._file = self._part = None
            raise StoreError(f"{self.folder} cannot be written: {error.strerror}") from error

    def close(self) -> None:
        """Complete the open file."""
        try:
            self._finish()
        except OSError as error:
            raise StoreError(f"{self.folder} cannot be written: {error.strerror}") from error

    def _line(self, raw: Raw) -> None:
        settings = self.settings
        if self._bytes >= settings.max_bytes or self._entries >= settings.max_entries:
            self._finish()
        if self._file is None:
            self._begin(raw)
        assert self._file is not None
        line = b"%d %b\n" % (raw.ts_init, encode(raw))
        self._file.write(line)
        self._bytes += len(line)
        self._entries += 1
        self.next_offset = raw.offset + 1

    def _begin(self, raw: Raw) -> None:
        self._part = self.folder / f"{raw.offset:012d}{SUFFIX}.part"
        # Level 3: a third of the default's time, for a few percent of the size.
        self._file = gzip.GzipFile(self._part, "wb", compresslevel=3, mtime=0)
        head = {"log": "recording", "format": FORMAT, "first_offset": raw.offset} | self.about
        self._file.write(b"%d %b\n" % (raw.ts_init, msgspec.json.encode(head)))

    def _finish(self) -> None:
        if self._file is None or self._part is None:
            return
        self._file.close()
        self._part.rename(self._part.with_suffix(""))
        self.complete_offset = self.next_offset
        self._file = self._part = None
        self._bytes = self._entries = 0
        self._sum_up()

    def _sum_up(self) -> None:
        """Add the checksums that are missing; a crash may have come before them."""
        known = read_sums(self.folder)
        sums = {
            path.name: known.get(path.name) or sha256_of(path)
            for path in sorted(self.folder.glob(f"*{SUFFIX}"))
        }
        if sums != known:
            part = self.folder / f"{SUMS}.part"
            part.write_text(
                "".join(f"{hashed}  {name}\n" for name, hashed in sums.items()), "utf-8"
            )
            part.rename(self.folder / SUMS)


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_sums(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of each file of a recording that has one."""
    try:
        lines = (folder / SUMS).read_text("utf-8").splitlines()
    except OSError:
        return {}
    pairs = (line.split() for line in lines)
    return {pair[1]: pair[0] for pair in pairs if len(pair) == 2}


def encode(raw: Raw) -> bytes:
    """Return what a line holds of an entry behind its receive time."""
    payload = raw.payload
    plain = b"\n" not in payload and payload[:1] == b"{"
    usual = plain and raw.kind == raw.path == "binance" and raw.reason is None
    if usual and not payload.startswith(ENVELOPE):  # nobody outside may write entries of ours
        return payload
    envelope: dict[str, Any] = {"log": raw.kind, "path": raw.path}
    if raw.reason is not None:
        envelope["reason"] = raw.reason
    if plain and _is_json(payload):
        envelope["payload"] = msgspec.Raw(payload)
    else:
        envelope["base64"] = b64encode(payload).decode()
    return msgspec.json.encode(envelope)


class _Envelope(msgspec.Struct, forbid_unknown_fields=True):
    log: str
    path: str
    reason: Reason | None = None
    payload: msgspec.Raw = msgspec.Raw(b"")
    base64: bytes | None = None  # msgspec decodes base64 into bytes


class _Head(msgspec.Struct):
    log: str
    format: int
    first_offset: int
    symbols: tuple[str, ...] = ()


def decode(line: bytes) -> tuple[str, str, bytes, Reason | None]:
    """Return kind, path, payload and reason of what `encode` wrote.

    Raises msgspec.DecodeError for another envelope.
    """
    if not line.startswith(ENVELOPE):
        return "binance", "binance", line, None
    found = _decode(line)
    if bytes(found.payload):
        return found.log, found.path, bytes(found.payload), found.reason
    if found.base64 is None:
        raise msgspec.DecodeError("an envelope without payload")
    return found.log, found.path, found.base64, found.reason


def head_of(line: bytes) -> tuple[int, tuple[str, ...]] | None:
    """Return first offset and symbols if `line` is the head of a recording of ours.

    Raises InputError for a format of another version.
    """
    if not line.startswith(HEAD):
        return None
    try:
        head = msgspec.json.decode(line, type=_Head)
    except msgspec.DecodeError:
        return None
    if head.format != FORMAT:
        message = f"The recording has format {head.format}; this version reads format {FORMAT}."
        raise InputError(message)
    return head.first_offset, head.symbols


def _is_json(payload: bytes) -> bool:
    try:
        msgspec.json.decode(payload)
    except UNDECODABLE:
        return False
    return True


def _end_of(folder: Path) -> int:
    """Return the offset behind the last entry of the complete files."""
    files = sorted(folder.glob(f"*{SUFFIX}"))
    if not files:
        return 0
    try:
        with gzip.open(files[-1]) as file:
            first = head_of(next(file, b"").partition(b" ")[2])
            if first is not None:
                return first[0] + sum(1 for _ in file)
    except (EOFError, OSError, zlib.error) as error:
        raise StoreError(f"{files[-1]} is damaged ({error}); record into another folder") from error
    raise StoreError(f"{files[-1]} is no recording of ours; record into another folder")


_decode = msgspec.json.Decoder(_Envelope).decode
